"""What a report shows; anything left out leaves its section out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from partwise.audit import AuditReport
from partwise.explain import Explained
from partwise.graph import UnitGraph, UnitMap, unit_map
from partwise.modules import Hierarchy


@dataclass(frozen=True, eq=False)
class WeightPicture:
    """One weight matrix, and the modules of its rows and columns.

    Attributes:
        name: the parameter's name.
        matrix: (r, c) signed weights (kernels summed in absolute value).
        row_modules: (r,) module of each row's unit.
        column_modules: (c,) module of each column's unit.
    """

    name: str
    matrix: NDArray[np.float64]
    row_modules: NDArray[np.int64]
    column_modules: NDArray[np.int64]


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


def weight_pictures(
    model: nn.Module, units: UnitMap, labels: NDArray[np.int64]
) -> list[WeightPicture]:
    """The signed weight matrices of a model, with the module of each row and column."""
    pictures = []
    for block in units.blocks:
        weight = block.tensor(model).detach().double()
        matrix = weight.abs().flatten(2).sum(2) if weight.dim() > 2 else weight
        if block.columns.shape[0] == 1:
            rows, columns = labels[block.rows.numpy()], labels[block.columns[0].numpy()]
            pictures.append(WeightPicture(block.key, matrix.numpy(), rows, columns))
    return pictures


def report_content(
    model: nn.Module,
    found: Hierarchy,
    *,
    title: str = "A network, taken apart",
    task: str = "",
    explained: Sequence[Explained] = (),
    verdict: AuditReport | None = None,
    units: UnitMap | None = None,
) -> ReportContent:
    """What a report can show of any model that `unit_map` can read.

    Args:
        model: the network.
        found: its modules, from `find_modules`.
        title: the report's headline.
        task: what the network does.
        explained: from `explain`.
        verdict: from `audit`.
        units: the model's unit map, where it was read already.
    """
    units = unit_map(model) if units is None else units
    return ReportContent(
        title=title,
        task=task,
        graph=units.graph(model),
        hierarchy=found,
        weights=weight_pictures(model, units, found.labels),
        explained=explained,
        audits={} if verdict is None else {title: verdict},
    )
