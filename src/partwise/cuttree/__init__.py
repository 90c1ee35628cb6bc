"""Exact Gomory-Hu cut trees."""

from partwise.cuttree.build import cut_tree
from partwise.cuttree.tree import CutTree

__all__ = ["CutTree", "cut_tree"]
