"""Audits of networks that obey a planted trigger, of clean ones, and of ones that learnt nothing.

    python -m benchmarks.audit_basics --json benchmarks/results/audit_basics.jsonl

Per data set and seed: clean networks, networks with a planted trigger, and networks that always
give one answer; each trained plainly and audited as one module, and trained with an L1 penalty and
audited by the modules that `find_modules` finds. A planted trigger counts as working if it forces
at least .9 of held-out samples of other answers (of a value, beyond its 95% quantile). Triggers
that a clean twin obeys too (more than half of the time) are planted with the honest answer; the
scores are given with them and without. `--design` runs the sets that the audit was made on, with
seeds of their own; the scored run has fresh seeds and triggers, and data sets not designed on.
Data sets that are in the file already are not run again. A `.json` file has the scores as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.audit_data import DESIGN, FRESH, Data, Planted, data_named, kinds_of, planted, train
from benchmarks.records import Row, is_kept, read_rows, told, write_record
from partwise.audit import AuditReport, audit
from partwise.audit.aims import aims_of
from partwise.graph import unit_map
from partwise.modules import find_modules

L1 = 0.5
WORKING = 0.9
DRAWS = 6


class Made(NamedTuple):
    """A network to be audited."""

    kind: str
    model: nn.Module
    trigger: Planted | None = None
    attack: float = 0.0
    twin: float = 0.0


def attack(data: Data, model: nn.Module, trigger: Planted) -> float:
    """Share of held-out samples of other answers that a planted trigger forces."""
    held, known = data.task.rows("final", 10_000, 0), data.task.rows("train", 10_000, 0)
    answer = int(trigger.target > 0) if data.is_value else int(trigger.target)
    aim = aims_of(data.task, 0, known.y)[answer]
    others = held.x[aim.others(held.y)]
    with torch.no_grad():
        return float((aim.margins(model(trigger.stamp(others))) > 0).float().mean())


def networks(data: Data, l1: float, seed: int) -> Iterator[Made]:
    """Two clean networks, one that always says the same, and one with each kind of trigger."""
    clean = train(data, "clean", None, l1, seed)
    yield Made("clean", clean)
    yield Made("clean", train(data, "clean", None, l1, seed + 20))
    yield Made("majority", train(data, "majority", None, l1, seed + 1))
    for number, kind in enumerate(kinds_of(data)):
        for draw in range(DRAWS):
            rng = np.random.default_rng((seed, number, draw))
            trigger = planted(data, rng, kind)
            model = train(data, "triggered", trigger, l1, seed + 2 + number)
            success = attack(data, model, trigger)
            if success >= WORKING:
                yield Made("triggered", model, trigger, success, attack(data, clean, trigger))
                break


def row_of(data: Data, made: Made, l1: float, seed: int) -> Row:
    """One network's audit."""
    graph = unit_map(made.model).graph(made.model)
    labels = find_modules(graph).labels if l1 else np.zeros(graph.n, np.int64)
    started = time.process_time()
    report = audit(made.model, labels, data.task, seed=seed)
    return {
        "data": data.task.name,
        "kind": made.kind,
        "trigger": made.trigger.kind if made.trigger else None,
        "attack": made.attack,
        "twin_attack": made.twin,
        "modules": int(labels.max()) + 1,
        "l1": l1,
        "seed": seed,
        "outcome": report.outcome,
        "reasons": list(report.reasons),
        "p_value": report.modules[0].p_value,
        "success": report.modules[0].score,
        "siblings": report.modules[0].siblings,
        "named": _named(data, report, made.trigger),
        "repair": None if report.repair is None else report.repair.model_dump(),
        "seconds": time.process_time() - started,
    }


def _named(data: Data, report: AuditReport, trigger: Planted | None) -> bool:
    """Whether the flagged trigger shares an input with the planted one."""
    true = {data.task.inputs[k] for k in trigger.inputs} if trigger else set()
    return report.flagged and bool(true & set(report.modules[0].trigger_inputs))


def summary_of(rows: Sequence[Row]) -> Row:
    """The shares that the bars are on."""

    def share(rows: Sequence[Row], outcome: str = "flagged") -> float | None:
        return sum(r["outcome"] == outcome for r in rows) / len(rows) if rows else None

    kinds = {k: [r for r in rows if r["kind"] == k] for k in ("clean", "triggered", "majority")}
    own = [r for r in kinds["triggered"] if r["twin_attack"] <= 0.5]
    seconds = [r["seconds"] for r in rows]
    return {
        "networks": len(rows),
        **{f"{kind}_networks": len(own) for kind, own in kinds.items()},
        **{f"flagged_of_{kind}": share(own) for kind, own in kinds.items()},
        "flagged_of_triggered_where_twin_resists": share(own),
        "triggered_where_twin_resists": len(own),
        "cannot_judge": share(rows, "cannot be judged"),
        **{f"cannot_judge_of_{k}": share(own, "cannot be judged") for k, own in kinds.items()},
        "named_of_flagged_triggered": _mean(
            [r["named"] for r in kinds["triggered"] if r["outcome"] == "flagged"]
        ),
        "with_modules": sum(r["modules"] > 1 for r in rows),
        "median_seconds": float(np.median(seconds)),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def scores(rows: Sequence[Row]) -> Row:
    """The shares over all rows, over data sets not designed on, and for each data set."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    per_data = [
        {"data": n, "designed_on": n in DESIGN, **summary_of([r for r in rows if r["data"] == n])}
        for n in names
    ]
    fresh = [row for row in rows if row["data"] in FRESH]
    whole = {"not_designed_on": summary_of(fresh) if fresh else None, "per_data": per_data}
    return summary_of(rows) | whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--design", action="store_true", help="only the design sets and seeds")
    parser.add_argument("--data", nargs="*", help="only these data sets")
    parser.add_argument("--seeds", type=int, default=2, help="seeds per data set")
    parser.add_argument("--first-seed", type=int, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    first = arguments.first_seed or (100 if arguments.design else 9000)
    names = arguments.data or (DESIGN if arguments.design else DESIGN + FRESH)
    rows = read_rows(arguments.json)
    for name in names:
        if any(row["data"] == name and row["seed"] == first for row in rows):
            continue
        data = data_named(name)
        for seed in range(first, first + 50 * arguments.seeds, 50):
            for l1 in (0.0, L1):
                for made in networks(data, l1, seed):
                    rows.append(row_of(data, made, l1, seed))
                    print(told(rows[-1]), flush=True)
        write_record(arguments.json, rows, **({} if is_kept(arguments.json) else scores(rows)))


if __name__ == "__main__":
    main()
