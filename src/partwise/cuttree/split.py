# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Splitting a graph along a minimum cut: one side is stored away, in the other it shrinks.

The stored side keeps one vertex for the rest of the graph, the graph keeps one vertex for the
side (Gomory and Hu, 1961). A vertex's `name` is its unit id, or `~handle` when it stands for
several units; the handle belongs to the tree edge of the cut and says which end of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.cuttree.arcs import Arcs
from partwise.cuttree.flow import IN_CORE, SIDE, wait_for_core

ARC_TOP, VERTEX_TOP, DEPTH = 0, 1, 2
"""Slots of `Shelf.top`."""


ALIVE, GONE, LEAVING = np.uint8(0), np.uint8(1), np.uint8(2)
"""States of a vertex in `Marks.dead`."""


class Shelf(NamedTuple):
    """Stack of graphs still to be solved, end to end in shared arrays.

    Attributes:
        first, name, bound: (v,) row start (from the graph's own first arc), name and bound of
            every vertex, as in `Marks`.
        head, room, back: (a,) as in `Arcs`, counted from the graph's own first arc and vertex.
        begin: (d, 2) first arc and first vertex of every graph on the stack.
        top: arcs, vertices and graphs in use.
    """

    first: NDArray[np.int64]
    name: NDArray[np.int64]
    bound: NDArray[np.int64]
    head: NDArray[np.uint32]
    room: NDArray[np.int64]
    back: NDArray[np.uint32]
    begin: NDArray[np.int64]
    top: NDArray[np.int64]


@compiled()
def make_shelf():
    """An empty stack of graphs."""
    return Shelf(
        np.zeros(64, np.int64),
        np.zeros(64, np.int64),
        np.zeros(64, np.int64),
        np.zeros(256, np.uint32),
        np.zeros(256, np.int64),
        np.zeros(256, np.uint32),
        np.zeros((16, 2), np.int64),
        np.zeros(3, np.int64),
    )


@compiled()
def grown(values, used, need):
    """`values` with room for `need` entries, the first `used` kept."""
    if need <= len(values):
        return values
    wider = np.empty(need + need // 2, values.dtype)
    wider[:used] = values[:used]
    return wider


@compiled()
def _with_space(shelf, vertices, arcs):
    top = shelf.top
    a, v, depth = top[ARC_TOP], top[VERTEX_TOP], top[DEPTH]
    begin = shelf.begin
    if depth == len(begin):
        begin = np.zeros((2 * depth, 2), np.int64)
        begin[:depth] = shelf.begin
    return Shelf(
        grown(shelf.first, v, v + vertices),
        grown(shelf.name, v, v + vertices),
        grown(shelf.bound, v, v + vertices),
        grown(shelf.head, a, a + arcs),
        grown(shelf.room, a, a + arcs),
        grown(shelf.back, a, a + arcs),
        begin,
        top,
    )


@compiled()
def pivot_of_side(marks, rank):
    """The unit on `marks.side` that comes first in the order of degrees."""
    best = np.int64(-1)
    for i in range(marks.tally[SIDE]):
        unit = marks.name[marks.side[i]]
        if unit >= 0 and (best < 0 or rank[unit] < rank[best]):
            best = unit
    return best


@compiled()
def count_arcs_of_side(arcs, marks):
    """Arcs inside `marks.side`, arcs leaving it, and members that have a leaving arc."""
    inside, leaving, border = np.int64(0), np.int64(0), np.int64(0)
    for i in range(marks.tally[SIDE]):
        x = marks.side[i]
        before = leaving
        for a in range(arcs.first[x], arcs.last[x]):
            if arcs.room[a] > 0:
                if marks.dead[arcs.head[a]] == LEAVING:
                    inside += 1
                else:
                    leaving += 1
        border += leaving > before
    return inside, leaving, border


@compiled()
def store_side(arcs, marks, shelf, handle, value, inside, border):
    """Put `marks.side`, cut off by `value`, on the shelf, with one more vertex for the rest.

    Members have `dead == LEAVING` and their place in the side as `new_id`. Uses up the `back` of
    arcs inside the side: those rows die.
    """
    size, dead, new_id = marks.tally[SIDE], marks.dead, marks.new_id
    total = inside + 2 * border
    shelf = _with_space(shelf, size + 1, total)
    top, at, v0 = shelf.top, shelf.top[ARC_TOP], shelf.top[VERTEX_TOP]
    first, name = shelf.first[v0 : v0 + size + 1], shelf.name[v0 : v0 + size + 1]
    bound = shelf.bound[v0 : v0 + size + 1]
    head, room, back = (
        shelf.head[at : at + total],
        shelf.room[at : at + total],
        shelf.back[at : at + total],
    )
    k, rest = np.int64(0), inside + border
    first[size] = rest
    for i in range(size):
        x = marks.side[i]
        first[i], name[i], bound[i] = k, marks.name[x], min(marks.bound[x], value)
        crossing = np.int64(0)
        for a in range(arcs.first[x], arcs.last[x]):
            if arcs.room[a] == 0:
                continue
            t = arcs.head[a]
            if dead[t] != LEAVING:
                crossing += arcs.room[a]
                continue
            head[k], room[k] = new_id[t], arcs.room[a]
            if new_id[t] > i:
                arcs.back[arcs.back[a]] = k
            else:
                back[k] = arcs.back[a]
                back[back[k]] = k
            k += 1
        if crossing > 0:
            head[k], room[k], back[k] = size, crossing, rest
            head[rest], room[rest], back[rest] = i, crossing, k
            k += 1
            rest += 1
    name[size], bound[size] = ~handle, value
    shelf.begin[top[DEPTH], 0] = at
    shelf.begin[top[DEPTH], 1] = v0
    top[ARC_TOP] += total
    top[VERTEX_TOP] += size + 1
    top[DEPTH] += 1
    return shelf


@compiled()
def shrink_side(arcs, marks, z, used, handle, value):
    """Replace `marks.side` by vertex `z`, whose row starts at `used`; it waits for the core.

    Parallel arcs to `z` are added up on the first of them; the others are left with no room.
    Returns the end of the row.
    """
    first, last, head, room, back = arcs
    dead, slot, weight = marks.dead, marks.new_id, np.int64(0)
    for i in range(marks.tally[SIDE]):
        x = marks.side[i]
        for a in range(first[x], last[x]):
            if room[a] > 0 and dead[head[a]] == ALIVE:
                slot[head[a]] = -1
    end = used
    for i in range(marks.tally[SIDE]):
        x = marks.side[i]
        for a in range(first[x], last[x]):
            y = head[a]
            if room[a] == 0 or dead[y] != ALIVE:
                continue
            b = np.int64(back[a])
            if marks.height[y] == IN_CORE:
                weight += room[a]
            if slot[y] < 0:
                slot[y] = b
                head[end], room[end], back[end] = y, room[a], b
                head[b], back[b] = z, end
                end += 1
            else:
                room[slot[y]] += room[a]
                room[back[slot[y]]] += room[a]
                room[a] = room[b] = 0
    for i in range(marks.tally[SIDE]):
        dead[marks.side[i]] = GONE
    first[z], last[z] = used, end
    marks.name[z], marks.bound[z] = ~handle, value
    marks.core_weight[z] = weight
    wait_for_core(marks, z)
    return end


@compiled()
def compact(arcs, marks, n):
    """Drop dead rows and arcs without room, in place. Returns the arcs in use."""
    first, last, head, room, back = arcs
    k = np.int64(0)
    for u in range(n):
        begin = k
        if marks.dead[u] != GONE:
            for a in range(first[u], last[u]):
                if room[a] > 0:
                    head[k], room[k], back[k] = head[a], room[a], back[a]
                    back[back[k]] = k
                    k += 1
        first[u], last[u] = begin, k
    return k


@compiled()
def with_free_arcs(arcs, marks, n, used, need):
    """Arcs with space for `need` more: compacted first, moved to larger arrays if need be."""
    if used + need <= len(arcs.head):
        return arcs, used
    used = compact(arcs, marks, n)
    return (
        Arcs(
            arcs.first,
            arcs.last,
            grown(arcs.head, used, used + need),
            grown(arcs.room, used, used + need),
            grown(arcs.back, used, used + need),
        ),
        used,
    )


@compiled()
def take_graph(arcs, marks, shelf):
    """Move the top graph of the shelf into `arcs`. Returns them, vertices, arcs in use."""
    top = shelf.top
    top[DEPTH] -= 1
    a0, v0 = shelf.begin[top[DEPTH], 0], shelf.begin[top[DEPTH], 1]
    n, m = top[VERTEX_TOP] - v0, top[ARC_TOP] - a0
    top[ARC_TOP], top[VERTEX_TOP] = a0, v0
    head, room, back = grown(arcs.head, 0, m), grown(arcs.room, 0, m), grown(arcs.back, 0, m)
    for a in range(m):
        head[a], room[a], back[a] = shelf.head[a0 + a], shelf.room[a0 + a], shelf.back[a0 + a]
    for u in range(n):
        arcs.first[u] = shelf.first[v0 + u]
        arcs.last[u] = shelf.first[v0 + u + 1] if u + 1 < n else m
        marks.name[u], marks.bound[u] = shelf.name[v0 + u], shelf.bound[v0 + u]
        if marks.name[u] < 0:
            wait_for_core(marks, u)
    return Arcs(arcs.first, arcs.last, head, room, back), n, m


@compiled()
def copied_onto(shelf, other, k):
    """`other` with graph `k` of `shelf` put on top."""
    top = shelf.top
    a0, v0 = shelf.begin[k, 0], shelf.begin[k, 1]
    is_last = k + 1 == top[DEPTH]
    a1 = top[ARC_TOP] if is_last else shelf.begin[k + 1, 0]
    v1 = top[VERTEX_TOP] if is_last else shelf.begin[k + 1, 1]
    other = _with_space(other, v1 - v0, a1 - a0)
    at, v = other.top[ARC_TOP], other.top[VERTEX_TOP]
    other.first[v : v + v1 - v0] = shelf.first[v0:v1]
    other.name[v : v + v1 - v0] = shelf.name[v0:v1]
    other.bound[v : v + v1 - v0] = shelf.bound[v0:v1]
    other.head[at : at + a1 - a0] = shelf.head[a0:a1]
    other.room[at : at + a1 - a0] = shelf.room[a0:a1]
    other.back[at : at + a1 - a0] = shelf.back[a0:a1]
    other.begin[other.top[DEPTH], 0] = at
    other.begin[other.top[DEPTH], 1] = v
    other.top[ARC_TOP] += a1 - a0
    other.top[VERTEX_TOP] += v1 - v0
    other.top[DEPTH] += 1
    return other
