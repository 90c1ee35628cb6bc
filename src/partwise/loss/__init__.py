"""Loss terms that make a network modular."""

from partwise.loss.budget import BudgetedPenalty, BudgetSchedule
from partwise.loss.penalty import CutTreePenalty, CutTreeSchedule
from partwise.loss.sparsity import l1_penalty

__all__ = [
    "BudgetSchedule",
    "BudgetedPenalty",
    "CutTreePenalty",
    "CutTreeSchedule",
    "l1_penalty",
]
