"""Modules: a cut tree's hierarchy, the partition chosen from it, and how it scores."""

from partwise.modules.hierarchy import (
    Hierarchy,
    Method,
    find_modules,
    given_modules,
    search_modules,
)
from partwise.modules.nest import module_masses, newman_q
from partwise.modules.partition import Partition
from partwise.modules.significance import Significance

__all__ = [
    "Hierarchy",
    "Method",
    "Partition",
    "Significance",
    "find_modules",
    "given_modules",
    "module_masses",
    "newman_q",
    "search_modules",
]
