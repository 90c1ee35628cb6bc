"""Explaining a network: evidence, words, and the test of every word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import DataError, UnreadableModelError
from partwise.explain.gather import interface_evidence, module_evidence
from partwise.explain.program_writer import ProgramWriter
from partwise.explain.subject import Subject
from partwise.explain.values import Description, Evidence, Explained, Failed
from partwise.explain.verification import verify_claims
from partwise.graph import UnitMap, unit_map
from partwise.graph.activity import evaluating, in_single_precision
from partwise.interventions.lesions import separate_uses, uses_are_apart
from partwise.tasks import Task


class Writer(Protocol):
    """Whatever turns evidence into a description."""

    @property
    def name(self) -> str:
        """How reports name the writer."""
        ...

    def write(
        self, evidence: Evidence, neighbours: Sequence[Description] = ()
    ) -> Description | Failed:
        """Describes a module or an interface; failures are values, never text."""
        ...


def subject_of(
    model: nn.Module,
    labels: NDArray[np.int64],
    task: Task,
    units: UnitMap | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Subject:
    """A network, taken apart by `labels`, ready to be explained or audited.

    Raises:
        DataError: if the labels or the task do not fit the network.
    """
    x = task.rows("claims", 2, seed).x
    if units is None:
        units = _units_on(model, x)
    if len(labels) != units.n:
        raise DataError(f"there are {len(labels)} labels for {units.n} units")
    model = in_single_precision(model)
    if not uses_are_apart(units):
        model, units = separate_uses(model, units, x)
    return Subject(model, units, units.graph(model), np.asarray(labels), task, samples, seed)


def _units_on(model: nn.Module, x: Tensor) -> UnitMap:
    """A network's units, read on samples; a network that takes no such ones says so later."""
    try:
        return unit_map(model, x)
    except UnreadableModelError:
        return unit_map(model)


def explain(
    model: nn.Module,
    labels: NDArray[np.int64],
    task: Task,
    writer: Writer | None = None,
    *,
    units: UnitMap | None = None,
    samples: int = 1000,
    seed: int = 0,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[Explained]:
    """Describes every module and interface of a network, and tests what was said.

    Args:
        model: the network.
        labels: (n,) module of each unit, from `find_modules`.
        task: where its samples come from: `train` for evidence, `claims` for the tests.
        writer: who describes; the built-in one when left out.
        units: the model's unit map, where it was read already.
        samples: at most this many rows per split, each of them once.
        seed: seed of the rows.
        on_step: told after each subject how many are done, of how many.

    Returns:
        Modules first, then interfaces between modules that share an edge.

    Raises:
        DataError: if the labels or the task do not fit the network.
        UnreadableModelError: if the model cannot be read.
    """
    writer = ProgramWriter() if writer is None else writer
    with evaluating(model):
        subject = subject_of(model, labels, task, units, samples, seed)
        return explain_subject(subject, writer, on_step)


def explain_subject(
    subject: Subject,
    writer: Writer,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[Explained]:
    """`explain` for a subject that was taken apart already."""
    pairs, described = subject.interfaces, list[tuple[Evidence, Description | Failed]]()
    total = subject.modules + len(pairs)
    for evidence in _evidence(subject, pairs):
        known = [words for _, words in described if isinstance(words, Description)]
        described.append((evidence, writer.write(evidence, known)))
        on_step(len(described), total)
    return _verified(subject, described, writer.name)


def _evidence(subject: Subject, pairs: Sequence[tuple[int, int]]) -> Iterator[Evidence]:
    yield from (module_evidence(subject, module) for module in range(subject.modules))
    yield from (interface_evidence(subject, pair) for pair in pairs)


def _verified(
    subject: Subject, described: Sequence[tuple[Evidence, Description | Failed]], writer: str
) -> list[Explained]:
    """Descriptions with the verdicts on their claims, which are all decided together."""
    claims = [
        (evidence, claim)
        for evidence, words in described
        if isinstance(words, Description)
        for claim in words.claims
    ]
    verdicts, explained = iter(verify_claims(subject, claims)), list[Explained]()
    for evidence, words in described:
        own = tuple(islice(verdicts, 0 if isinstance(words, Failed) else len(words.claims)))
        if isinstance(words, Description):
            words = words.model_copy(update={"claims": tuple(each.claim for each in own)})
        explained.append(
            Explained(
                subject=evidence.subject,
                evidence=evidence,
                description=words,
                verdicts=own,
                writer=writer,
            )
        )
    return explained


def count_verdicts(explained: Sequence[Explained]) -> dict[str, int]:
    """How many claims were supported, refuted, undecided, and how many descriptions failed."""
    outcomes = Counter(verdict.outcome for each in explained for verdict in each.verdicts)
    failed = sum(isinstance(each.description, Failed) for each in explained)
    return {
        "supported": outcomes["supported"],
        "refuted": outcomes["refuted"],
        "undecided": outcomes["undecided"],
        "failed": failed,
    }
