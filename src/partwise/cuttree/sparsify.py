"""Cut trees without the lightest edges, with a bound on what that can cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.arcs import edges_of
from partwise.cuttree.build import cut_tree
from partwise.cuttree.tree import CutTree
from partwise.cuttree.values import resummed
from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph


@dataclass(frozen=True, eq=False)
class BoundedCutTree:
    """A cut tree whose cuts are minimal up to a known error.

    Attributes:
        tree: its values are the full capacities of its cuts, light edges included.
        error: (n,) for every unit's tree edge, the most by which `value` can exceed the true
            minimum cut between the edge's ends; 0 at the root. Where it is 0 the cut is minimal.
        dropped: number of edges left out.
    """

    tree: CutTree
    error: NDArray[np.float64]
    dropped: int

    @property
    def is_exact(self) -> bool:
        """Whether every cut is proved minimal."""
        return not self.error.any()


def sparsified_cut_tree(graph: UnitGraph, threshold: float) -> BoundedCutTree:
    """Cut tree found without the edges whose capacity is below `threshold`.

    Leaving edges out lowers every cut, by what it loses across; so between a tree edge's ends
    `value - error <= minimum cut <= value`, with `error` the dropped capacity across the edge.

    Args:
        graph: units and capacities; inflated ones have many edges that hardly count.
        threshold: in the unit of the capacities, at least 0 (0 drops nothing).

    Raises:
        GraphError: if `threshold` is negative or not finite, or as `cut_tree`.
    """
    if not (np.isfinite(threshold) and threshold >= 0):
        raise GraphError(f"a threshold is finite and at least 0, got {threshold}")
    light = graph.capacities < threshold
    tree = cut_tree(_part(graph, ~light))
    error = resummed(edges_of(_part(graph, light)), tree.parent, tree.order)
    error[tree.root] = 0
    return BoundedCutTree(
        CutTree(tree.parent, tree.value + error, tree.order), error, int(light.sum())
    )


def _part(graph: UnitGraph, kept: NDArray[np.bool_]) -> UnitGraph:
    return UnitGraph(
        graph.n, graph.sources[kept], graph.targets[kept], graph.capacities[kept], graph.groups
    )
