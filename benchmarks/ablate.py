"""What each rule of `BudgetedPenalty` is worth: the same networks, trained with and without it.

    python -m benchmarks.ablate --tasks digits-shared retina --seeds 6 \
        --json benchmarks/results/ablate.jsonl

A network is trained once with all rules, and once more without each rule that acted in it; where
a rule never acted, the network without it is the same, and is not trained again. `python -m
benchmarks.tables` makes the table in the docs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.modularity_methods import (
    BATCH,
    DECAY_FRAC,
    LEARNING_RATE,
    SETTINGS,
    WEIGHT_DECAY,
    network,
)
from benchmarks.records import Job, Record, Row, run_all, study_arguments
from partwise.capability import held_out
from partwise.interventions.masks import MaskedRun, inside_modules
from partwise.loss import BudgetedPenalty, budget, budget_control, budget_finder
from partwise.loss.budget_control import Budget
from partwise.loss.budget_finder import BudgetFinder
from partwise.loss.levels import Levels
from partwise.modules import find_modules
from partwise.modules.scores import purity
from partwise.tasks import Task, task_named
from partwise.train.loop import held_out_probe

FIRST_SEED = 20_000
"""Nothing was tuned on seeds from here on."""
BUDGET = 0.05
PURE = 0.97
ALIVE = 0.01
"""Units with less than this share of the mean capacity are in no module."""


@dataclass(frozen=True)
class Rule:
    """A rule, and how to do without it.

    Attributes:
        owner: class or module that has the rule's function.
        name: the function.
        off: what takes its place; same arguments.
        acted: whether the rule did something, from its arguments and its result.
    """

    owner: Any
    name: str
    off: Callable[..., Any]
    acted: Callable[[tuple[Any, ...], Any], bool]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Has the network trained without the rule."""
        with self._patched(self.off):
            yield

    @contextmanager
    def watched(self, seen: Callable[[], None]) -> Iterator[None]:
        """Calls `seen` whenever the rule does something."""
        rule = vars(self.owner)[self.name]

        def watching(*args: Any) -> Any:
            result = rule(*args)
            if self.acted(args, result):
                seen()
            return result

        with self._patched(watching):
            yield

    @contextmanager
    def _patched(self, function: Callable[..., Any]) -> Iterator[None]:
        rule = vars(self.owner)[self.name]
        setattr(self.owner, self.name, function)
        try:
            yield
        finally:
            setattr(self.owner, self.name, rule)


def _trial_goes_on(controller: Budget, refused: bool) -> bool:
    """Whether a trial is over and modules that cost too much stay in force."""
    over = controller.trial_is_over and 0 < controller.state.excess < math.inf
    return over and not controller.masking_is_free and not refused


def _refuses_at_once(controller: Budget, masked_loss: float) -> bool:
    """`refuses` without SLOW and LAST_HOPE: a trial ends when it is over."""
    state = controller.state
    state.masked_loss = masked_loss
    state.excess = masked_loss - state.before - controller.slack(state.before)
    if not controller.trial_is_over or state.excess <= 0:
        return False
    if controller.masking_is_free:
        state.pressure *= budget_control.BACK_OFF
        return False
    return True


def _no_readings(finder: BudgetFinder, graph: Any, labels: np.ndarray) -> np.ndarray:
    return np.zeros((int(labels.max()) + 1,) * 2, bool)


RULES = {
    "opened": Rule(
        budget_finder, "opened", lambda reads, *_: reads,
        lambda args, reads: not np.array_equal(args[0], reads),
    ),
    "clear_beneath": Rule(
        Levels, "clear_beneath", lambda *_: (1, 0.0), lambda _, result: result[0] > 1
    ),
    "with_readers": Rule(
        Levels, "with_readers", lambda levels, level, *_: level,
        lambda args, level: level != args[1],
    ),
    "idle_wires": Rule(
        budget, "idle_wires", lambda *_: {},
        lambda _, idle: any(bool(wires.any()) for wires in idle.values()),
    ),
    "longer_trials": Rule(
        Budget, "refuses", _refuses_at_once,
        lambda args, refused: _trial_goes_on(args[0], refused),
    ),
    "least_spread": Rule(
        budget, "least_spread", lambda *_: 1.0, lambda _, spread: spread < budget.FLAT
    ),
    "readers": Rule(BudgetFinder, "_readings", _no_readings, lambda _, reads: bool(reads.any())),
    "without_idle": Rule(
        budget_finder, "without_idle", lambda units, graph, labels: labels,
        lambda args, labels: labels.max() != args[2].max(),
    ),
    "works_alone": Rule(
        BudgetFinder, "_works_alone", lambda _: False, lambda _, stays: bool(stays)
    ),
    "costs_more": Rule(
        BudgetFinder, "_costs_more", lambda *_: False, lambda _, stays: bool(stays)
    ),
}  # fmt: skip
"""Rules that stand; others in a record showed nothing, and are gone."""


def trained(task_name: str, seed: int) -> Row:
    """Trains one network within a budget, and scores the modules that it holds apart."""
    torch.manual_seed(seed)
    task, setting = task_named(task_name), SETTINGS[task_name]
    model = network(task_name, task, seed)
    penalty = BudgetedPenalty(
        model, held_out_probe(task), steps=setting.steps, budget=BUDGET, seed=seed
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(setting.steps):
        x, y = task.batch("train", BATCH, (seed, step))
        run = penalty.step(optimizer)
        loss = task.losses(run(x), y).mean(0).sum() + penalty()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _decay(step / setting.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    penalty.finish()
    return score(penalty, task, setting.modules)


def score(penalty: BudgetedPenalty, task: Task, true_modules: int) -> Row:
    """What is left at the end; losses on rows of `final`, which no budget sees.

    `shown_right` is about the modules that the weights alone show, the rest about those in force.
    """
    model, units = penalty.model.eval(), penalty.units
    graph, labels = units.graph(model), penalty.labels
    degrees = graph.degrees()
    ends = np.r_[0 : len(task.inputs), graph.n - len(task.outputs) : graph.n]
    alive = degrees[ends] > ALIVE * degrees.mean()
    truth = np.r_[task.true_inputs, task.true_outputs]
    ends, truth = ends[alive], truth[alive]

    def is_right(labels: np.ndarray) -> int:
        pure = purity(graph, labels, ends, truth)
        return int(labels.max() + 1 == true_modules and pure >= PURE)

    whole = held_out(model, task).ce
    alone = MaskedRun(model, inside_modules(model, units, labels))
    x, y, _ = task.rows("final", 4000, 0)
    with torch.no_grad():
        costs = task.losses(alone(x), y).mean() - task.losses(model(x), y).mean()
    return {
        "right": is_right(labels.numpy()),
        "modules": penalty.modules,
        "purity": purity(graph, labels.numpy(), ends, truth),
        "held_out_loss": whole,
        "interface_costs": costs.item(),
        "shown_right": is_right(np.asarray(find_modules(graph).labels)),
    }


def _decay(into: float) -> float:
    late = max(0.0, (into - (1 - DECAY_FRAC)) / DECAY_FRAC)
    return (1 + math.cos(math.pi * late)) / 2


def row(job: Job) -> Row:
    """A network with all rules, and without each of those that acted in it."""
    task, seed = job
    acting: set[str] = set()
    with ExitStack() as stack:
        for name, rule in RULES.items():
            stack.enter_context(rule.watched(lambda name=name: acting.add(name)))
        whole = trained(task, seed)
    without = {}
    for name in sorted(acting):
        with RULES[name].switched_off():
            without[name] = trained(task, seed)
    return {"task": task, "seed": seed, "rules": list(RULES), "with": whole, "without": without}


def rules_table(record: Record) -> str:
    """What goes without each rule, wherever it acted, as a Markdown table."""
    lines = [
        "| rule | task | seeds | acted | right | shown | held-out loss |",
        "|" + " --- |" * 7,
    ]
    for rule in dict.fromkeys(rule for each in record.rows for rule in each["rules"]):
        for task, fresh in dict.fromkeys((r["task"], _is_fresh(r)) for r in record.rows):
            rows = [
                each for each in record.rows
                if (each["task"], _is_fresh(each)) == (task, fresh) and rule in each["rules"]
            ]  # fmt: skip
            if any(rule in each["without"] for each in rows):
                lines.append(_table_line(rule, task, "fresh" if fresh else "used before", rows))
    return "\n".join(lines)


def _is_fresh(row: Row) -> bool:
    return bool(row["seed"] >= FIRST_SEED)


def _table_line(rule: str, task: str, seeds: str, rows: Sequence[Row]) -> str:
    acted = [each for each in rows if rule in each["without"]]

    def gained(name: str) -> list[float]:
        return [each["without"][rule][name] - each["with"][name] for each in acted]

    losses = np.r_[gained("held_out_loss"), np.zeros(len(rows) - len(acted))]
    loss = f"{losses.mean():+.2g}"
    if len(rows) > 1:
        loss += f" ± {losses.std(ddof=1) / math.sqrt(len(rows)):.1g}"
    right, shown = (f"{sum(gained(name)):+.0f}" for name in ("right", "shown_right"))
    often = f"{len(acted)} of {len(rows)}"
    return f"| `{rule}` | {task} | {seeds} | {often} | {right} | {shown} | {loss} |"


def main() -> None:
    """Parses the arguments and trains the networks."""
    parser = study_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, required=True)
    parser.add_argument("--seeds", type=int, default=4, help="how many")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="the first of them")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    jobs = [(task, seed) for seed in seeds for task in given.tasks]
    run_all(jobs, row, given.json, ("task", "seed"), given.engine, given.workers)


if __name__ == "__main__":
    main()
