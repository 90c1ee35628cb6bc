"""Loss terms that make a network modular."""

from partwise.loss.budget import BudgetedPenalty
from partwise.loss.budget_control import BudgetSchedule
from partwise.loss.control import CutTreeSchedule, ShareSchedule
from partwise.loss.cut_tree import CutTreePenalty
from partwise.loss.penalty import Penalty
from partwise.loss.press import l1_penalty
from partwise.loss.shares import SharePenalty

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
