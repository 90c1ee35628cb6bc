# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Max-flow from one vertex to the core, and the certificate that makes most flows unnecessary.

The core is the set of vertices already known to be hard to separate from the pivot. Its
vertices act as one sink; `to_core` holds what every other vertex can still send there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

CORE = np.int64(2**61)
"""Added to the core weight of a core vertex: larger than any degree."""

DEAD = np.int32(2**30)
"""Height of a vertex that cannot reach the core any more."""

IN_CORE = np.int32(2**30 + 1)
"""Height of a core vertex: nothing is pushed over an arc to it, `to_core` stands for it."""

IN_SIDE = np.int32(-1)
"""Height of a vertex found to be on the source's side of the minimum cut."""

TOUCHED, LOGGED, SIDE = 0, 1, 2
"""Slots of `Marks.tally`."""


class Marks(NamedTuple):
    """Working memory of flows, one slot per vertex unless said.

    Between flows every height outside the core is 1 and all other marks are clear, so that a
    flow costs what it touches and not the size of the graph.
    """

    core_weight: NDArray[np.int64]
    excess: NDArray[np.int64]
    to_core: NDArray[np.int64]
    height: NDArray[np.int32]
    current: NDArray[np.int64]
    is_touched: NDArray[np.uint8]
    touched: NDArray[np.int32]
    is_queued: NDArray[np.uint8]
    queue: NDArray[np.int32]
    side: NDArray[np.int32]
    dead: NDArray[np.uint8]
    name: NDArray[np.int64]
    new_id: NDArray[np.int64]
    at_height: NDArray[np.int64]
    log: NDArray[np.int64]
    tally: NDArray[np.int64]


@njit(cache=True, nogil=True)
def make_marks(size, log_size):
    """Marks for up to `size` vertices."""
    return Marks(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.ones(size, np.int32),
        np.zeros(size, np.int64),
        np.zeros(size, np.uint8),
        np.zeros(size, np.int32),
        np.zeros(size, np.uint8),
        np.zeros(size + 1, np.int32),
        np.zeros(size, np.int32),
        np.zeros(size, np.uint8),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size + 4, np.int64),
        np.zeros(log_size, np.int64),
        np.zeros(4, np.int64),
    )


@njit(cache=True, nogil=True)
def join_core(first, last, head, room, core_weight, height, v):
    """Add `v` to the core and tell its neighbours."""
    core_weight[v] += CORE
    height[v] = IN_CORE
    for a in range(first[v], last[v]):
        core_weight[head[a]] += room[a]


@njit(cache=True, nogil=True)
def is_certified(first, last, head, room, core_weight, v):
    """Whether two-hop flow alone carries all of `v`'s capacity into the core.

    It does when every neighbour outside the core is tied to the core at least as strongly as
    to `v`; then the minimum cut between `v` and the core is `v` alone.
    """
    sign = np.int64(0)
    for a in range(first[v], last[v]):
        sign |= core_weight[head[a]] - room[a]
    return sign >= 0


@njit(cache=True, nogil=True)
def _touch(u, tally, is_touched, touched, excess, to_core, core_weight, current, first, at_height):
    if not is_touched[u]:
        is_touched[u] = 1
        touched[tally[TOUCHED]] = u
        tally[TOUCHED] += 1
        excess[u] = 0
        to_core[u] = core_weight[u]
        current[u] = first[u]
        at_height[1] += 1


@njit(cache=True, nogil=True)
def _relabel_globally(arcs, marks, v, n):
    """Exact heights: arcs to the core over residual arcs, by breadth-first search."""
    first, last, head, room, back = arcs
    height, to_core, at_height = marks.height, marks.to_core, marks.at_height
    touched, found, current, dead = marks.touched, marks.side, marks.current, marks.dead
    is_touched, excess, core_weight = marks.is_touched, marks.excess, marks.core_weight
    tally = marks.tally
    for u in range(n):
        if not dead[u] and height[u] != IN_CORE:
            _touch(
                u,
                tally,
                is_touched,
                touched,
                excess,
                to_core,
                core_weight,
                current,
                first,
                at_height,
            )
    at_height[: n + 4] = 0
    tail = 0
    for i in range(tally[TOUCHED]):
        u = touched[i]
        current[u] = first[u]
        if u != v and to_core[u] > 0:
            height[u] = 1
            found[tail] = u
            tail += 1
        else:
            height[u] = DEAD
    k = 0
    while k < tail:
        u = found[k]
        k += 1
        at_height[height[u]] += 1
        for a in range(first[u], last[u]):
            t = head[a]
            if height[t] == DEAD and t != v and room[back[a]] > 0:
                height[t] = height[u] + 1
                found[tail] = t
                tail += 1


@njit(cache=True, nogil=True)
def _lift(u, n, first, last, head, room, to_core, height, current, at_height, touched, n_touched):
    """Put `u` just above its lowest residual neighbour; apply the gap rule. Returns work."""
    old, best, work = height[u], DEAD, np.int64(1)
    if to_core[u] > 0:
        best = np.int32(1)
    else:
        for a in range(first[u], last[u]):
            above = height[head[a]] + np.int32(1)
            if room[a] > 0 and above < best:
                best = above
        work += last[u] - first[u]
    if best >= n:
        best = DEAD
    at_height[old] -= 1
    height[u] = best
    current[u] = first[u]
    if best < DEAD:
        at_height[best] += 1
    if at_height[old] == 0 and old > 1:
        work += n_touched
        for i in range(n_touched):
            t = touched[i]
            if old < height[t] < DEAD:
                at_height[height[t]] -= 1
                height[t] = DEAD
    return work


@njit(cache=True, nogil=True)
def _push_all(arcs, marks, v, n, tail, live_arcs):
    """Push excess from the queue (`queue[:tail]` at first) until none is left that can move."""
    first, last, head, room, back = arcs
    core_weight, excess, to_core = marks.core_weight, marks.excess, marks.to_core
    height, current, at_height = marks.height, marks.current, marks.at_height
    is_touched, touched, is_queued = marks.is_touched, marks.touched, marks.is_queued
    queue, log, tally = marks.queue, marks.log, marks.tally
    front, ring = 0, len(queue)
    work, limit = np.int64(0), live_arcs + n
    while front != tail:
        u = queue[front]
        front = front + 1 if front + 1 < ring else 0
        is_queued[u] = 0
        left = excess[u]
        while left > 0 and height[u] < DEAD:
            if height[u] == 1 and to_core[u] > 0:
                sent = min(left, to_core[u])
                to_core[u] -= sent
                left -= sent
                if left == 0:
                    break
            a, end, below = current[u], last[u], height[u] - 1
            work += 1 - a
            while a < end:
                if height[head[a]] == below and room[a] > 0:
                    t, b = head[a], back[a]
                    _touch(
                        t,
                        tally,
                        is_touched,
                        touched,
                        excess,
                        to_core,
                        core_weight,
                        current,
                        first,
                        at_height,
                    )
                    if room[a] == room[b]:
                        if tally[LOGGED] < len(log):
                            log[tally[LOGGED]] = a
                        tally[LOGGED] += 1
                    sent = min(left, room[a])
                    room[a] -= sent
                    room[b] += sent
                    excess[t] += sent
                    left -= sent
                    if not is_queued[t]:
                        is_queued[t] = 1
                        queue[tail] = t
                        tail = tail + 1 if tail + 1 < ring else 0
                    if left == 0:
                        break
                a += 1
            work += a
            current[u] = a
            if left > 0:
                work += _lift(
                    u,
                    n,
                    first,
                    last,
                    head,
                    room,
                    to_core,
                    height,
                    current,
                    at_height,
                    touched,
                    tally[TOUCHED],
                )
        excess[u] = left
        if work > limit and front != tail:
            _relabel_globally(arcs, marks, v, n)
            work, limit = np.int64(0), 2 * live_arcs + n


@njit(cache=True, nogil=True)
def _start(arcs, marks, v):
    """Saturate `v`'s arcs, forward what the neighbours can take to the core. Returns the tail."""
    first, last, head, room, _ = arcs
    core_weight, excess, to_core = marks.core_weight, marks.excess, marks.to_core
    height, current, at_height = marks.height, marks.current, marks.at_height
    is_touched, touched, tally = marks.is_touched, marks.touched, marks.tally
    tally[TOUCHED], tally[LOGGED], tally[SIDE] = 1, 0, 0
    is_touched[v], touched[0], height[v] = 1, v, DEAD
    excess[v], to_core[v] = 0, 0
    for a in range(first[v], last[v]):
        u = head[a]
        if height[u] != IN_CORE and room[a] > 0:
            _touch(
                u,
                tally,
                is_touched,
                touched,
                excess,
                to_core,
                core_weight,
                current,
                first,
                at_height,
            )
            excess[u] += room[a]
    tail = 0
    for i in range(1, tally[TOUCHED]):
        u = touched[i]
        sent = min(excess[u], to_core[u])
        excess[u] -= sent
        to_core[u] -= sent
        if excess[u] > 0:
            marks.is_queued[u] = 1
            marks.queue[tail] = u
            tail += 1
    return tail


@njit(cache=True, nogil=True)
def local_flow(arcs, marks, v, n, live_arcs):
    """Capacity of `v` that cannot reach the core: 0 when `v` alone is a minimum cut.

    Push-relabel (Goldberg and Tarjan, 1988) that works outwards from `v` and touches only
    vertices that excess visits; a global relabel comes once the work exceeds the graph's size.
    When something stays behind, `marks.side[:tally[SIDE]]` is a minimum cut's side with `v`.

    Args:
        arcs: residual graph at rest, with `back` filled.
        marks: clear marks; call `settle` afterwards.
        v: source, outside the core.
        n: vertices so far.
        live_arcs: arcs of the graph, the unit of work.
    """
    tail = _start(arcs, marks, v)
    _push_all(arcs, marks, v, n, tail, live_arcs)
    trapped, excess, touched = np.int64(0), marks.excess, marks.touched
    for i in range(1, marks.tally[TOUCHED]):
        trapped += excess[touched[i]]
    if trapped > 0:
        _collect_side(arcs, marks, v)
    return trapped


@njit(cache=True, nogil=True)
def _collect_side(arcs, marks, v):
    """Vertices that `v` or trapped excess still reaches: they cannot reach the core."""
    first, last, head, room, _ = arcs
    core_weight, excess, to_core = marks.core_weight, marks.excess, marks.to_core
    height, current, at_height = marks.height, marks.current, marks.at_height
    is_touched, touched, tally, side = marks.is_touched, marks.touched, marks.tally, marks.side
    size = 0
    for i in range(tally[TOUCHED]):
        u = touched[i]
        if 0 <= height[u] < DEAD:
            at_height[height[u]] = 0
        if u == v or excess[u] > 0:
            side[size] = u
            height[u] = IN_SIDE
            size += 1
    k = 0
    while k < size:
        u = side[k]
        k += 1
        if u == v:
            continue
        for a in range(first[u], last[u]):
            t = head[a]
            if room[a] > 0 and height[t] != IN_CORE and height[t] != IN_SIDE:
                _touch(
                    t,
                    tally,
                    is_touched,
                    touched,
                    excess,
                    to_core,
                    core_weight,
                    current,
                    first,
                    at_height,
                )
                height[t] = IN_SIDE
                side[size] = t
                size += 1
    tally[SIDE] = size


@njit(cache=True, nogil=True)
def settle(arcs, marks, n):
    """Undo the flow: residual capacities back to capacities, marks clear."""
    first, last, _, room, back = arcs
    tally, log, touched, height = marks.tally, marks.log, marks.touched, marks.height
    at_height, is_touched, is_queued = marks.at_height, marks.is_touched, marks.is_queued
    if tally[LOGGED] <= len(log):
        for i in range(tally[LOGGED]):
            a = log[i]
            b = back[a]
            room[a] = (room[a] + room[b]) >> 1
            room[b] = room[a]
    else:
        for i in range(tally[TOUCHED]):
            u = touched[i]
            for a in range(first[u], last[u]):
                b = back[a]
                if room[a] != room[b]:
                    room[a] = (room[a] + room[b]) >> 1
                    room[b] = room[a]
    for i in range(tally[TOUCHED]):
        u = touched[i]
        if 0 <= height[u] <= n + 3:
            at_height[height[u]] = 0
        height[u] = 1
        is_touched[u] = 0
        is_queued[u] = 0
    at_height[1] = 0
