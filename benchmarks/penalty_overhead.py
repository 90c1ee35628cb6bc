"""What the penalty adds to a training step, refreshes included, as a share of a plain step.

Plain and penalised stretches of steps alternate in one process on one thread, and processor time
is compared, so that other work on the machine weighs on both alike.

    python -m benchmarks.penalty_overhead --json benchmarks/results/penalty_overhead.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.records import machine
from partwise.files import write_json
from partwise.train import Trainer, recipe_from

WARM_UP, STRETCH, ROUNDS = 1600, 100, 5


def trainer(strength: float) -> Trainer:
    """A digits-pair trainer, past the penalty's start, with one refresh per stretch."""
    cut_tree = {"strength": strength, "start": WARM_UP - 100, "refresh_every": STRETCH}
    made = Trainer.new(recipe_from({"l1": 4.0, "cut_tree": {**cut_tree, "mask_share": 0.0}}))
    for _ in range(WARM_UP):
        made.advance()
    return made


def stretch_s(made: Trainer) -> float:
    """Processor seconds of one stretch of steps."""
    start = time.process_time()
    for _ in range(STRETCH):
        made.advance()
    return time.process_time() - start


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plain, ours = trainer(0.0), trainer(1.0)
    pairs = [(stretch_s(plain), stretch_s(ours)) for _ in range(ROUNDS)]
    start = time.process_time()
    ours.penalty.refresh()
    refresh_s = time.process_time() - start
    row = {
        "task": "digits-pair",
        "plain_step_s": median(a for a, _ in pairs) / STRETCH,
        "ours_step_s": median(b for _, b in pairs) / STRETCH,
        "overhead_frac": median(b / a for a, b in pairs) - 1,
        "refresh_s": refresh_s,
        "refresh_every": STRETCH,
    }
    write_json(given.json, {"machine": machine(), "rows": [row]})
    print(row)


if __name__ == "__main__":
    main()
