"""Do the intervals of claims hold? Draws from known populations, explained again and again.

    python -m benchmarks.coverage --json benchmarks/results/coverage.jsonl

A population is a table of 20,000 rows, with classes, values or pictures for answers. From each,
data of 40, 180 and 1,000 rows are drawn; a network trained on another draw is explained on them,
and every interval is compared with the same measure over the whole population. Claims are those
of the built-in writer and, so that every kind is met at every size, one of each kind with a bound
near what the measure comes to.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.records import rounded, write_result
from partwise.errors import DataWarning
from partwise.explain import Evidence, ProgramWriter, Subject, subject_of
from partwise.explain.claims import (
    ActivationClaim,
    Claim,
    EffectClaim,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
    ProgramClaim,
)
from partwise.explain.evidence import interface_evidence, module_evidence
from partwise.explain.measures import Measures
from partwise.explain.values import Verdict
from partwise.explain.verification import verify_claims
from partwise.tasks import Rows, Task, task_from_arrays

POPULATION = 20_000
SIZES = (40, 180, 1000)
KINDS = ("effect", "no_effect", "activation", "ignores", "interface", "program")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Rows to draw from.

    Attributes:
        name: as in the record.
        x, y: (rows, inputs) and (rows, heads).
        kind: of the answers.
    """

    name: str
    x: Array
    y: Array
    kind: Any

    def task(self, rows: NDArray[np.int64], seed: int) -> Task:
        """A task over some of the rows."""
        wide = {"classes": list(range(int(self.y.max()) + 1))} if self.kind == "classes" else {}
        return task_from_arrays(self.name, self.x[rows], self.y[rows], self.kind, seed=seed, **wide)


def populations() -> Iterator[Population]:
    """Two tables with classes (one lopsided), one with values, and noisy pictures of digits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(POPULATION, 8))
    halves = np.stack([x[:, 0] * x[:, 1] > 0, x[:, 4] + x[:, 5] > 0.3], 1).astype(float)
    yield Population("two questions", x, halves, "binary")
    skewed = rng.lognormal(size=(POPULATION, 8))
    rare = (skewed[:, 0] + skewed[:, 1] > 6) + (skewed[:, 4] > 4)
    yield Population("rare classes", np.log(skewed) * 1.5, rare.astype(float)[:, None], "classes")
    value = np.stack([np.sin(2 * x[:, 0]) + x[:, 1], np.abs(x[:, 4]) ** 1.5], 1)
    yield Population("values", x, value + 0.2 * rng.normal(size=value.shape), "value")
    yield _pictures(rng)


def _pictures(rng: np.random.Generator) -> Population:
    from sklearn.datasets import load_digits

    images, labels = load_digits(n_class=4, return_X_y=True)
    chosen = rng.integers(0, len(images), POPULATION)
    x = images[chosen] / 16 + 0.25 * rng.normal(size=(POPULATION, 64))
    return Population("pictures", x, labels[chosen].astype(float)[:, None], "classes")


def trained(task: Task, labels: NDArray[np.int64], steps: int, seed: int) -> nn.Sequential:
    """A small network, half of whose weights between modules are taken out, so that there is an
    interface; some are left half-trained, so that claims are true, false and in between.
    """
    torch.manual_seed(seed)
    wide, outputs = len(task.inputs), len(task.outputs)
    model = nn.Sequential(
        nn.Linear(wide, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, outputs)
    )
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        x, y = task.batch("train", 64, (seed, step))
        loss = task.losses(model(x), y).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    starts = np.cumsum([0, wide, 16, 12, outputs])
    with torch.no_grad():
        for k, layer in enumerate((model[0], model[2], model[4])):
            rows, columns = labels[starts[k + 1] : starts[k + 2]], labels[starts[k] : starts[k + 1]]
            layer.weight[torch.as_tensor(rows[:, None] != columns)] *= 0.5
    return model


def halves_of(task: Task) -> NDArray[np.int64]:
    """(n,) labels: the first half of every layer, and the second."""
    layers = (len(task.inputs), 16, 12, len(task.outputs))
    return np.concatenate([np.arange(size) * 2 // size for size in layers])


def one_of_each(subject: Subject, rng: np.random.Generator) -> list[tuple[Evidence, Claim]]:
    """A claim of each kind, with a bound at, below or above what the evidence shows."""
    module, other = module_evidence(subject, 0), interface_evidence(subject, (0, 1))
    head = int(rng.integers(len(subject.task.heads)))
    factor = float(rng.choice([0.3, 0.7, 1.0, 1.4, 3.0]))
    effect = max(abs(module.effects[head].loss_after - module.effects[head].loss_before), 1e-3)
    cut = max(abs(other.effects[head].loss_after - other.effects[head].loss_before), 1e-3)
    profile = module.profiles[0]
    f1 = min(1.0, profile.f1 * factor)
    foreign = np.flatnonzero(subject.labels[: len(subject.task.inputs)] != 0)[:2]
    inputs = tuple(foreign.tolist())
    return [
        (module, EffectClaim(head=head, minimum=effect * factor)),
        (module, NoEffectClaim(head=head, maximum=effect * factor)),
        (module, IgnoresClaim(head=head, inputs=inputs, maximum=effect * factor)),
        (other, InterfaceClaim(head=head, relation="at most", amount=cut * factor)),
        (
            module,
            ActivationClaim(
                unit=profile.unit,
                threshold=profile.threshold,
                condition=profile.best_answer,
                minimum_f1=f1,
            ),
        ),
        (module, ProgramClaim(head=head, program="x0 > 0", agreement=0.5 * min(factor, 1.9))),
    ]


class Truth:
    """What each measure comes to over the whole population, with the subject's own lesions."""

    def __init__(self, subject: Subject, population: Population):
        x = torch.as_tensor(population.x, dtype=torch.float32)
        y = torch.as_tensor(population.y, dtype=torch.float32)
        rows = Rows(x, y, np.arange(len(x))[:, None])
        self.subject = subject_of(subject.model, subject.labels, subject.task, subject.units)
        self.subject.__dict__["lesions"] = subject.lesions
        self.subject.once(("rows", "final"), lambda: rows)

    def of(self, evidence: Evidence, claim: Claim) -> float:
        """The measure that a claim is about."""
        s, b = self.subject, self.subject.batch("final")
        before = s.losses("final")
        match claim:
            case EffectClaim(head=k) | NoEffectClaim(head=k):
                after = s.losses_without_module("final", evidence.modules[0])
            case IgnoresClaim(head=k, inputs=inputs):
                after = torch.stack(
                    [
                        s.losses_with_resampled(
                            "final", inputs, np.random.default_rng(i).permutation(len(b.x))
                        )
                        for i in range(4)
                    ]
                ).mean(0)
            case InterfaceClaim(head=k):
                pair = (evidence.modules[0], evidence.modules[1])
                after = s.losses_without_interface("final", pair)
            case _:
                return self._share(claim)
        change = float((after - before)[:, k].double().mean())
        return change if isinstance(claim, EffectClaim) else abs(change)

    def _share(self, claim: Claim) -> float:
        from partwise.programs.language import parse_program

        s, measures = self.subject, Measures(self.subject, "final")
        if isinstance(claim, ActivationClaim):
            holds = parse_program(claim.condition).evaluate(s.variables("final")) != 0
            active = measures.activations(claim.unit) > claim.threshold
            both = (active & holds).sum()
            return float(2 * both / (active.sum() + holds.sum()))
        assert isinstance(claim, ProgramClaim)
        given = parse_program(claim.program).evaluate(s.variables("final"))
        within = (
            0.1 * measures.spread(claim.head) if s.task.heads[claim.head].kind == "value" else 0.1
        )
        return float(((given - s.answers("final", claim.head)).abs() < within).double().mean())


def is_contradicted(verdict: Verdict, truth: float) -> bool:
    """Whether a verdict says other than the population does."""
    holds = truth >= verdict.bound if verdict.direction == "at least" else truth <= verdict.bound
    return verdict.outcome != "undecided" and (verdict.outcome == "supported") != holds


def one_draw(
    population: Population, size: int, seed: int
) -> Iterator[tuple[str, bool, bool, bool]]:
    """Per claim: its kind, whether its interval covers, whether it is decided, and wrongly."""
    rng = np.random.default_rng((seed, size))
    rows = rng.permutation(POPULATION)
    outside = population.task(rows[5000:7000], seed)
    labels = halves_of(outside)
    model = trained(outside, labels, int(rng.choice([50, 300, 800])), seed)
    subject = subject_of(model, labels, population.task(rows[:size], seed))
    claims = one_of_each(subject, rng)
    for evidence in (claims[0][0], module_evidence(subject, 1), claims[3][0]):
        claims += [(evidence, claim) for claim in ProgramWriter().write(evidence).claims]
    truth = Truth(subject, population)
    for (evidence, claim), verdict in zip(claims, verify_claims(subject, claims), strict=True):
        if not verdict.samples:
            continue  # it was not tested: there is no interval
        real = truth.of(evidence, claim)
        covers = verdict.low - 1e-9 <= real <= verdict.high + 1e-9
        yield claim.kind, covers, verdict.outcome != "undecided", is_contradicted(verdict, real)


def measured(draws: int, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """The record: coverage by kind, by rows and by population, and verdicts contradicted."""
    by_kind, by_rows, by_name = (defaultdict[Any, list[bool]](list) for _ in range(3))
    decided, contradicted, every, started = 0, 0, 0, time.perf_counter()
    found = list(populations())
    for draw in range(draws):
        population, size = found[draw % len(found)], SIZES[draw // len(found) % len(SIZES)]
        for kind, covers, is_decided, wrong in one_draw(population, size, seed + draw):
            by_kind[kind].append(covers)
            by_rows[size].append(covers)
            by_name[population.name].append(covers)
            decided, contradicted, every = decided + is_decided, contradicted + wrong, every + 1
        if draw % 20 == 19:
            tell(f"{draw + 1} of {draws} draws, {time.perf_counter() - started:.0f} s")
    return {
        "coverage": {kind: _share(by_kind[kind]) for kind in KINDS},
        "contradicted_frac": contradicted / max(decided, 1),
        "decided": decided,
        "claims": every,
        "draws": draws,
        "seed": seed,
        "coverage_by_rows": {str(size): _share(by_rows[size]) for size in SIZES},
        "coverage_by_population": {name: _share(own) for name, own in by_name.items()},
    }


def _share(values: list[bool]) -> float | None:
    return float(np.mean(values)) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draws", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1000)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DataWarning)
    record = rounded(
        measured(settings.draws, settings.seed, lambda words: print(words, flush=True))
    )
    for kind, share in record["coverage"].items():
        print(f"{kind:12} {share}")
    print(f"contradicted {record['contradicted_frac']} of {record['decided']} decided")
    if settings.json:
        write_result(settings.json, record)


if __name__ == "__main__":
    main()
