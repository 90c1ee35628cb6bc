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
"""Slots of `Marks.count`."""


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
    count: NDArray[np.int64]


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
def join_core(arcs, marks, v):
    """Add `v` to the core and tell its neighbours."""
    head, room, core_weight = arcs.head, arcs.room, marks.core_weight
    core_weight[v] += CORE
    marks.height[v] = IN_CORE
    for a in range(arcs.first[v], arcs.last[v]):
        core_weight[head[a]] += room[a]


@njit(cache=True, nogil=True)
def is_certified(arcs, marks, v):
    """Whether two-hop flow alone carries all of `v`'s capacity into the core.

    It does when every neighbour outside the core is tied to the core at least as strongly as
    to `v`; then the minimum cut between `v` and the core is `v` alone.
    """
    head, room, core_weight = arcs.head, arcs.room, marks.core_weight
    sign = np.int64(0)
    for a in range(arcs.first[v], arcs.last[v]):
        sign |= core_weight[head[a]] - room[a]
    return sign >= 0


@njit(cache=True, nogil=True)
def _touch(arcs, marks, u):
    if not marks.is_touched[u]:
        marks.is_touched[u] = 1
        marks.touched[marks.count[TOUCHED]] = u
        marks.count[TOUCHED] += 1
        marks.excess[u] = 0
        marks.to_core[u] = marks.core_weight[u]
        marks.current[u] = arcs.first[u]
        marks.at_height[1] += 1


@njit(cache=True, nogil=True)
def _relabel_globally(arcs, marks, v, n):
    """Exact heights: arcs to the core over residual arcs, by breadth-first search."""
    head, room, back, height = arcs.head, arcs.room, arcs.back, marks.height
    for u in range(n):
        if not marks.dead[u] and height[u] != IN_CORE:
            _touch(arcs, marks, u)
    marks.at_height[: n + 4] = 0
    found = marks.side
    tail = 0
    for i in range(marks.count[TOUCHED]):
        u = marks.touched[i]
        marks.current[u] = arcs.first[u]
        if u != v and marks.to_core[u] > 0:
            height[u] = 1
            found[tail] = u
            tail += 1
        else:
            height[u] = DEAD
    k = 0
    while k < tail:
        u = found[k]
        k += 1
        above = height[u] + np.int32(1)
        marks.at_height[height[u]] += 1
        for a in range(arcs.first[u], arcs.last[u]):
            t = head[a]
            if height[t] == DEAD and t != v and room[back[a]] > 0:
                height[t] = above
                found[tail] = t
                tail += 1


@njit(cache=True, nogil=True)
def _relabel(arcs, marks, u, n):
    """Lift `u` just above its lowest residual neighbour; apply the gap rule. Returns work."""
    head, room, height, at_height = arcs.head, arcs.room, marks.height, marks.at_height
    old, best, work = height[u], DEAD, np.int64(0)
    if marks.to_core[u] > 0:
        best = np.int32(1)
    else:
        for a in range(arcs.first[u], arcs.last[u]):
            if room[a] > 0:
                best = min(best, np.int32(height[head[a]] + 1))
        work += arcs.last[u] - arcs.first[u]
    if best >= n:
        best = DEAD
    at_height[old] -= 1
    height[u] = best
    marks.current[u] = arcs.first[u]
    if best < DEAD:
        at_height[best] += 1
    if at_height[old] == 0 and old > 1:
        work += marks.count[TOUCHED]
        for i in range(marks.count[TOUCHED]):
            t = marks.touched[i]
            if old < height[t] < DEAD:
                at_height[height[t]] -= 1
                height[t] = DEAD
    return work


@njit(cache=True, nogil=True)
def _send_to_core(marks, u):
    sent = min(marks.excess[u], marks.to_core[u])
    marks.excess[u] -= sent
    marks.to_core[u] -= sent


@njit(cache=True, nogil=True)
def _discharge(arcs, marks, u, n, tail):
    """Push `u`'s excess away until none is left or `u` is dead. Returns queue tail and work."""
    head, room, back = arcs.head, arcs.room, arcs.back
    excess, height, current = marks.excess, marks.height, marks.current
    log, count, queue = marks.log, marks.count, marks.queue
    ring, work = len(queue), np.int64(0)
    while excess[u] > 0 and height[u] < DEAD:
        if height[u] == 1 and marks.to_core[u] > 0:
            _send_to_core(marks, u)
            if excess[u] == 0:
                break
        begin, below = current[u], height[u] - 1
        end, left, a = arcs.last[u], excess[u], begin
        while a < end:
            if room[a] > 0 and height[head[a]] == below:
                t, b = head[a], back[a]
                _touch(arcs, marks, t)
                if room[a] == room[b]:
                    if count[LOGGED] < len(log):
                        log[count[LOGGED]] = a
                    count[LOGGED] += 1
                sent = min(left, room[a])
                room[a] -= sent
                room[b] += sent
                left -= sent
                excess[t] += sent
                if not marks.is_queued[t]:
                    marks.is_queued[t] = 1
                    queue[tail] = t
                    tail = tail + 1 if tail + 1 < ring else 0
                if left == 0:
                    break
            a += 1
        excess[u] = left
        current[u] = a
        work += a - begin + 1
        if left > 0:
            work += _relabel(arcs, marks, u, n)
    return tail, work


@njit(cache=True, nogil=True)
def _start(arcs, marks, v):
    """Saturate `v`'s arcs, forward what the neighbours can take to the core. Returns the tail."""
    count = marks.count
    count[TOUCHED] = 0
    count[LOGGED] = 0
    count[SIDE] = 0
    marks.is_touched[v] = 1
    marks.touched[0] = v
    count[TOUCHED] = 1
    marks.height[v] = DEAD
    marks.excess[v] = 0
    marks.to_core[v] = 0
    for a in range(arcs.first[v], arcs.last[v]):
        u = arcs.head[a]
        if marks.height[u] != IN_CORE and arcs.room[a] > 0:
            _touch(arcs, marks, u)
            marks.excess[u] += arcs.room[a]
    tail = 0
    for i in range(1, count[TOUCHED]):
        u = marks.touched[i]
        _send_to_core(marks, u)
        if marks.excess[u] > 0:
            marks.is_queued[u] = 1
            marks.queue[tail] = u
            tail += 1
    return tail


@njit(cache=True, nogil=True)
def local_flow(arcs, marks, v, n, live_arcs):
    """Capacity of `v` that cannot reach the core: 0 when `v` alone is a minimum cut.

    Push-relabel (Goldberg and Tarjan, 1988) that works outwards from `v` and touches only
    vertices that excess visits; a global relabel comes once the work exceeds the graph's size.
    When something stays behind, `marks.side[:count[SIDE]]` is a minimum cut's side with `v`.

    Args:
        arcs: residual graph at rest, with `back` filled.
        marks: clear marks; call `settle` afterwards.
        v: source, outside the core.
        n: vertices so far.
        live_arcs: arcs of the graph, the unit of work.
    """
    queue, ring = marks.queue, len(marks.queue)
    front, tail = 0, _start(arcs, marks, v)
    work, limit = np.int64(0), live_arcs + n
    while front != tail:
        u = queue[front]
        front = front + 1 if front + 1 < ring else 0
        marks.is_queued[u] = 0
        tail, done = _discharge(arcs, marks, u, n, tail)
        work += done
        if work > limit and front != tail:
            _relabel_globally(arcs, marks, v, n)
            work, limit = np.int64(0), 2 * live_arcs + n
    trapped = np.int64(0)
    for i in range(1, marks.count[TOUCHED]):
        trapped += marks.excess[marks.touched[i]]
    if trapped > 0:
        _collect_side(arcs, marks, v)
    return trapped


@njit(cache=True, nogil=True)
def _mark_side(marks, u):
    if marks.height[u] < DEAD:
        marks.at_height[marks.height[u]] = 0
    marks.height[u] = IN_SIDE


@njit(cache=True, nogil=True)
def _collect_side(arcs, marks, v):
    """Vertices that `v` or trapped excess still reaches: they cannot reach the core."""
    side, height, head, room = marks.side, marks.height, arcs.head, arcs.room
    size = 0
    for i in range(marks.count[TOUCHED]):
        u = marks.touched[i]
        if u == v or marks.excess[u] > 0:
            side[size] = u
            _mark_side(marks, u)
            size += 1
    k = 0
    while k < size:
        u = side[k]
        k += 1
        if u == v:
            continue
        for a in range(arcs.first[u], arcs.last[u]):
            t = head[a]
            if room[a] > 0 and height[t] != IN_CORE and height[t] != IN_SIDE:
                _touch(arcs, marks, t)
                _mark_side(marks, t)
                side[size] = t
                size += 1
    marks.count[SIDE] = size


@njit(cache=True, nogil=True)
def settle(arcs, marks, n):
    """Undo the flow: residual capacities back to capacities, marks clear."""
    room, back, count, log = arcs.room, arcs.back, marks.count, marks.log
    if count[LOGGED] <= len(log):
        for i in range(count[LOGGED]):
            a, b = log[i], back[log[i]]
            room[a] = (room[a] + room[b]) >> 1
            room[b] = room[a]
    else:
        for i in range(count[TOUCHED]):
            u = marks.touched[i]
            for a in range(arcs.first[u], arcs.last[u]):
                if room[a] != room[back[a]]:
                    room[a] = (room[a] + room[back[a]]) >> 1
                    room[back[a]] = room[a]
    for i in range(count[TOUCHED]):
        u = marks.touched[i]
        if 0 <= marks.height[u] <= n + 3:
            marks.at_height[marks.height[u]] = 0
        marks.height[u] = 1
        marks.is_touched[u] = 0
        marks.is_queued[u] = 0
    marks.at_height[1] = 0
