"""A small GPT comes apart by function: how far, how often, and at what cost.

Trains a plain twin and each method on known-answer streams with equal tokens, finds modules in the
trained network from its weights alone, and scores them by capacity and by function. Rows go to
the file as they are made; the same command goes on where it was stopped. In a `.json` file each row
also holds both partitions, the one found and the one trained with; strays are named in any.

    python -m benchmarks.gpt_modularity --streams letters,digits --first-seed 100 --seeds 5 \
        --methods cut-tree,l1,blocks --json benchmarks/results/gpt_letters_digits_fresh.jsonl
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.records import Row, append_row, read_record, rounded, told
from partwise.capability.language import (
    Apart,
    causal_language_interface,
    come_apart,
    found_modules,
    interface_by_matrix,
)
from partwise.graph import UnitMap
from partwise.graph.activity import share_graph
from partwise.tasks import Text
from partwise.tasks.streams import Corpus, known_streams, read_text
from partwise.train import Recipe, Trainer, recipe_from, train
from partwise.train.recipe_files import changed, recipe_fields
from partwise.train.text import bpe_corpus

DATA = Path(os.environ.get("PARTWISE_DATA", "/work/shared/data"))
OFF = ("strength=0", "mask_share=0")
LOGGED = ("log_every=1000",)
METHODS = ("cut-tree", "l1", "blocks", "plain")
LEFT_OUT = ("found_labels", "trained_labels", "recipe")


def trained(method: str, recipe: Recipe, corpus: Corpus) -> tuple[Trainer, float]:
    """A network trained by one method, and the seconds it took."""
    if method in ("plain", "l1"):
        recipe = changed(recipe, [*OFF, f"l1={0.3 if method == 'l1' else 0.0}"])
    if method == "blocks":
        recipe = changed(recipe, ["freeze_after=-1"])
    start = time.perf_counter()
    trainer = Trainer.new(recipe, Text(corpus, recipe.context))
    if method == "blocks":
        rng = np.random.default_rng(recipe.seed)
        trainer.penalty.set_labels(torch.from_numpy(rng.integers(0, 2, trainer.units.n)))
    train(trainer, lambda row: print(row, flush=True))
    return trainer, time.perf_counter() - start


def row_of(method: str, trainer: Trainer, seconds: float, twin_loss: float) -> dict[str, Any]:
    """The figures of one trained network."""
    model, units, recipe = trainer.model, trainer.units, trainer.recipe
    weights = share_graph(model, units, None)
    in_training = trainer.penalty.labels.numpy()
    labels = found_modules(weights)

    def scored(partition: NDArray[np.int64]) -> Apart:
        return come_apart(model, units, partition, weights, trainer.data.corpus, recipe.context)

    found = scored(labels)
    interface = causal_language_interface(
        model, units, torch.from_numpy(labels), trainer.data.corpus, recipe.context
    )
    row = {
        "method": method,
        "seed": recipe.seed,
        "modules": found.modules,
        "token_purity": found.token_purity,
        "interface_frac": found.interface_frac,
        "loss": found.loss,
        "loss_gap_nats": found.loss - twin_loss,
        **interface.scores("causal_interface", "_nats"),
        "spill_frac": found.worst_spill_frac,
        "seconds": seconds,
    }
    return row | {
        "met": bars_met(row),
        "found": asdict(found),
        "interface_frac_by_matrix": interface_by_matrix(model, units, torch.from_numpy(labels)),
        "found_labels": labels.tolist(),
        "trained": asdict(scored(in_training)) if trainer.penalty.modules > 1 else None,
        "trained_labels": in_training.tolist(),
        "strays": strays(units, trainer.data.corpus, labels, in_training),
        "recipe": recipe_fields(recipe),
    }


def bars_met(row: dict[str, Any]) -> bool:
    """Whether a network came apart into its two streams, at little cost."""
    return bool(
        row["modules"] == 2
        and row["token_purity"] >= 0.95
        and row["interface_frac"] <= 0.05
        and row["loss_gap_nats"] <= 0.05
        and row["causal_interface_nats"] <= 0.2
        and row["spill_frac"] <= 0.1
    )


def strays(
    units: UnitMap, corpus: Corpus, found: NDArray[np.int64], trained: NDArray[np.int64]
) -> list[str]:
    """Units that were found in another module than they were trained in.

    Each module found stands for the one that most of its units were trained in.
    """
    home = [np.bincount(trained[found == k]).argmax() for k in range(int(found.max()) + 1)]
    away = np.flatnonzero(np.array(home)[found] != trained)
    names = []
    for group in units.groups:
        for unit in away[(away >= group.start) & (away < group.stop)]:
            place = int(unit - group.start)
            what = corpus.vocabulary[place] if group.kind == "token" else place
            names.append(f"{group.name} {what}")
    return names


def main() -> None:
    """Runs the methods for every seed and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", default="letters,digits")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="files, not streams")
    parser.add_argument("--bpe", type=int, default=1024, help="tokens that --text is cut into")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", default="cut-tree,l1")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--english", type=Path, default=DATA / "tinyshakespeare.txt")
    parser.add_argument("--set", nargs="*", default=[], help="recipe fields, e.g. width=96")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.text:
        args.streams = ",".join(path.stem for path in args.text)
        corpus, _ = bpe_corpus({path.stem: read_text(path) for path in args.text}, args.bpe)
    else:
        corpus = known_streams(tuple(args.streams.split(",")), read_text(args.english))
    texts = {"data": {"texts": args.streams.split(",")}}
    recipe = recipe_from(texts, settings=[*LOGGED, *args.set])
    study = rounded({"streams": args.streams, "recipe": recipe_fields(recipe)})
    rows = rows_so_far(args.json, study)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        seeded = recipe.model_copy(update={"seed": seed})
        for method in ("plain", *(m for m in args.methods.split(",") if m != "plain")):
            if any((row["method"], row["seed"]) == (method, seed) for row in rows):
                continue
            twins = [row for row in rows if (row["method"], row["seed"]) == ("plain", seed)]
            trainer, seconds = trained(method, seeded, corpus)
            row = row_of(method, trainer, seconds, twins[0]["loss"] if twins else float("nan"))
            if method == "plain":
                row["loss_gap_nats"] = 0.0
            rows.append(append_row(args.json, row, LEFT_OUT, **study))
            print(told(rows[-1]), flush=True)


def rows_so_far(path: Path, study: Row) -> list[Row]:
    """The rows that an earlier, interrupted call of the same study has made."""
    before = read_record(path)
    other = [name for name, value in study.items() if before.head.get(name) != value]
    if before.rows and other:
        raise SystemExit(f"{path} is of another study ({', '.join(other)}); choose another file")
    return before.rows


if __name__ == "__main__":
    main()
