"""Modules: a cut tree's hierarchy, the partition chosen from it, and how it scores."""

from partwise.modules.hierarchy import (
    Hierarchy,
    Significance,
    find_modules,
    given_modules,
    search_modules,
)
from partwise.modules.splitting import module_masses, newman_q

__all__ = [
    "Hierarchy",
    "Significance",
    "find_modules",
    "given_modules",
    "module_masses",
    "newman_q",
    "search_modules",
]
