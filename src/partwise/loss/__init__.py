"""Loss terms that make a network modular."""

from partwise.loss.budget import BudgetedPenalty, BudgetSchedule
from partwise.loss.cut_tree import CutTreePenalty, CutTreeSchedule
from partwise.loss.penalty import Penalty
from partwise.loss.share_schedule import ShareSchedule
from partwise.loss.shares import SharePenalty
from partwise.loss.sparsity import l1_penalty

__all__ = [
    "BudgetSchedule",
    "BudgetedPenalty",
    "CutTreePenalty",
    "CutTreeSchedule",
    "Penalty",
    "SharePenalty",
    "ShareSchedule",
    "l1_penalty",
]
