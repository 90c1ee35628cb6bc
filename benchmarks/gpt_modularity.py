"""A small GPT comes apart by function: how far, how often, and at what cost.

Trains a plain twin and each method on known-answer streams with equal tokens, finds modules in the
trained network from its weights alone, and scores them by capacity and by function. Rows go to
the JSON file as they are made.

    python -m benchmarks.gpt_modularity --streams letters,digits --seeds 5 \
        --methods cut-tree,l1,blocks --json benchmarks/results/gpt_letters_digits.json
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partwise.capability.language import Apart, come_apart, found_modules
from partwise.files import write_json
from partwise.graph.activity import share_graph
from partwise.loss.shares import ShareSchedule
from partwise.tasks.streams import Corpus, known_streams, read_text
from partwise.train.gpt_loop import GPTRecipe, GPTTrainer, train_gpt

DATA = Path(os.environ.get("PARTWISE_DATA", "/work/shared/data"))
OFF = ShareSchedule(strength=0.0, mask_share=0.0)
METHODS = ("cut-tree", "l1", "blocks", "plain")


def trained(method: str, recipe: GPTRecipe, corpus: Corpus) -> tuple[GPTTrainer, float]:
    """A network trained by one method, and the seconds it took."""
    if method in ("plain", "l1"):
        recipe = replace(recipe, shares=OFF, l1=0.3 if method == "l1" else 0.0)
    if method == "blocks":
        recipe = replace(recipe, shares=replace(recipe.shares, freeze_after=-1))
    start = time.perf_counter()
    trainer = GPTTrainer.new(recipe, corpus)
    if method == "blocks":
        rng = np.random.default_rng(recipe.seed)
        trainer.penalty.set_labels(torch.from_numpy(rng.integers(0, 2, trainer.units.n)))
    train_gpt(trainer, lambda row: print(row, flush=True), log_every=1000)
    return trainer, time.perf_counter() - start


def row_of(method: str, trainer: GPTTrainer, seconds: float, twin_loss: float) -> dict[str, Any]:
    """The figures of one trained network."""
    model, units, recipe = trainer.model, trainer.units, trainer.recipe
    if not trainer.penalty.scales.seen:
        with trainer.penalty.scales.watching(), torch.no_grad():
            ids = trainer.corpus.batch("probe", 256, recipe.context, (recipe.seed,))
            model(ids)
    weights = share_graph(model, units, None)
    shares = share_graph(model, units, trainer.penalty.scales)

    def scored(labels: np.ndarray, graph: Any) -> Apart:
        return come_apart(model, units, labels, graph, trainer.corpus, recipe.context)

    by_weights = scored(found_modules(weights), weights)
    by_shares = scored(found_modules(shares), shares)
    return {
        "method": method,
        "seed": recipe.seed,
        "token_purity": by_weights.token_purity,
        "interface_frac": by_weights.interface_frac,
        "loss": by_weights.loss,
        "loss_gap_nats": by_weights.loss - twin_loss,
        "causal_interface_nats": by_weights.causal_interface_nats,
        "spill_frac": by_weights.worst_spill_frac,
        "modules": by_weights.modules,
        "seconds": seconds,
        "by_weights": asdict(by_weights),
        "by_shares": asdict(by_shares),
        "trained_partition_interface": trainer.penalty.interface_frac(),
        "recipe": asdict(recipe),
    }


def machine() -> dict[str, str]:
    """Where and with what the figures were made."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": git.stdout.strip(),
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def main() -> None:
    """Runs the methods for every seed and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", default="letters,digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", default="cut-tree,l1")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--english", type=Path, default=DATA / "tinyshakespeare.txt")
    parser.add_argument("--set", nargs="*", default=[], help="recipe fields, e.g. width=96")
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = known_streams(tuple(args.streams.split(",")), read_text(args.english))
    recipe = _recipe(args.set)
    rows: list[dict[str, Any]] = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        seeded = replace(recipe, seed=seed, shares=replace(recipe.shares, seed=seed))
        twin_loss = float("nan")
        for method in ("plain", *(m for m in args.methods.split(",") if m != "plain")):
            trainer, seconds = trained(method, seeded, corpus)
            row = row_of(method, trainer, seconds, twin_loss)
            if method == "plain":
                twin_loss = row["loss"]
                row["loss_gap_nats"] = 0.0
            rows.append(row)
            print({k: v for k, v in row.items() if k not in ("recipe",)}, flush=True)
            write_json(args.json, {"machine": machine(), "streams": args.streams, "rows": rows})


def _recipe(settings: list[str]) -> GPTRecipe:
    """The default recipe with `field=value` settings; schedule fields are looked up as well."""
    recipe = GPTRecipe()
    for setting in settings:
        name, _, value = setting.partition("=")
        number = float(value) if "." in value or "e" in value else int(value)
        if hasattr(recipe, name):
            recipe = replace(recipe, **{name: number})
        else:
            recipe = replace(recipe, shares=replace(recipe.shares, **{name: number}))
    return recipe


if __name__ == "__main__":
    main()
