"""Partwise: neural networks that come apart into modules you can read, in tested words."""

from partwise.audit import audit
from partwise.cuttree import CutTree, cut_tree
from partwise.explain import explain
from partwise.graph import UnitGraph, unit_graph, unit_map
from partwise.loss import BudgetedPenalty, CutTreePenalty, CutTreeSchedule, l1_penalty
from partwise.modules import Hierarchy, Partition, find_modules
from partwise.report import report_content, write_report
from partwise.tasks import task_from_arrays, task_named

__all__ = [
    "BudgetedPenalty",
    "CutTree",
    "CutTreePenalty",
    "CutTreeSchedule",
    "Hierarchy",
    "Partition",
    "UnitGraph",
    "audit",
    "cut_tree",
    "explain",
    "find_modules",
    "l1_penalty",
    "report_content",
    "task_from_arrays",
    "task_named",
    "unit_graph",
    "unit_map",
    "write_report",
]
