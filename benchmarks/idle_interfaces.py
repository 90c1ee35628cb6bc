"""Are the interfaces of networks that came apart idle? Cut whole, in random parts, at the worst.

    python -m benchmarks.idle_interfaces --json benchmarks/results/idle_interfaces.jsonl

Rows already in the file are not made again. The demo's networks, some of the study's at fresh
seeds, and letters + digits GPTs; about 20 minutes on one core. `worst_longer` is the worst mask
of 16 ascents of 200 steps, which says whether 4 of 50 were enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks import gpt_modularity
from benchmarks.modularity import seeds_of
from benchmarks.modularity_methods import SWEEPS
from benchmarks.modularity_methods import train as train_study
from benchmarks.records import Job, Row, run_all, study_arguments
from partwise.capability import held_out
from partwise.capability.idle_interface import CausalInterface, Effort, causal_interface
from partwise.capability.language import causal_language_interface, found_modules
from partwise.graph import UnitMap
from partwise.graph.activity import share_graph
from partwise.modules import find_modules, search_modules
from partwise.tasks import Task
from partwise.tasks.streams import known_streams, read_text
from partwise.train import Trainer, built_in_recipe, recipe_from
from partwise.train.loop import train as train_demo

KEYS = ("network", "task", "seed")
STUDY = (
    "digits-pair", "digits-four", "two-playgrounds", "formulas-independence", "sparse-parity",
    "digits-channels", "digits-shared", "retina",
)  # fmt: skip
FIXED = ("digits-pair", "digits-four", "two-playgrounds")
"""Tasks on which ours is also trained without a budget, so that interfaces keep their weights."""
GPT_STREAMS = ("letters", "digits")
LONGER = Effort(starts=16, steps=200)


def row(job: Job) -> Row:
    """Trains one network and measures its interface."""
    network, task, seed = job
    return dict(zip(KEYS, job, strict=True)) | ROWS[network](task, seed)


def demo_row(task: str, seed: int) -> Row:
    """The demo's modular twin."""
    trainer = _demo_network("digits-pair-modular", seed)
    labels = torch.as_tensor(find_modules(trainer.units.graph(trainer.model)).labels)
    return scores(trainer.model, trainer.units, labels, trainer.data)


def plain_row(task: str, seed: int) -> Row:
    """A control that must not be idle: the demo's plain twin, at its own best split in two."""
    trainer = _demo_network("digits-pair-plain", seed)
    found = search_modules(trainer.units.graph(trainer.model))
    labels = torch.as_tensor(found.labels_at(min(2, found.finest)))
    return scores(trainer.model, trainer.units, labels, trainer.data)


def _demo_network(recipe: str, seed: int) -> Trainer:
    trainer = Trainer.new(built_in_recipe(recipe).model_copy(update={"seed": seed}))
    train_demo(trainer)
    trainer.model.eval()
    return trainer


def study_row(task: str, seed: int, method: str = "ours") -> Row:
    """A network of the modularity study, trained by our method at its default setting."""
    trained = train_study(task, method, SWEEPS[method][0], seed)
    labels = torch.as_tensor(find_modules(trained.units.graph(trained.model)).labels)
    return scores(trained.model, trained.units, labels, trained.task)


def scores(model: torch.nn.Module, units: UnitMap, labels: torch.Tensor, task: Task) -> Row:
    """What the interfaces of a network for a task carry."""
    found = causal_interface(model, units, labels, task)
    longer = causal_interface(model, units, labels, task, effort=LONGER)
    loss = held_out(model, task).ce
    return _row(found, labels, loss) | {"worst_longer": longer.worst}


def gpt_row(task: str, seed: int) -> Row:
    """A small GPT on letters and digits, with the default recipe of `gpt_modularity`."""
    torch.set_num_threads(1)
    corpus = known_streams(
        tuple(task.split(",")), read_text(gpt_modularity.DATA / "tinyshakespeare.txt")
    )
    recipe = recipe_from({"data": {"texts": task.split(",")}, "seed": seed})
    trainer, _ = gpt_modularity.trained("cut-tree", recipe, corpus)
    model, units = trainer.model, trainer.units
    labels = torch.from_numpy(found_modules(share_graph(model, units, None)))
    found = causal_language_interface(model, units, labels, corpus, recipe.context)
    losses = trainer.metrics(0.0)
    loss = sum(float(losses[f"held_{name}"]) for name in task.split(",")) / 2
    return _row(found, labels, loss)


def _row(found: CausalInterface, labels: torch.Tensor, loss: float) -> Row:
    return {
        "modules": int(labels.max()) + 1,
        "wires": found.wires,
        "held_out_loss": loss,
        **found.scores("causal_interface"),
    }


ROWS: dict[str, Callable[[str, int], Row]] = {
    "demo": demo_row,
    "plain twin": plain_row,
    "study": study_row,
    "study, no budget": partial(study_row, method="ours-fixed"),
    "gpt": gpt_row,
}


def jobs(seeds: int, gpts: int) -> list[Job]:
    """Every network to measure: so many seeds of each task, and so many GPTs."""
    return [
        *(("demo", "digits-pair", seed) for seed in range(seeds)),
        *(("plain twin", "digits-pair", seed) for seed in range(seeds)),
        *(("study", task, seed) for task in STUDY for seed in seeds_of(task)[:seeds]),
        *(("study, no budget", task, seed) for task in FIXED for seed in seeds_of(task)[:seeds]),
        *(("gpt", ",".join(GPT_STREAMS), seed) for seed in range(100, 100 + gpts)),
    ]


def main() -> None:
    """Parses the arguments and measures."""
    parser = study_arguments(__doc__, workers=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gpts", type=int, default=3)
    given = parser.parse_args()
    run_all(jobs(given.seeds, given.gpts), row, given.json, KEYS, given.engine, given.workers)


if __name__ == "__main__":
    main()
