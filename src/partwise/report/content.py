"""What a report shows; anything left out leaves its section out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.audit import AuditReport
from partwise.explain import Explained, subject_of
from partwise.explain.explain import MOST_EDGES
from partwise.graph import UnitGraph, UnitMap, unit_map
from partwise.graph.activity import share_graph, share_matrices
from partwise.graph.transformer import transformer_map
from partwise.graph.unit_map import WeightBlock
from partwise.modules import Hierarchy
from partwise.report.words import listed
from partwise.tasks import Data, Text


@dataclass(frozen=True, eq=False)
class WeightPicture:
    """One weight matrix, and the modules of its rows and columns.

    Attributes:
        name: the parameter's name.
        matrix: (r, c) signed weights (kernels summed in absolute value); a row is a unit that
            reads, a column one that is read.
        row_modules: (r,) module of each row's unit.
        column_modules: (c,) module of each column's unit.
        masses: (k, k) share of the matrix's capacity that row modules read of column modules;
            that of the absolute weights where it is left out.
    """

    name: str
    matrix: NDArray[np.floating]
    row_modules: NDArray[np.int64]
    column_modules: NDArray[np.int64]
    masses: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything `write_report` needs.

    Attributes:
        title: headline, for example `"digits-pair, seed 0"`.
        task: name of the task.
        graph: the network's unit graph.
        hierarchy: its modules.
        weights: its weight matrices.
        explained: descriptions with verdicts.
        audits: audit reports by the audited network's name, the subject of the report first.
        histories: training curves (rows of `metrics.jsonl`) by the run's name.
        summary: `summary.json`, if the report belongs to a demo.
        facts: further rows for the colophon: name -> value (seed, versions, commit).
        vocabulary: of a language model, the text of every token, as people write it; may be
            left out.
    """

    title: str
    task: str
    graph: UnitGraph
    hierarchy: Hierarchy
    weights: Sequence[WeightPicture] = ()
    explained: Sequence[Explained] = ()
    audits: Mapping[str, AuditReport] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Sequence[str] = ()

    @property
    def of_text(self) -> bool:
        """Whether the network is a language model."""
        return any(group.kind == "token" for group in self.graph.groups)


def weight_pictures(
    model: nn.Module,
    units: UnitMap,
    labels: NDArray[np.int64],
    capacities: Iterator[Tensor] | None = None,
) -> list[WeightPicture]:
    """The signed weight matrices of a model, with the module of each row and column.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        capacities: per block (receivers, senders) capacities; absolute weights if left out.
    """
    pictures = []
    for block in units.blocks:
        capacity = None if capacities is None else next(capacities)
        if block.columns.shape[0] == 1:
            pictures.append(_picture(model, block, labels, capacity))
    return pictures


def _picture(
    model: nn.Module, block: WeightBlock, labels: NDArray[np.int64], capacity: Tensor | None
) -> WeightPicture:
    weight = block.tensor(model).detach().float().cpu()
    matrix = weight.abs().flatten(2).sum(2) if weight.dim() > 2 else weight
    matrix = matrix.T if block.transposed else matrix
    rows, columns = labels[block.receivers.numpy()], labels[block.senders.numpy()]
    masses = None
    if capacity is not None:
        masses = module_shares(capacity.cpu().numpy(), rows, columns, int(labels.max()) + 1)
    name = f"{block.parameter}, as {block.applied_by}" if block.applied_by else block.key
    return WeightPicture(name, matrix.numpy(), rows, columns, masses)


def module_shares(
    capacity: NDArray[np.floating],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    modules: int,
) -> NDArray[np.float64]:
    """(modules, modules) share of a matrix's capacity that row modules read of column modules."""
    of_rows, of_columns = (np.eye(modules)[labels] for labels in (rows, columns))
    mass = of_rows.T @ (capacity @ of_columns)
    shares: NDArray[np.float64] = mass / (mass.sum() or 1.0)
    return shares


def report_content(
    model: nn.Module,
    found: Hierarchy,
    *,
    title: str = "A network, taken apart",
    task: str = "",
    explained: Sequence[Explained] = (),
    verdict: AuditReport | None = None,
    units: UnitMap | None = None,
    data: Data | None = None,
) -> ReportContent:
    """What a report can show of any model that `unit_map` or `transformer_map` can read.

    Args:
        model: the network.
        found: its modules, from `find_modules`.
        title: the report's headline.
        task: what the network does.
        explained: from `explain`.
        verdict: from `audit`.
        units: the model's unit map, where it was read already.
        data: the `Text` that a language model was explained on: its capacities are shares of what
            units read there, as in `explain`, and its tokens get names. Where it is left out,
            every input counts as large as every other.
    """
    if units is None:
        units = transformer_map(model) if isinstance(data, Text) else unit_map(model)
    graph, capacities = _capacities(model, found, units, data)
    return ReportContent(
        title=title,
        task=task or _task_words(data),
        graph=graph,
        hierarchy=found,
        weights=weight_pictures(model, units, found.labels, capacities),
        explained=explained,
        audits={} if verdict is None else {title: verdict},
        vocabulary=data.vocabulary if isinstance(data, Text) else (),
    )


def _task_words(data: Data | None) -> str:
    if isinstance(data, Text):
        return f"next tokens of {listed(data.streams)}"
    return "" if data is None else data.name


@torch.no_grad()
def _capacities(
    model: nn.Module, found: Hierarchy, units: UnitMap, data: Data | None
) -> tuple[UnitGraph, Iterator[Tensor] | None]:
    """A network's graph, and the capacities of its blocks where they are not its weights."""
    if isinstance(data, Text):
        subject = subject_of(model, found.labels, data, units=units)
        return subject.graph, (shares for _, shares in subject.capacities())
    if any(group.kind == "token" for group in units.groups):
        return share_graph(model, units, None, MOST_EDGES), share_matrices(model, units, None)
    return units.graph(model), None
