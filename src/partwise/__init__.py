"""Partwise: neural networks that come apart into modules you can read, in tested words."""

from partwise.audit import audit
from partwise.cuttree import CutTree, cut_tree
from partwise.explain import explain
from partwise.graph import UnitGraph, unit_graph, unit_map, units_of
from partwise.loss import (
    BudgetedPenalty,
    CutTreePenalty,
    CutTreeSchedule,
    SharePenalty,
    ShareSchedule,
    l1_penalty,
)
from partwise.modules import Hierarchy, Partition, find_modules
from partwise.report import report_content, write_report
from partwise.runs import open_run
from partwise.tasks import Text, task_from_arrays, task_named

__all__ = [
    "BudgetedPenalty",
    "CutTree",
    "CutTreePenalty",
    "CutTreeSchedule",
    "Hierarchy",
    "Partition",
    "SharePenalty",
    "ShareSchedule",
    "Text",
    "UnitGraph",
    "audit",
    "cut_tree",
    "explain",
    "find_modules",
    "l1_penalty",
    "open_run",
    "report_content",
    "task_from_arrays",
    "task_named",
    "unit_graph",
    "unit_map",
    "units_of",
    "write_report",
]
