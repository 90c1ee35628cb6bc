"""Partwise: neural networks that come apart into modules you can read, in tested words.

Names are imported when they are first asked for, so that `import partwise` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "audit": ("audit",),
    "cuttree": ("CutTree", "cut_tree"),
    "explain": ("explain",),
    "graph": ("UnitGraph", "unit_graph", "unit_map", "units_of"),
    "loss": (
        "BudgetedPenalty",
        "CutTreePenalty",
        "CutTreeSchedule",
        "SharePenalty",
        "ShareSchedule",
        "l1_penalty",
    ),
    "modules": ("Hierarchy", "Partition", "find_modules"),
    "report": ("report_content", "write_report"),
    "runs": ("open_run",),
    "tasks": ("Text", "task_from_arrays", "task_named"),
}
_HOME = {name: f"partwise.{home}" for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """The package, whose names come when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'partwise' has no attribute {name!r}")
        value = getattr(import_module(_HOME[name]), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Keeps `audit` and `explain` the functions, whose modules have the same names."""
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*__all__, *(name for name in self.__dict__ if name.startswith("__"))})


sys.modules[__name__].__class__ = _Package
