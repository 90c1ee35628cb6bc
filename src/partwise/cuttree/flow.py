# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Max-flow from one vertex to the core, and the certificate that makes most flows unnecessary.

The core is the set of vertices already known to be hard to separate from the pivot. Its
vertices act as one sink: a vertex can send its core weight there, less what it has `sent`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.cuttree.routes import Routes, augment, follow, has_route, record

CORE = np.int64(2**61)
"""Added to the core weight of a core vertex: larger than any degree."""

DEAD = np.int32(2**30)
"""Height of a vertex that cannot reach the core any more."""

IN_CORE = np.int32(2**30 + 1)
"""Height of a core vertex: nothing is pushed over an arc to it, core weights stand for it."""

IN_SIDE = np.int32(-1)
"""Height of a vertex found to be on the source's side of the minimum cut."""

RAISE_AFTER = 4
"""Work between searches, in sizes of the touched rows."""

WINDOW = 32
"""Arcs of a row that a windowed flow may use."""

TOUCHED, LOGGED, SIDE, QUEUED, WAITING, ROUTED = 0, 1, 2, 3, 4, 5
"""Slots of `Marks.tally`; `ROUTED` is 1 while routes are followed and recorded."""


class Marks(NamedTuple):
    """Working memory of flows, one slot per vertex unless said.

    Between flows every height outside the core is 1 and all other marks are clear, so that a
    flow costs what it touches and not the size of the graph. Vertices that stand for several units
    have a `bound`, the least their minimum cut to the pivot can be, and wait for the core in the
    heap `waiting[:tally[WAITING]]`.
    """

    core_weight: NDArray[np.int64]
    excess: NDArray[np.int64]
    sent: NDArray[np.int64]
    height: NDArray[np.int32]
    step: NDArray[np.int64]
    is_touched: NDArray[np.uint8]
    is_found: NDArray[np.uint8]
    touched: NDArray[np.uint32]
    is_queued: NDArray[np.uint8]
    queue: NDArray[np.uint32]
    side: NDArray[np.uint32]
    dead: NDArray[np.uint8]
    name: NDArray[np.int64]
    new_id: NDArray[np.int64]
    bound: NDArray[np.int64]
    waiting: NDArray[np.uint32]
    at_height: NDArray[np.int64]
    log: NDArray[np.int64]
    tally: NDArray[np.int64]
    routes: Routes


@compiled()
def make_marks(size, log_size, routes):
    """Marks for up to `size` vertices, with `routes` to follow and to record."""
    return Marks(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.ones(size, np.int32),
        np.zeros(size, np.int64),
        np.zeros(size, np.uint8),
        np.zeros(size, np.uint8),
        np.zeros(size, np.uint32),
        np.zeros(size, np.uint8),
        np.zeros(size + 1, np.uint32),
        np.zeros(size, np.uint32),
        np.zeros(size, np.uint8),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.uint32),
        np.zeros(size + 4, np.int64),
        np.empty(log_size, np.int64),
        np.zeros(6, np.int64),
        routes,
    )


@compiled()
def join_core(first, last, head, room, core_weight, height, v):
    """Add `v` to the core and tell its neighbours."""
    core_weight[v] += CORE
    height[v] = IN_CORE
    for a in range(first[v], last[v]):
        core_weight[head[a]] += room[a]


@compiled()
def wait_for_core(marks, u):
    """Put `u` into the heap of those that join the core before units of lower degree."""
    waiting, bound, i = marks.waiting, marks.bound, marks.tally[WAITING]
    marks.tally[WAITING] += 1
    while i > 0 and bound[waiting[(i - 1) >> 1]] < bound[u]:
        waiting[i] = waiting[(i - 1) >> 1]
        i = (i - 1) >> 1
    waiting[i] = u


@compiled()
def next_waiting(marks):
    """Take the vertex of largest bound out of the heap."""
    marks.tally[WAITING] -= 1
    waiting, bound, size = marks.waiting, marks.bound, marks.tally[WAITING]
    best, moved, i = waiting[0], waiting[size], np.int64(0)
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and bound[waiting[child + 1]] > bound[waiting[child]]:
            child += 1
        if bound[waiting[child]] <= bound[moved]:
            break
        waiting[i] = waiting[child]
        i = child
    waiting[i] = moved
    return best


@compiled()
def is_certified(first, last, head, room, core_weight, v):
    """Whether two-hop flow alone carries all of `v`'s capacity into the core.

    It does when every neighbour outside the core is tied to the core at least as strongly as
    to `v`; then the minimum cut between `v` and the core is `v` alone.
    """
    sign = np.int64(0)
    for a in range(first[v], last[v]):
        sign |= core_weight[head[a]] - room[a]
    return sign >= 0


@compiled()
def _raise_touched(
    first,
    last,
    head,
    room,
    back,
    core_weight,
    sent,
    height,
    step,
    at_height,
    is_touched,
    is_found,
    touched,
    n_touched,
    found,
):
    """Raise touched vertices to their distance from the core, by breadth-first search.

    Untouched vertices count as height 1, a lower bound, so that the search need not leave the
    touched ones. Vertices it does not find are cut off: nothing they hold can reach the core.
    `touched[0]` is the source. Returns the size of the touched rows.
    """
    v, volume, tail = touched[0], np.int64(0), 0
    for i in range(n_touched):
        u = touched[i]
        volume += last[u] - first[u]
        step[u] = 0
        if height[u] < DEAD:
            at_height[height[u]] = 0
        is_found[u] = u != v and core_weight[u] > sent[u]
        if is_found[u]:
            found[tail] = u
            tail += 1
    level_end, k, level = tail, 0, np.int32(1)
    while True:
        while k < level_end:
            u = found[k]
            k += 1
            height[u] = max(height[u], level)
            if height[u] < DEAD:
                at_height[height[u]] += 1
            if tail == n_touched - 1:
                continue
            for a in range(first[u], last[u]):
                t = head[a]
                if is_touched[t] and not is_found[t] and t != v and room[back[a]] > 0:
                    is_found[t] = 1
                    found[tail] = t
                    tail += 1
        if level == 1:
            for i in range(1, n_touched):
                u = touched[i]
                if is_found[u]:
                    continue
                for a in range(first[u], last[u]):
                    t = head[a]
                    if room[a] > 0 and not is_touched[t] and height[t] == 1:
                        is_found[u] = 1
                        found[tail] = u
                        tail += 1
                        break
        if k == tail:
            break
        level_end = tail
        level += np.int32(1)
    for i in range(n_touched):
        if not is_found[touched[i]]:
            height[touched[i]] = DEAD
    return volume


@compiled()
def _push_all(
    first,
    last,
    head,
    room,
    back,
    core_weight,
    excess,
    sent,
    height,
    step,
    at_height,
    is_touched,
    is_found,
    touched,
    is_queued,
    queue,
    found,
    log,
    tally,
    n,
    work_limit,
    searches,
):
    """Push queued excess (`queue[:tally[QUEUED]]`) until what is left cannot move.

    Beyond `work_limit` the touched vertices are raised by search; without `searches` it gives up.
    One long function over plain arrays: numba counts references at every call and tuple.
    """
    n_touched, n_logged, tail = tally[TOUCHED], tally[LOGGED], tally[QUEUED]
    front, ring, work = 0, len(queue), np.int64(0)
    while front != tail:
        u = queue[front]
        front = front + 1 if front + 1 < ring else 0
        is_queued[u] = 0
        left, level = excess[u], height[u]
        begin, end = first[u], last[u]
        while left > 0 and level < DEAD:
            if level == 1 and core_weight[u] > sent[u]:
                amount = min(left, core_weight[u] - sent[u])
                sent[u] += amount
                left -= amount
                if left == 0:
                    break
            below, a = level - 1, begin + step[u]
            work += 1 - a
            while a < end:
                t = head[a]
                if height[t] == below and room[a] > 0:
                    if not is_touched[t]:
                        is_touched[t] = 1
                        touched[n_touched] = t
                        n_touched += 1
                        at_height[1] += 1
                    b = back[a]
                    if room[a] == room[b]:
                        if n_logged < len(log):
                            log[n_logged] = a
                        n_logged += 1
                    amount = min(left, room[a])
                    room[a] -= amount
                    room[b] += amount
                    excess[t] += amount
                    left -= amount
                    if not is_queued[t]:
                        is_queued[t] = 1
                        queue[tail] = t
                        tail = tail + 1 if tail + 1 < ring else 0
                    if left == 0:
                        break
                a += 1
            work += a
            step[u] = a - begin
            if left == 0:
                break
            # Lift u just above its lowest residual neighbour.
            best = DEAD
            if core_weight[u] > sent[u]:
                best = np.int32(1)
            else:
                for c in range(begin, end):
                    above = height[head[c]] + np.int32(1)
                    if above < best and room[c] > 0:
                        best = above
                work += end - begin
            if best >= n:
                best = DEAD
            at_height[level] -= 1
            height[u] = best
            step[u] = 0
            if best < DEAD:
                at_height[best] += 1
            if at_height[level] == 0 and level > 1:
                # A gap: from above it nothing comes down to the core any more.
                work += n_touched
                for i in range(n_touched):
                    t = touched[i]
                    if level < height[t] < DEAD:
                        at_height[height[t]] -= 1
                        height[t] = DEAD
            level = height[u]
        excess[u] = left
        if work > work_limit and front != tail:
            if not searches:
                break
            volume = _raise_touched(
                first,
                last,
                head,
                room,
                back,
                core_weight,
                sent,
                height,
                step,
                at_height,
                is_touched,
                is_found,
                touched,
                n_touched,
                found,
            )
            work, work_limit = np.int64(0), RAISE_AFTER * volume
    tally[TOUCHED], tally[LOGGED] = n_touched, n_logged


@compiled()
def _start(
    first,
    last,
    head,
    room,
    core_weight,
    excess,
    sent,
    height,
    at_height,
    is_touched,
    touched,
    is_queued,
    queue,
    tally,
    v,
):
    """Saturate `v`'s arcs, forward what the neighbours can take to the core, queue the rest."""
    is_touched[v], touched[0], height[v] = 1, v, DEAD
    n_touched, tail, volume = 1, 0, np.int64(0)
    for a in range(first[v], last[v]):
        u = head[a]
        if height[u] == 1 and room[a] > 0:
            is_touched[u] = 1
            touched[n_touched] = u
            n_touched += 1
            at_height[1] += 1
            volume += last[u] - first[u]
            sent[u] = min(room[a], core_weight[u])
            excess[u] = room[a] - sent[u]
            if excess[u] > 0:
                is_queued[u] = 1
                queue[tail] = u
                tail += 1
    tally[TOUCHED], tally[LOGGED], tally[SIDE], tally[QUEUED] = n_touched, 0, 0, tail
    return volume


@compiled()
def _collect_side(
    first, last, head, room, excess, height, at_height, is_touched, touched, side, tally, v
):
    """Vertices that `v` or trapped excess still reaches: they cannot reach the core."""
    n_touched, size = tally[TOUCHED], 0
    for i in range(n_touched):
        u = touched[i]
        if height[u] < DEAD:
            at_height[height[u]] = 0
        if u == v or excess[u] > 0:
            side[size] = u
            height[u] = IN_SIDE
            size += 1
    k = 1 if side[0] == v else 0
    while k < size:
        u = side[k]
        k += 1
        for a in range(first[u], last[u]):
            t = head[a]
            if room[a] > 0 and height[t] != IN_CORE and height[t] != IN_SIDE:
                if not is_touched[t]:
                    is_touched[t] = 1
                    touched[n_touched] = t
                    n_touched += 1
                height[t] = IN_SIDE
                side[size] = t
                size += 1
    tally[TOUCHED], tally[SIDE] = n_touched, size


@compiled()
def _follow_route(first, last, head, room, back, marks, v, budget):
    """Move what `_start` queued along last time's route; queue what is left. Whether any is."""
    tally, routes, touched, excess = marks.tally, marks.routes, marks.touched, marks.excess
    left = np.int64(0)
    for i in range(tally[QUEUED]):
        left += excess[marks.queue[i]]
        marks.is_queued[marks.queue[i]] = 0
    tally[TOUCHED], tally[LOGGED], left = follow(
        first,
        last,
        head,
        room,
        back,
        marks.core_weight,
        excess,
        marks.sent,
        marks.height,
        marks.at_height,
        marks.is_touched,
        touched,
        marks.log,
        tally[TOUCHED],
        tally[LOGGED],
        routes.tail,
        routes.arc,
        routes.share,
        routes.begin[v],
        routes.begin[v] + routes.size[v],
        left,
    )
    if left > 0:
        tally[TOUCHED], tally[LOGGED], left = augment(
            first,
            last,
            head,
            room,
            back,
            marks.core_weight,
            excess,
            marks.sent,
            marks.height,
            marks.at_height,
            marks.is_touched,
            touched,
            marks.is_found,
            marks.side,
            marks.new_id,
            marks.log,
            tally[TOUCHED],
            tally[LOGGED],
            left,
            budget,
        )
    tail = 0
    for i in range(1, tally[TOUCHED]):
        u = touched[i]
        if excess[u] > 0:
            marks.is_queued[u] = 1
            marks.queue[tail] = u
            tail += 1
    tally[QUEUED] = tail
    return left > 0


@compiled()
def _flow(first, last, head, room, back, marks, v, n, give_up_after):
    """Capacity of `v` that does not reach the core over the arcs in the given rows.

    With `give_up_after` > 0 nothing is searched, and work ends there.
    """
    tally, excess, touched = marks.tally, marks.excess, marks.touched
    volume = _start(
        first,
        last,
        head,
        room,
        marks.core_weight,
        excess,
        marks.sent,
        marks.height,
        marks.at_height,
        marks.is_touched,
        touched,
        marks.is_queued,
        marks.queue,
        tally,
        v,
    )
    is_routed = tally[ROUTED] > 0 and has_route(marks.routes, v)
    is_left = True
    if is_routed:
        is_left = _follow_route(first, last, head, room, back, marks, v, volume + 8192)
    if not is_left:
        return np.int64(0)
    _push_all(
        first,
        last,
        head,
        room,
        back,
        marks.core_weight,
        excess,
        marks.sent,
        marks.height,
        marks.step,
        marks.at_height,
        marks.is_touched,
        marks.is_found,
        touched,
        marks.is_queued,
        marks.queue,
        marks.side,
        marks.log,
        tally,
        n,
        (0 if is_routed else RAISE_AFTER * volume) if give_up_after == 0 else give_up_after,
        give_up_after == 0,
    )
    trapped = np.int64(0)
    for i in range(1, tally[TOUCHED]):
        trapped += excess[touched[i]]
    if trapped == 0 and tally[ROUTED] > 0:
        record(
            head,
            room,
            back,
            marks.log,
            tally[LOGGED],
            touched,
            tally[TOUCHED],
            marks.step,
            marks.new_id,
            marks.routes,
            v,
        )
    return trapped


@compiled()
def local_flow(arcs, marks, v, n):
    """Capacity of `v` that cannot reach the core: 0 when `v` alone is a minimum cut.

    Push-relabel (Goldberg and Tarjan, 1988) that works outwards from `v` and touches only
    vertices that excess visits; these are raised by search whenever the work since the last
    time exceeds the size of their rows a few times. When something stays behind,
    `marks.side[:tally[SIDE]]` is a minimum cut's side with `v`.

    Args:
        arcs: residual graph at rest, with `back` filled; no parallel arcs.
        marks: clear marks; call `settle` afterwards.
        v: source, outside the core.
        n: vertices so far.
    """
    first, last, head, room, back = arcs
    trapped = _flow(first, last, head, room, back, marks, v, n, 0)
    if trapped > 0:
        _collect_side(
            first,
            last,
            head,
            room,
            marks.excess,
            marks.height,
            marks.at_height,
            marks.is_touched,
            marks.touched,
            marks.side,
            marks.tally,
            v,
        )
    return trapped


@compiled()
def reaches_through_windows(arcs, marks, v, n):
    """Whether all of `v`'s capacity reaches the core over a few arcs of every other row.

    A flow in part of the graph is a flow in the graph, so True is proof and False is not. On a
    dense network it costs a fraction of `local_flow`, whose neighbours' rows are most of the
    graph; where those are short, nothing is tried. Call `settle` afterwards.
    """
    first, last, head, room, back = arcs
    volume, marks.tally[TOUCHED], marks.tally[LOGGED] = np.int64(0), 0, 0
    for a in range(first[v], last[v]):
        volume += last[head[a]] - first[head[a]]
    windows = WINDOW * (last[v] - first[v])
    if volume < 8 * (n + windows):
        return False
    begin, end = first[:n].copy(), last[:n].copy()
    for u in range(n):
        spare = last[u] - first[u] - WINDOW
        if spare > 0 and u != v:
            begin[u] += u * np.int64(2654435761) % spare
            end[u] = begin[u] + WINDOW
    return _flow(begin, end, head, room, back, marks, v, n, 64 * windows) == 0


@compiled()
def settle(arcs, marks, n):
    """Undo the flow: residual capacities back to capacities, marks clear."""
    first, last, _, room, back = arcs
    tally, log, touched, height = marks.tally, marks.log, marks.touched, marks.height
    at_height, is_touched, is_queued = marks.at_height, marks.is_touched, marks.is_queued
    excess, sent, step = marks.excess, marks.sent, marks.step
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
        excess[u] = 0
        sent[u] = 0
        step[u] = 0
    at_height[1] = 0
