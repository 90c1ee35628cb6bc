# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""The cut tree of one graph after another: grow a core, split where a flow falls short."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.cuttree.flow import (
    SIDE,
    WAITING,
    is_certified,
    join_core,
    local_flow,
    next_waiting,
    reaches_through_windows,
    settle,
)
from partwise.cuttree.split import (
    DEPTH,
    LEAVING,
    count_arcs_of_side,
    pivot_of_side,
    shrink_side,
    store_side,
    take_graph,
    with_free_arcs,
)


class Units(NamedTuple):
    """What is known of every unit, and what the construction finds out; all (n,) int64.

    Attributes:
        degree: capacity of all its edges.
        rest: what rounding cut off of the degree, in the second limb.
        order: units in descending order of degree, ties by id.
        rank: place in `order`.
        vertex: its vertex in the graph at hand (scratch).
        flow: value of the tree edge the unit stands for; every unit but the first stands for
            one.
        ends: (n, 2) the two ends of that tree edge.
    """

    degree: NDArray[np.int64]
    rest: NDArray[np.int64]
    order: NDArray[np.int64]
    rank: NDArray[np.int64]
    vertex: NDArray[np.int64]
    flow: NDArray[np.int64]
    ends: NDArray[np.int64]


@compiled()
def units_of(degree, rest):
    """Units in descending order of `degree`, nothing found out yet."""
    n = len(degree)
    order = np.argsort(-degree, kind="mergesort")
    rank = np.empty(n, np.int64)
    for i in range(n):
        rank[order[i]] = i
    return Units(
        degree,
        rest,
        order,
        rank,
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros((n, 2), np.int64),
    )


@compiled()
def _vertices_in_order(marks, n, units):
    """Vertices that are units, in descending order of degree."""
    ranks = np.empty(n, np.int64)
    count = 0
    for u in range(n):
        unit = marks.name[u]
        if unit >= 0:
            ranks[count] = units.rank[unit]
            units.vertex[unit] = u
            count += 1
    ranks = ranks[:count]
    ranks.sort()
    for i in range(count):
        ranks[i] = units.vertex[units.order[ranks[i]]]
    return ranks


@compiled()
def _attach(units, unit, pivot):
    units.flow[unit] = units.degree[unit]
    units.ends[unit, 0] = unit
    units.ends[unit, 1] = pivot


@compiled()
def _advance(first, last, head, room, core_weight, height, dead, vertices, i):
    """Let `vertices[i:]` join the core up to the first whose certificate fails."""
    while i < len(vertices):
        v = vertices[i]
        if not dead[v]:
            if not is_certified(first, last, head, room, core_weight, v):
                break
            join_core(first, last, head, room, core_weight, height, v)
        i += 1
    return i


@compiled()
def _admit_waiting(arcs, marks, least):
    """Let vertices that stand for several units join the core if their bound is `least` or more.

    Returns whether any did.
    """
    before = marks.tally[WAITING]
    while marks.tally[WAITING] > 0 and marks.bound[marks.waiting[0]] >= least:
        u = next_waiting(marks)
        if not marks.dead[u]:
            join_core(
                arcs.first, arcs.last, arcs.head, arcs.room, marks.core_weight, marks.height, u
            )
    return marks.tally[WAITING] < before


@compiled()
def _split(arcs, marks, shelf, units, n, used, value):
    """Store the side the last flow found, shrink it to vertex `n`."""
    for i in range(marks.tally[SIDE]):
        marks.dead[marks.side[i]] = LEAVING
        marks.new_id[marks.side[i]] = i
    inside, leaving, border = count_arcs_of_side(arcs, marks)
    edge = pivot_of_side(marks, units.rank)
    units.flow[edge] = value
    arcs, used = with_free_arcs(arcs, marks, n, used, min(leaving, n))
    shelf = store_side(arcs, marks, shelf, 2 * edge, value, inside, border)
    used = shrink_side(arcs, marks, n, used, 2 * edge + 1, value)
    return arcs, shelf, used


@compiled()
def _trapped(arcs, marks, v, n):
    """Capacity of `v` that cannot reach the core; the graph is left at rest."""
    reaches = reaches_through_windows(arcs, marks, v, n)
    settle(arcs, marks, n)
    if reaches:
        return 0
    trapped = local_flow(arcs, marks, v, n)
    settle(arcs, marks, n)
    return trapped


@compiled()
def grow_core(arcs, marks, shelf, units, vertices, i, n, used, is_lent):
    """Attach or split off `vertices[i:]`; with `i == 0` the core is begun.

    Stops early where a flow is needed and `arcs.back` is empty, and where the arcs must change
    and are lent. Returns arcs, shelf, the place reached in `vertices`, vertices and arcs in use.
    """
    pivot = marks.name[vertices[0]]
    while True:
        first, last, head, room, back = arcs
        core_weight, height, dead = marks.core_weight, marks.height, marks.dead
        if i == 0:
            join_core(first, last, head, room, core_weight, height, vertices[0])
            i = 1
        begin = i
        i = _advance(first, last, head, room, core_weight, height, dead, vertices, i)
        for k in range(begin, i):
            if not dead[vertices[k]]:
                _attach(units, marks.name[vertices[k]], pivot)
        if i == len(vertices) or len(back) == 0:
            break
        v = vertices[i]
        degree = units.degree[marks.name[v]]
        if _admit_waiting(arcs, marks, degree):
            continue
        trapped = _trapped(arcs, marks, v, n)
        if trapped > 0 and is_lent:
            break
        i += 1
        if trapped == 0:
            _attach(units, marks.name[v], pivot)
            join_core(first, last, head, room, core_weight, height, v)
        else:
            value = degree - trapped
            arcs, shelf, used = _split(arcs, marks, shelf, units, n, used, value)
            n += 1
    return arcs, shelf, i, n, used


@compiled()
def finish_graph(marks, units, pivot, n):
    """Tie the tree edges whose ends lie in this graph to its pivot; clear the marks."""
    ends = units.ends
    for u in range(n):
        name = marks.name[u]
        if name < 0 and not marks.dead[u]:
            ends[~name >> 1, ~name & 1] = pivot
        marks.core_weight[u] = 0
        marks.height[u] = 1
        marks.dead[u] = 0
    marks.tally[WAITING] = 0


@compiled()
def solve_shelf(arcs, marks, shelf, units):
    """Solve all graphs on the shelf, and those split off from them."""
    while shelf.top[DEPTH] > 0:
        arcs, n, used = take_graph(arcs, marks, shelf)
        vertices = _vertices_in_order(marks, n, units)
        pivot = marks.name[vertices[0]]
        arcs, shelf, _, n, _ = grow_core(arcs, marks, shelf, units, vertices, 0, n, used, False)
        finish_graph(marks, units, pivot, n)
