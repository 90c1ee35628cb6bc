"""The cut tree: every minimum cut of a graph in n - 1 numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.rooting import depths, entries, subtree_sizes


@dataclass(frozen=True, eq=False)
class CutTree:
    """Gomory-Hu cut tree of a unit graph, rooted.

    Removing the edge between `v` and `parent[v]` leaves two sides; they are a minimum cut
    between `v` and `parent[v]`, of capacity `value[v]`. The lightest edge on the path between
    any two units is a minimum cut between them (Gomory and Hu, 1961).

    Attributes:
        parent: (n,) int64, -1 at the root.
        value: (n,) float64, in the unit of the graph's capacities; inf at the root.
        order: (n,) int64, all units, parents before children; the root is first.
    """

    parent: NDArray[np.int64]
    value: NDArray[np.float64]
    order: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.parent)

    @property
    def root(self) -> int:
        """The unit without a parent."""
        return int(self.order[0])

    @cached_property
    def subtree_size(self) -> NDArray[np.int64]:
        """(n,) number of units on the side of every unit's edge that holds the unit."""
        return subtree_sizes(self.parent, self.order)

    @property
    def nontrivial_edges(self) -> int:
        """Number of tree edges with at least two units on both sides."""
        size = self.subtree_size
        return int(np.count_nonzero((size >= 2) & (size <= self.n - 2)))

    def min_cut(self, u: int, v: int) -> float:
        """Capacity of the cheapest cut that separates units `u` and `v`.

        On a cut tree this is the lightest edge on the path between them.

        Args:
            u, v: distinct unit ids in `[0, n)`.

        Returns:
            The cut's capacity, in the unit of the graph's capacities; 0 when disconnected.

        Raises:
            ValueError: if `u == v`, since no cut separates a unit from itself, or if an id
                is out of range.
        """
        return float(self.value[self.lightest_edge(u, v)])

    def lightest_edge(self, u: int, v: int) -> int:
        """The unit whose tree edge is the lightest on the path between `u` and `v`.

        Among equals the first found walking up from the deeper end is taken.

        Raises:
            ValueError: as `min_cut`.
        """
        u, v = self._unit(u), self._unit(v)
        if u == v:
            raise ValueError(f"no cut separates unit {u} from itself; give two distinct units")
        best, depth = -1, self._depth
        while u != v:
            if depth[u] < depth[v]:
                u, v = v, u
            if best < 0 or self.value[u] < self.value[best]:
                best = u
            u = int(self.parent[u])
        return best

    def side(self, v: int) -> NDArray[np.bool_]:
        """(n,) the side of `v`'s tree edge that holds `v`; all units for the root.

        Raises:
            ValueError: if `v` is out of range.
        """
        v = self._unit(v)
        entry = self._entry
        return (entry >= entry[v]) & (entry < entry[v] + self.subtree_size[v])

    @cached_property
    def _depth(self) -> NDArray[np.int64]:
        return depths(self.parent, self.order)

    @cached_property
    def _entry(self) -> NDArray[np.int64]:
        return entries(self.parent, self.order, self.subtree_size)

    def _unit(self, v: int) -> int:
        if not 0 <= v < self.n:
            raise ValueError(f"unit {v} is not in the tree; units run from 0 to {self.n - 1}")
        return int(v)
