"""What the penalty adds to a training step, refreshes included, as a share of a plain step.

Plain and penalised stretches of steps alternate in one process on one thread, and processor time
is compared, so that other work on the machine weighs on both alike. Refreshes are timed by
themselves and dealt out over the steps between them: those of a digits-pair run to its end, where
they become rarer as the partition comes to rest. The plain twin of `CutTreePenalty` has the same
L1 pressure, in the same single pass; masked steps are left out there.

`BudgetedPenalty` brings its own L1 pressure, so its plain twin has none. Its rows are of whole
trainings: on digits-pair both networks are trained to the end, in stretches that alternate. Rows on
digits-pair are made five times, and the middle one counts; on the wide network the phases are timed
one by one, and weighed, with all probes and as many refreshes as there can be, as in a training of
4,000 steps.

    python -m benchmarks.penalty_overhead --json benchmarks/results/penalty_overhead.jsonl
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.records import Row, write_record
from partwise.graph import unit_map
from partwise.loss import BudgetedPenalty, BudgetSchedule, CutTreePenalty
from partwise.train import Recipe, Trainer, recipe_from

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
    made.penalty.controller.schedule = replace(made.penalty.controller.schedule, ramp=0)
    return made.advance, made.penalty


class Wide:
    """An MLP of 11.1M weights on random inputs with a linear teacher."""

    def __init__(self, batch: int):
        torch.manual_seed(0)
        layers = [part for a, b in pairwise(WIDE) for part in (nn.Linear(a, b), nn.ReLU())]
        self.model = nn.Sequential(*layers[:-1])
        self.units = unit_map(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.x = torch.randn(batch, WIDE[0])
        self.y = (self.x @ torch.randn(WIDE[0], WIDE[-1])).argmax(1)

    def task_loss(self, run: Callable[..., Tensor]) -> Tensor:
        """Cross-entropy of the network, given what runs it."""
        return nn.functional.cross_entropy(run(self.x), self.y)

    def step(self, loss: Tensor) -> None:
        """One optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def wide_mlp(batch: int) -> Callable[[float], tuple[Advance, CutTreePenalty]]:
    """Steps of the wide network at a batch size."""

    def made(strength: float) -> tuple[Advance, CutTreePenalty]:
        wide = Wide(batch)
        penalty = CutTreePenalty(
            wide.model, units=wide.units, l1=3e-3, strength=strength, start=0, ramp=0,
            mask_share=0.0,
        )  # fmt: skip
        return lambda: wide.step(wide.task_loss(penalty.run) + penalty()), penalty

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
    steps, due, refreshes = made.recipe.training.steps, penalty.finder.due, 0
    for _ in range(steps):
        made.advance()
        refreshes, due = refreshes + (penalty.finder.due != due), penalty.finder.due
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
    penalty.finder.due = NEVER
    penalty.state.step = max(penalty.steps_done, penalty.schedule.start) + 1
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


def budget_on_digits_pair(press_every: int = BudgetSchedule.press_every, stretch: int = 50) -> Row:
    """Overhead of a whole digits-pair training within a budget, beside its plain twin."""
    plain, ours = (Trainer.new(recipe_from({"cut_tree": {"budget": b}})) for b in (0.0, 0.05))
    assert isinstance(ours.penalty, BudgetedPenalty)
    schedule = ours.penalty.schedule
    ours.penalty.controller.schedule = replace(schedule, press_every=press_every)
    _warm(recipe_from({"training": {"steps": 200}, "cut_tree": {"budget": 0.05}}))
    pairs, steps = [], plain.recipe.training.steps
    while ours.step < steps:
        pairs.append((seconds(plain.advance, stretch), seconds(ours.advance, stretch)))
    phases = [0, *_phases(schedule), steps]
    shares = [
        share_above([pair for i, pair in enumerate(pairs) if a <= i * stretch < b])
        for a, b in pairwise(phases)
    ]
    return {
        "task": _named("digits-pair") + ", pressing at every step" * (press_every == 1),
        "plain_step_s": sum(a for a, _ in pairs) / steps,
        "phase_overhead_fracs": shares,
        "overhead_frac": share_above(pairs),
        "modules": ours.penalty.modules,
    }


def _warm(recipe: Recipe) -> None:
    """Loads every kernel, so that no row pays for it."""
    trainer = Trainer.new(recipe)
    for _ in range(recipe.training.steps):
        trainer.advance()
    assert isinstance(trainer.penalty, BudgetedPenalty)
    trainer.penalty.refresh()
    _in_phase(trainer.penalty, _phases(trainer.penalty.schedule)[1])
    trainer.advance()


def share_above(pairs: Sequence[tuple[float, float]]) -> float:
    """By how much the second numbers together exceed the first, as a share."""
    return sum(b for _, b in pairs) / sum(a for a, _ in pairs) - 1


def budget_on_wide_mlp(batch: int, rounds: int) -> Row:
    """Overhead of a training of the wide network within a budget, put together from its parts."""
    plain, ours, probe = Wide(batch), Wide(batch), Wide(1000)
    penalty = BudgetedPenalty(ours.model, probe.task_loss, units=ours.units)
    schedule, shares = penalty.schedule, [0.0]
    refresh_s = median(seconds(penalty.refresh) for _ in range(3))
    probe_s = median(seconds(lambda: penalty.loss_of(ours.model)) for _ in range(3))
    plain_s = []

    def plain_step() -> None:
        plain.step(plain.task_loss(plain.model))

    def our_step() -> None:
        ours.step(ours.task_loss(penalty.run) + penalty())

    for first in _phases(schedule):
        _in_phase(penalty, first)
        pairs = [(seconds(plain_step, 4), seconds(our_step, 4)) for _ in range(rounds)]
        shares.append(median(b / a for a, b in pairs) - 1)
        plain_s += [a / 4 for a, _ in pairs]
    _, splitting, releasing = _phases(schedule)
    probed = 2 * releasing - splitting  # masked networks too, while modules are looked for
    probes = probed / schedule.probe_every + 1  # one after the release
    refreshes = 1 + (releasing - splitting) / schedule.probe_every
    beside_s = (probes * probe_s + refreshes * refresh_s) / schedule.steps
    return {
        "task": _named(f"mlp-11m, batch {batch}"),
        "plain_step_s": median(plain_s),
        "phase_overhead_fracs": shares,
        "refresh_s": refresh_s,
        "probe_s": probe_s,
        "overhead_frac": sum(shares) / 4 + beside_s / median(plain_s),
        "modules": penalty.modules,
    }


def middle(rows: Iterable[Row]) -> Row:
    """The row with the median overhead, and the overheads of all."""
    found = sorted(rows, key=lambda row: float(row["overhead_frac"]))
    return found[len(found) // 2] | {"overhead_fracs": [row["overhead_frac"] for row in found]}


def _phases(schedule: BudgetSchedule) -> list[int]:
    """First steps of the three phases that press."""
    return [schedule.press_step, schedule.start, schedule.release_step]


def _named(task: str) -> str:
    return f"{task}, within a budget"


def _in_phase(penalty: BudgetedPenalty, first: int) -> None:
    """Puts a penalty into the phase that begins at a step, with modules from the third on."""
    penalty.state.step, penalty.state.made, penalty.finder.due = first + 1, 0, NEVER
    if first >= _phases(penalty.schedule)[1]:
        penalty.set_labels(torch.arange(penalty.units.n) % 4)


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
        times = 5 if task == "digits-pair" else 1  # a tiny step feels all else on the machine
        rows.append(middle(overhead(task, between, *case) for _ in range(times)))
        print(rows[-1], flush=True)
        write_record(given.json, rows)
    budgets: list[Callable[[], Row]] = [
        lambda: middle(budget_on_digits_pair() for _ in range(5)),
        lambda: middle(budget_on_digits_pair(press_every=1) for _ in range(5)),
        lambda: budget_on_wide_mlp(256, rounds=15),
        lambda: budget_on_wide_mlp(1024, rounds=5),
    ]
    for make in budgets:
        rows.append(make())
        print(rows[-1], flush=True)
        write_record(given.json, rows)


if __name__ == "__main__":
    main()
