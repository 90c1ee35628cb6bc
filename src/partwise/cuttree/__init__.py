"""Exact Gomory-Hu cut trees: build, refresh, ask, verify."""

from partwise.cuttree.build import cut_tree
from partwise.cuttree.certificate import certified_units, whole_capacities
from partwise.cuttree.convert import from_igraph, from_networkx, to_igraph, to_networkx
from partwise.cuttree.queries import (
    bottlenecks,
    pairs_decided,
    pairs_separated,
    path_sums,
    single_linkage,
)
from partwise.cuttree.refresh import refresh_cut_tree
from partwise.cuttree.sparsify import BoundedCutTree, sparsified_cut_tree
from partwise.cuttree.tree import CutTree
from partwise.cuttree.verify import Verification, verify_cut_tree

__all__ = [
    "BoundedCutTree",
    "CutTree",
    "Verification",
    "bottlenecks",
    "certified_units",
    "cut_tree",
    "from_igraph",
    "from_networkx",
    "pairs_decided",
    "pairs_separated",
    "path_sums",
    "refresh_cut_tree",
    "single_linkage",
    "sparsified_cut_tree",
    "to_igraph",
    "to_networkx",
    "verify_cut_tree",
    "whole_capacities",
]
