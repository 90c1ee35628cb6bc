"""Explaining a network: evidence, words, and the test of every word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.explain.evidence import interface_evidence, module_evidence
from partwise.explain.scoring import EndpointJudge, scored
from partwise.explain.subject import Subject
from partwise.explain.values import Description, Evidence, Explained, Failed
from partwise.explain.verification import verify_claims
from partwise.explain.writers.built_in import ProgramWriter
from partwise.graph import UnitMap, unit_map
from partwise.graph.activity import evaluating, in_single_precision, scales_on, share_graph
from partwise.graph.transformer import transformer_map
from partwise.interventions.lesions import separate_uses, uses_are_apart
from partwise.modules import Partition
from partwise.tasks import Data, Text

ROWS = 1000
"""Rows per split of a task."""
MOST_TOKENS, LEAST_DOCUMENTS = 8192, 24
COST = 1.5e11
"""Parameters times tokens in one pass over a split, beyond which fewer tokens are taken."""
MOST_EDGES = 2**22
"""Graphs of larger language models are sampled to about as many edges."""


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


@runtime_checkable
class WholeWriter(Writer, Protocol):
    """A writer that chooses itself in which order it describes the parts of a network."""

    def write_subject(
        self,
        subject: Subject,
        parts: ArrayLike | None = None,
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[tuple[Evidence, Description | Failed]]:
        """Describes every module, then every interface; `parts` are finer labels."""
        ...


def subject_of(
    model: nn.Module,
    partition: Partition | ArrayLike,
    data: Data,
    units: UnitMap | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Subject:
    """A network, taken apart by a partition, ready to be explained or audited.

    Args:
        model: the network.
        partition: its modules, or (n,) the module of each unit.
        data: a task, or text.
        units: the model's unit map, where it was read already.
        samples: at most this many rows per split, or about as many tokens.
        seed: seed of the rows.

    Raises:
        DataError: if the partition or the data do not fit the network.
    """
    if isinstance(data, Text):
        return _text_subject(model, partition, data, units, samples, seed)
    x = data.rows("claims", 2, seed).x
    if units is None:
        units = _units_on(model, x)
    part = Partition.of(partition, units.n)
    model = in_single_precision(model)
    if not uses_are_apart(units):
        model, units = separate_uses(model, units, x)
    graph = units.graph(model)
    return Subject(model, units, graph, part, data, ROWS if samples is None else samples, seed)


def _text_subject(
    model: nn.Module,
    partition: Partition | ArrayLike,
    text: Text,
    units: UnitMap | None,
    samples: int | None,
    seed: int,
) -> Subject:
    units = transformer_map(model) if units is None else units
    part = Partition.of(partition, units.n)
    model = in_single_precision(model)
    tokens = _affordable(model, text.context) if samples is None else samples
    text.refuse_other_tokens(len(units.units_of_kind("token")))
    ids = text.rows("train", tokens, (seed, 77)).x
    graph = share_graph(model, units, scales_on(model, units, ids), MOST_EDGES)
    return Subject(model, units, graph, part, text, tokens, seed)


def _affordable(model: nn.Module, context: int) -> int:
    """Tokens per split: fewer for large models, at least as many as make some documents."""
    size = sum(parameter.numel() for parameter in model.parameters())
    return int(np.clip(COST / max(size, 1), LEAST_DOCUMENTS * context, MOST_TOKENS))


def _units_on(model: nn.Module, x: Tensor) -> UnitMap:
    """A network's units, read on samples; a network that takes no such ones says so later."""
    try:
        return unit_map(model, x)
    except UnreadableModelError:
        return unit_map(model)


def explain(
    model: nn.Module,
    partition: Partition | ArrayLike,
    data: Data,
    writer: Writer | None = None,
    *,
    units: UnitMap | None = None,
    samples: int | None = None,
    seed: int = 0,
    parts: ArrayLike | None = None,
    judge: EndpointJudge | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[Explained]:
    """Describes every module and interface of a network, and tests what was said.

    Args:
        model: the network.
        partition: its modules, from `find_modules`, or (n,) the module of each unit.
        data: where its samples come from: `train` for evidence, `claims` for the tests. A task,
            or `Text` for a language model.
        writer: who describes; the built-in one when left out.
        units: the model's unit map, where it was read already.
        samples: at most this many rows per split, or about as many tokens; each of them once.
        seed: seed of the rows.
        parts: (n,) finer labels, from which language models describe large modules.
        judge: a language model that scores the words, on samples that nothing else saw.
        on_step: told after each subject how many are done, of how many.

    Returns:
        Modules first, then interfaces between modules that share an edge.

    Raises:
        DataError: if the partition or the data do not fit the network.
        UnreadableModelError: if the model cannot be read.
    """
    writer = ProgramWriter() if writer is None else writer
    with evaluating(model):
        subject = subject_of(model, partition, data, units, samples, seed)
        return explain_subject(subject, writer, on_step, parts, judge)


def explain_subject(
    subject: Subject,
    writer: Writer,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    parts: ArrayLike | None = None,
    judge: EndpointJudge | None = None,
) -> list[Explained]:
    """`explain` for a subject that was taken apart already."""
    if isinstance(writer, WholeWriter):
        whole = writer.write_subject(subject, parts, on_step)
        return scored(subject, _verified(subject, whole, writer.name), judge)
    pairs, described = subject.interfaces, list[tuple[Evidence, Description | Failed]]()
    total = subject.modules + len(pairs)
    for evidence in _evidence(subject, pairs):
        known = [words for _, words in described if isinstance(words, Description)]
        described.append((evidence, writer.write(evidence, known)))
        on_step(len(described), total)
    return scored(subject, _verified(subject, described, writer.name), judge)


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
