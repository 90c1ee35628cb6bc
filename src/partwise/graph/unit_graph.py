"""The unit graph: what a network is, seen as capacities between units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partwise.errors import GraphError

MAX_UNITS = 2**31 - 1


@dataclass(frozen=True)
class UnitGroup:
    """A run of consecutive units that belong together, such as one layer.

    Attributes:
        name: what the network calls it, for example `"0"` or `"encoder.fc1"`.
        kind: `"input"`, `"hidden"`, `"output"`, or another of the design's unit kinds.
        start: first unit id.
        stop: one past the last unit id.
    """

    name: str
    kind: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class UnitGraph:
    """Undirected graph of units with non-negative capacities.

    Every edge is stored once, with `sources < targets`; there are no self loops and no
    parallel edges.

    Attributes:
        n: number of units.
        sources: (m,) int32, the lower unit id of every edge.
        targets: (m,) int32, the higher unit id of every edge.
        capacities: (m,) float, finite and non-negative, in the unit the builder chose
            (absolute weight by default).
        groups: the layers, in unit order; together they cover `range(n)`.
    """

    n: int
    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    capacities: NDArray[np.floating]
    groups: tuple[UnitGroup, ...]

    @property
    def m(self) -> int:
        """Number of edges."""
        return len(self.capacities)

    @classmethod
    def from_edges(
        cls,
        n: int,
        sources: ArrayLike,
        targets: ArrayLike,
        capacities: ArrayLike,
        groups: Sequence[UnitGroup] = (),
    ) -> UnitGraph:
        """Graph over `n` units from parallel lists of edges, in any order and direction.

        Parallel edges (also `(u, v)` beside `(v, u)`) are added up.

        Args:
            n: number of units, at least 1.
            sources, targets: (m,) unit ids in `[0, n)`.
            capacities: (m,) finite, non-negative.
            groups: layers that cover `range(n)`; one hidden group when left out.

        Raises:
            GraphError: for an empty graph, ids out of range, self loops, lengths that
                differ, or capacities that are negative, NaN or infinite.

        >>> UnitGraph.from_edges(3, [0, 2, 1], [1, 1, 0], [1.0, 2.0, 4.0]).capacities.tolist()
        [5.0, 2.0]
        """
        if not 1 <= n <= MAX_UNITS:
            raise GraphError(f"a graph needs 1 to {MAX_UNITS} units, got n={n}")
        u, v = _unit_ids(n, sources, "sources"), _unit_ids(n, targets, "targets")
        c = checked_capacities(capacities)
        if not len(u) == len(v) == len(c):
            raise GraphError(
                f"sources, targets and capacities differ in length: {len(u)}, {len(v)}, {len(c)}"
            )
        loops = np.flatnonzero(u == v)
        if len(loops):
            raise GraphError(
                f"edge {loops[0]} joins unit {u[loops[0]]} to itself; drop self loops first"
            )
        u, v, c = _merge_parallel(n, np.minimum(u, v), np.maximum(u, v), c)
        return cls(n, u, v, c, _covering(n, groups))

    def with_capacities(self, capacities: NDArray[np.floating]) -> UnitGraph:
        """The same edges with other capacities, (m,), finite and non-negative.

        Raises:
            GraphError: if a capacity is negative, NaN or infinite, or their number differs.
        """
        c = checked_capacities(capacities)
        if len(c) != self.m:
            raise GraphError(f"the graph has {self.m} edges, got {len(c)} capacities")
        return UnitGraph(self.n, self.sources, self.targets, c, self.groups)

    def keeping(self, kept: NDArray[np.bool_]) -> UnitGraph:
        """The same edges, without capacity where `kept` (m,) is false."""
        return self.with_capacities(np.where(kept, self.capacities, 0.0))

    def inflated(self, p: float) -> UnitGraph:
        """Capacities raised to the power `p` after scaling the largest to 1.

        Inflation sharpens differences, as in Markov clustering (van Dongen, 2000); as `p`
        grows the cut tree tends to the maximum spanning tree.
        """
        if p == 1 or self.m == 0 or not (top := self.capacities.max()):
            return self
        return UnitGraph(
            self.n, self.sources, self.targets, (self.capacities / top) ** p, self.groups
        )

    def degrees(self) -> NDArray[np.float64]:
        """(n,) weighted degree: the capacity of all edges at each unit."""
        return self._degrees.copy()

    @cached_property
    def _degrees(self) -> NDArray[np.float64]:
        out = np.bincount(self.sources, self.capacities, self.n)
        into = np.bincount(self.targets, self.capacities, self.n)
        return (out + into).astype(np.float64)

    def group_of_unit(self) -> NDArray[np.int64]:
        """(n,) position in `groups` of each unit's group."""
        return np.repeat(np.arange(len(self.groups)), [len(group) for group in self.groups])


def checked_capacities(capacities: ArrayLike) -> NDArray[np.floating]:
    """`capacities` as a one-dimensional float array.

    Raises:
        GraphError: if one is negative, NaN or infinite, or they are no list of numbers.
    """
    c = np.asarray(capacities)
    if c.ndim != 1 or c.dtype.kind not in "fiub":
        raise GraphError(f"capacities must be a list of numbers, got {c.dtype} of shape {c.shape}")
    c = c if c.dtype.kind == "f" else c.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(c) & (c >= 0)))
    if len(bad):
        raise GraphError(
            f"capacity {c[bad[0]]} of edge {bad[0]} is not allowed; "
            "capacities are finite and at least 0 (take absolute values, repair NaN first)"
        )
    return c


def _unit_ids(n: int, ids: ArrayLike, name: str) -> NDArray[np.int32]:
    a = np.asarray(ids)
    if a.size == 0:
        return np.zeros(0, np.int32)
    if a.ndim != 1 or a.dtype.kind not in "iu":
        raise GraphError(f"{name} must be a list of integers, got {a.dtype} of shape {a.shape}")
    bad = np.flatnonzero((a < 0) | (a >= n))
    if len(bad):
        raise GraphError(f"{name}[{bad[0]}] is unit {a[bad[0]]}, but units run from 0 to {n - 1}")
    return a.astype(np.int32)


def _merge_parallel(
    n: int, u: NDArray[np.int32], v: NDArray[np.int32], c: NDArray[np.floating]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.floating]]:
    key = u.astype(np.int64) * n + v
    if np.all(key[1:] > key[:-1]):
        return u, v, c
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) > 0])
    return u[order][first], v[order][first], np.add.reduceat(c[order], first)


def _covering(n: int, groups: Sequence[UnitGroup]) -> tuple[UnitGroup, ...]:
    if not groups:
        return (UnitGroup("units", "hidden", 0, n),)
    stops = [0, *(group.stop for group in groups)]
    if stops[-1] != n or any(
        group.start != stop for group, stop in zip(groups, stops, strict=False)
    ):
        raise GraphError(f"groups must cover units 0 to {n - 1} in order without gaps")
    return tuple(groups)
