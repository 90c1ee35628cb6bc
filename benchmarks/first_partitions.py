"""How many outputs of digits-pair the first partition has on the wrong side, by view and by step.

    python -m benchmarks.first_partitions --seeds 60 \
        --json benchmarks/results/first_partitions.jsonl

Networks are trained as by `ours`, but none of the partitions is put in force. `python -m
benchmarks.tables` makes the table in the docs.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.modularity_methods import BATCH, LEARNING_RATE, SETTINGS, WEIGHT_DECAY, network
from benchmarks.records import Job, Row, run_all, study_arguments
from partwise.loss import BudgetedPenalty
from partwise.tasks import task_named
from partwise.train.loop import held_out_probe

TASK = "digits-pair"
FIRST_SEED = 10  # for choices, as all seeds up to 69
WEIGHTS = (0.25, 0.5, 1.0)
LOOKS = 7


def row(job: Job) -> Row:
    """Trains one network, and looks at it at seven probes from half of the training on."""
    (seed,) = job
    torch.manual_seed(seed)
    task = task_named(TASK)
    model = network(TASK, task, seed)
    penalty = BudgetedPenalty(
        model, held_out_probe(task), steps=SETTINGS[TASK].steps,
        find=lambda graph: np.zeros(graph.n, np.int64), undo=False,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    looks = []
    schedule = penalty.schedule
    first, every = schedule.start, schedule.probe_every
    for step in range(first + every * (LOOKS - 1) + 1):
        x, y = task.batch("train", BATCH, (seed, step))
        loss = task.losses(penalty.run(x), y).mean(0).sum() + penalty()
        if step >= first and (step - first) % every == 0:
            looks += look(penalty, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return {"seed": seed, "looks": looks}


def look(penalty: BudgetedPenalty, step: int) -> list[Row]:
    """The partition into two that each weight of co-activity shows, and what masking it costs."""
    search = penalty.finder
    graph = penalty.capacity.graph()
    found = []
    for weight, evidence in zip(WEIGHTS, search.views(graph, WEIGHTS), strict=True):
        nest = search.nest(evidence)
        labels = nest.labels_at(min(2, nest.finest))
        found.append({
            "step": step,
            "coactivity": weight,
            "wrong": wrong_outputs(penalty.units.groups[-1].start, labels),
            "masked_loss": search.masked_loss(graph, labels),
        })  # fmt: skip
    return found


def wrong_outputs(first: int, labels: np.ndarray) -> int:
    """Outputs that are not with the others of their digit; classes of a digit follow each other."""
    digits = np.repeat([0, 1], 10)
    differ = int((labels[first:] != digits).sum())
    return min(differ, len(digits) - differ)


def main() -> None:
    """Parses the arguments and makes the rows."""
    parser = study_arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=60)
    given = parser.parse_args()
    jobs = [(FIRST_SEED + seed,) for seed in range(given.seeds)]
    run_all(jobs, row, given.json, ("seed",), given.engine, given.workers)


if __name__ == "__main__":
    main()
