"""What each rule of `BudgetedPenalty` is worth: the same networks, trained with and without it.

    python -m benchmarks.ablate --rules idle_wires opened --tasks digits-shared retina --seeds 6 \
        --json benchmarks/results/ablate.jsonl

A network is trained once with all rules, and once more without each rule that acted in it; where
a rule never acted, the network without it is the same, and is not trained again. The file has one
line per rule and task, with both networks of each seed and the mean of the paired differences.
Networks that are in the file already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
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
from benchmarks.records import Row, machine
from partwise.capability import held_out
from partwise.files import write_text
from partwise.interventions.masks import MaskedRun, inside_modules
from partwise.loss import BudgetedPenalty, budget, partitions
from partwise.loss.levels import Levels
from partwise.loss.partitions import PartitionSearch
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
MEASURED = "right", "modules", "purity", "held_out_loss", "interface_costs", "shown_right"


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


def _trial_goes_on(penalty: BudgetedPenalty) -> bool:
    """Whether a trial is over and modules that cost too much are still in force."""
    over = penalty._trial_is_over and 0 < penalty.state.excess < math.inf
    return over and not penalty._masking_is_free and penalty.modules > 1


def _judge_at_once(penalty: BudgetedPenalty) -> None:
    """`_judge` without SLOW and LAST_HOPE: a trial ends when it is over."""
    state = penalty.state
    state.masked_loss = penalty.loss_of(penalty.in_force.run)
    state.excess = penalty.limits.excess(state.masked_loss)
    if penalty._trial_is_over and state.excess > 0:
        if penalty._masking_is_free:
            state.pressure *= budget.BACK_OFF
        else:
            penalty._refuse()


def _no_readings(search: PartitionSearch, graph: Any, labels: np.ndarray) -> np.ndarray:
    return np.zeros((int(labels.max()) + 1,) * 2, bool)


RULES = {
    "opened": Rule(
        partitions, "opened", lambda reads, *_: reads,
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
        BudgetedPenalty, "_judge", _judge_at_once, lambda args, _: _trial_goes_on(args[0])
    ),
    "least_spread": Rule(
        budget, "least_spread", lambda *_: 1.0, lambda _, spread: spread < budget.FLAT
    ),
    "readers": Rule(PartitionSearch, "_readings", _no_readings, lambda _, reads: bool(reads.any())),
    "without_idle": Rule(
        partitions, "without_idle", lambda units, graph, labels: labels,
        lambda args, labels: labels.max() != args[2].max(),
    ),
    "fallback": Rule(
        PartitionSearch, "fallback", lambda *_: None, lambda _, result: bool(result)
    ),
    "works_alone": Rule(
        PartitionSearch, "_works_alone", lambda _: False, lambda _, stays: bool(stays)
    ),
    "costs_more": Rule(
        PartitionSearch, "_costs_more", lambda *_: False, lambda _, stays: bool(stays)
    ),
}  # fmt: skip
"""Rules that stand. Lines of others in a record are of rules that showed nothing, and are gone."""


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


class Record:
    """The file: one line per rule and task."""

    def __init__(self, path: Path):
        self.path, self.lines = path, {}
        for text in path.read_text().splitlines() if path.exists() else []:
            line = json.loads(text)
            self.lines[line["rule"], line["task"]] = line

    def networks(self, rule: str, task: str) -> list[Row]:
        """Each seed so far, with both networks where the rule acted."""
        return self.lines.get((rule, task), {}).get("networks", [])

    def seeds(self, rule: str, task: str) -> set[int]:
        """Seeds that are done."""
        return {each["seed"] for each in self.networks(rule, task)}

    def baseline(self, task: str, seed: int) -> Row | None:
        """The network with all rules, if a line of any rule has it."""
        for (_, of), line in self.lines.items():
            for each in line["networks"] if of == task else []:
                if each["seed"] == seed and each["acted"]:
                    return each["with"] | {"acting": each["acting"]}
        return None

    def add(self, rule: str, task: str, network: Row) -> None:
        """Adds one seed, and works the differences out anew."""
        networks = [*self.networks(rule, task), network]
        self.lines[rule, task] = {
            "rule": rule,
            "task": task,
            "seeds": len(networks),
            "acted": sum(each["acted"] for each in networks),
            "without_minus_with": paired(networks),
            "networks": networks,
            **machine(),
        }
        lines = [json.dumps(self.lines[key], separators=(",", ":")) for key in sorted(self.lines)]
        write_text(self.path, "\n".join(lines) + "\n")


def paired(networks: Sequence[Row]) -> Row:
    """Mean difference without and with the rule, and standard error; empty if it never acted."""
    found: Row = {}
    if not any(each["acted"] for each in networks):
        return found
    for name in MEASURED:
        differences = [
            each["without"][name] - each["with"][name] if each["acted"] else 0.0
            for each in networks
        ]
        found[name] = rounded(float(np.mean(differences)))
        if len(differences) > 1:
            error = float(np.std(differences, ddof=1) / math.sqrt(len(differences)))
            found[f"{name}_se"] = rounded(error)
    return found


def rounded(value: Any) -> Any:
    """Six significant digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def pairs(record: Record, task: str, seed: int, rules: Sequence[str]) -> None:
    """Trains what a task and a seed lack in the record."""
    todo = [rule for rule in rules if seed not in record.seeds(rule, task)]
    if not todo:
        return
    base, acting = record.baseline(task, seed), set()
    if base is None:
        start = time.perf_counter()
        with ExitStack() as stack:
            for name, rule in RULES.items():
                stack.enter_context(rule.watched(lambda name=name: acting.add(name)))
            base = _rounded(trained(task, seed)) | {"acting": sorted(acting)}
        print(task, seed, f"{time.perf_counter() - start:.1f} s", base, flush=True)
    acting = set(base.pop("acting"))
    for name in todo:
        row: Row = {"seed": seed, "acted": name in acting}
        if name in acting:  # else it is the same network
            with RULES[name].switched_off():
                without = _rounded(trained(task, seed))
            print(task, seed, "without", name, without, flush=True)
            row |= {"acting": sorted(acting), "with": base, "without": without}
        record.add(name, task, row)


def _rounded(row: Row) -> Row:
    return {name: rounded(value) for name, value in row.items()}


def main() -> None:
    """Parses the arguments and trains the networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, required=True)
    parser.add_argument("--seeds", type=int, default=4, help="how many")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="the first of them")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = Record(given.json)
    for seed in range(given.first, given.first + given.seeds):
        for task in given.tasks:
            pairs(record, task, seed, given.rules)


if __name__ == "__main__":
    main()
