"""What the penalty adds to a training step, refreshes included, as a share of a plain step.

Plain and penalised stretches of steps alternate in one process on one thread, and processor time
is compared, so that other work on the machine weighs on both alike. Refreshes are timed by
themselves and dealt out over the steps between them: those of a digits-pair run to its end, where
they become rarer as the partition comes to rest. The plain twin has the same L1 pressure.

    python -m benchmarks.penalty_overhead --json benchmarks/results/penalty_overhead.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.records import Row, machine
from partwise.files import write_json
from partwise.graph import unit_map
from partwise.loss import CutTreePenalty, CutTreeSchedule, l1_penalty
from partwise.train import Trainer, recipe_from

WARM_UP, NEVER = 1600, 10**9
WIDE = (1024, 2048, 2048, 1536, 1024, 64)  # 11.1M weights
Advance = Callable[[], object]


def digits_pair(strength: float) -> tuple[Advance, CutTreePenalty]:
    """Steps of a digits-pair network, past the penalty's start."""
    cut_tree = {"strength": strength, "start": WARM_UP - 100, "mask_share": 0.0}
    made = Trainer.new(recipe_from({"l1": 4.0, "cut_tree": cut_tree}))
    for _ in range(WARM_UP):
        made.advance()
    assert isinstance(made.penalty, CutTreePenalty)
    made.penalty.schedule = CutTreeSchedule(**{**vars(made.penalty.schedule), "ramp": 0})
    return made.advance, made.penalty


def wide_mlp(batch: int) -> Callable[[float], tuple[Advance, CutTreePenalty]]:
    """Steps of an MLP of 11.1M weights on random inputs with a linear teacher."""

    def made(strength: float) -> tuple[Advance, CutTreePenalty]:
        torch.manual_seed(0)
        layers = [part for a, b in pairwise(WIDE) for part in (nn.Linear(a, b), nn.ReLU())]
        model = nn.Sequential(*layers[:-1])
        units = unit_map(model)
        penalty = CutTreePenalty(
            model, units=units, strength=strength, start=0, ramp=0, mask_share=0.0
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        x = torch.randn(batch, WIDE[0])
        y = (x @ torch.randn(WIDE[0], WIDE[-1])).argmax(1)

        def loss() -> Tensor:
            task_loss = nn.functional.cross_entropy(penalty.run(x), y)
            return task_loss + 3e-3 * l1_penalty(model, units) + penalty()

        def advance() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()

        return advance, penalty

    return made


CASES = {
    "digits-pair": (digits_pair, 20, 60),
    "mlp-11m, batch 256": (wide_mlp(256), 1, 15),
    "mlp-11m, batch 1024": (wide_mlp(1024), 1, 9),
}
"""Name -> how to make it, steps per stretch, pairs of stretches."""


def steps_between_refreshes() -> float:
    """Mean over a digits-pair run by the default recipe, from the penalty's start on."""
    made = Trainer.new(recipe_from({"l1": 4.0, "cut_tree": {"strength": 1.0}}))
    penalty = made.penalty
    assert isinstance(penalty, CutTreePenalty)
    steps, due, refreshes = made.recipe.training.steps, penalty.clock.due, 0
    for _ in range(steps):
        made.advance()
        refreshes, due = refreshes + (penalty.clock.due != due), penalty.clock.due
    return (steps - penalty.schedule.start) / max(1, refreshes)


def overhead(
    task: str,
    between: float,
    make: Callable[[float], tuple[Advance, CutTreePenalty]],
    stretch: int,
    rounds: int,
) -> Row:
    """One row of the record, for refreshes every `between` steps."""
    (plain, _), (ours, penalty) = make(0.0), make(1.0)
    every = penalty.schedule.refresh_every
    penalty.refresh()
    refresh_s = median(seconds(penalty.refresh) for _ in range(5))
    if penalty.modules < 2:  # the cost of a step does not depend on which units are together
        penalty.set_labels(torch.arange(penalty.units.n) % 4)
    penalty.clock.due = NEVER
    penalty.step = max(penalty.step, penalty.schedule.start) + 1
    pairs = [(seconds(plain, stretch), seconds(ours, stretch)) for _ in range(rounds)]
    plain_s = median(a for a, _ in pairs) / stretch
    step_frac = median(b / a for a, b in pairs) - 1
    return {
        "task": task,
        "plain_step_s": plain_s,
        "ours_step_s": median(b for _, b in pairs) / stretch,
        "step_overhead_frac": step_frac,
        "refresh_s": refresh_s,
        "steps_between_refreshes": between,
        "overhead_frac": step_frac + refresh_s / between / plain_s,
        "overhead_while_moving_frac": step_frac + refresh_s / every / plain_s,
        "modules": penalty.modules,
    }


def seconds(work: Advance, times: int = 1) -> float:
    """Processor seconds that `work` takes, called `times` times."""
    start = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - start


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, between = [], steps_between_refreshes()
    for task, case in CASES.items():
        rows.append(overhead(task, between, *case))
        print(rows[-1], flush=True)
        write_json(given.json, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
