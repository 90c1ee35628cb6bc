# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Edges to arcs: fixed-point capacities and the compressed rows the kernels walk.

Capacities become integers `hi` (a power of two times the capacity, rounded), so that flows
add up exactly; what rounding cuts off is kept in a second limb `lo`, so that a cut's float
value is the sum of its float capacities and not of their roundings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph

TOTAL_BITS = 60
MAX_EDGES = 2**31 - 1


class Scale(NamedTuple):
    """Binary exponents of the two limbs of a capacity.

    `capacity * 2**hi_bits` is rounded to the integer `hi`; the rest times `2**lo_bits` is
    rounded to the integer `lo`. All `hi` of a graph add up to less than `2**61`, and so do all
    `lo`.
    """

    hi_bits: int
    lo_bits: int

    def factors(self) -> tuple[float, float, float]:
        """Three floats: the product of the first two is `2**hi_bits`, the third `2**lo_bits`."""
        half = self.hi_bits // 2
        return 2.0**half, 2.0 ** (self.hi_bits - half), 2.0**self.lo_bits

    def to_float(self, hi: NDArray[np.int64], lo: NDArray[np.int64]) -> NDArray[np.float64]:
        """Capacities from their limbs."""
        half = self.hi_bits // 2
        fixed = hi.astype(np.float64) + lo.astype(np.float64) * 2.0**-self.lo_bits
        return np.asarray(fixed * 2.0**-half * 2.0 ** -(self.hi_bits - half))


class Arcs(NamedTuple):
    """Residual graph in compressed rows; every edge is two arcs.

    Attributes:
        first, last: (v,) int64, row of every vertex in the arc arrays.
        head: (a,) uint32, vertex an arc points to.
        room: (a,) int64, residual capacity; between flows it is the capacity.
        back: (a,) uint32, position of the opposite arc; empty until a flow needs it.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    head: NDArray[np.uint32]
    room: NDArray[np.int64]
    back: NDArray[np.uint32]


class Edges(NamedTuple):
    """A graph's edge arrays as read-only views, so that kernels see one array type."""

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    capacities: NDArray[np.floating]


def edges_of(graph: UnitGraph) -> Edges:
    """Edge arrays of `graph`, checked.

    Raises:
        GraphError: for more edges than arc positions can number, or a total that overflows.
    """
    if graph.m > MAX_EDGES:
        raise GraphError(
            f"{graph.m} edges are more than the {MAX_EDGES} a cut tree can take; "
            "drop light edges first (sparsified)"
        )
    capacities = graph.capacities
    if capacities.dtype not in (np.float32, np.float64):
        capacities = capacities.astype(np.float64)
    return Edges(frozen(graph.sources), frozen(graph.targets), frozen(capacities))


def scale_of(capacities: NDArray[np.floating]) -> Scale:
    """Scale under which the fixed-point capacities add up to less than `2**61`.

    Raises:
        GraphError: if the capacities add up to more than a float can hold, or are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(capacities.sum(dtype=np.float64))
    if not math.isfinite(total) or total < 0:
        raise GraphError(
            f"capacities add up to {total}; they must be finite, at least 0 and add up to less "
            "than 1.8e308 (divide them all by one number)"
        )
    exponent = math.frexp(total)[1]
    return Scale(TOTAL_BITS - exponent, TOTAL_BITS - len(capacities).bit_length())


def frozen(values: NDArray) -> NDArray:
    """A contiguous read-only view of `values`, so that kernels see one array type."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


@compiled()
def measure(n, sources, targets, capacities, f1, f2, f3):
    """Row starts (n + 1,), both limbs of the degrees (n,) and whether rounding cut nothing off.

    Edges whose `hi` is 0 get no arcs: no integer flow can use them.
    """
    start = np.zeros(n + 1, np.int64)
    degree, rest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    is_whole = True
    for e in range(len(capacities)):
        x = np.float64(capacities[e]) * f1 * f2
        rounded = np.rint(x)
        hi = np.int64(rounded)
        u, v = sources[e], targets[e]
        if x != rounded:
            lo = np.int64(np.rint((x - rounded) * f3))
            rest[u] += lo
            rest[v] += lo
            is_whole = False
        if hi > 0:
            start[u + 1] += 1
            start[v + 1] += 1
            degree[u] += hi
            degree[v] += hi
    for u in range(n):
        start[u + 1] += start[u]
    return start, degree, rest, is_whole


@compiled()
def fill(start, sources, targets, capacities, f1, f2, head, room):
    """Write the head and capacity of every arc, in edge order within each row."""
    at = start[:-1].copy()
    for e in range(len(capacities)):
        hi = np.int64(np.rint(np.float64(capacities[e]) * f1 * f2))
        if hi > 0:
            u, v = sources[e], targets[e]
            a, b = at[u], at[v]
            at[u] = a + 1
            at[v] = b + 1
            head[a] = v
            room[a] = hi
            head[b] = u
            room[b] = hi


@compiled()
def pair_up(start, sources, targets, capacities, f1, f2, back):
    """Write the position of every arc's opposite, by the same walk as `fill`."""
    at = start[:-1].copy()
    for e in range(len(capacities)):
        if np.int64(np.rint(np.float64(capacities[e]) * f1 * f2)) > 0:
            u, v = sources[e], targets[e]
            a, b = at[u], at[v]
            at[u] = a + 1
            at[v] = b + 1
            back[a] = b
            back[b] = a


@compiled()
def measure_all(n, sources, targets):
    """Row starts (n + 1,) when every edge gets arcs, even those without capacity."""
    start = np.zeros(n + 1, np.int64)
    for e in range(len(sources)):
        start[sources[e] + 1] += 1
        start[targets[e] + 1] += 1
    for u in range(n):
        start[u + 1] += start[u]
    return start


@compiled()
def pair_all(start, sources, targets, head, back, edge):
    """Write the head, the opposite and the edge of every arc, in edge order within each row."""
    at = start[:-1].copy()
    for e in range(len(sources)):
        u, v = sources[e], targets[e]
        a, b = at[u], at[v]
        at[u] = a + 1
        at[v] = b + 1
        head[a], back[a], edge[a] = v, b, e
        head[b], back[b], edge[b] = u, a, e


@compiled()
def refill(start, edge, capacities, f1, f2, f3, room):
    """Rewrite the capacities of `pair_all`'s arcs. Returns what `measure` does, but the rows."""
    n = len(start) - 1
    degree, rest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    is_whole = True
    for u in range(n):
        hi_sum, lo_sum = np.int64(0), np.int64(0)
        for a in range(start[u], start[u + 1]):
            x = np.float64(capacities[edge[a]]) * f1 * f2
            rounded = np.rint(x)
            room[a] = np.int64(rounded)
            hi_sum += room[a]
            if x != rounded:
                lo_sum += np.int64(np.rint((x - rounded) * f3))
                is_whole = False
        degree[u], rest[u] = hi_sum, lo_sum
    return degree, rest, is_whole
