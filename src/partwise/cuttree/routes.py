# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Routes: where a flow went last time, so that the next one starts from there.

A route is only a hint. Following it moves excess along arcs that have room, at height 1, which
is a state that push-relabel could have begun with: what is left is pushed on from there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled

SLACK = 1.05
"""How much more than last time an arc may take at first."""


class Routes(NamedTuple):
    """Arcs that flows used, in topological order, one list for every source.

    Attributes:
        begin, size, space: (s,) list of every source, and what it may grow to in place.
        tail, arc: (k,) vertex and arc position, both from the graph's own first.
        share: (k,) part of the arc's capacity that was used.
        top: (1,) arcs of `tail`, `arc` and `share` that lists take up.
    """

    begin: NDArray[np.int64]
    size: NDArray[np.int64]
    space: NDArray[np.int64]
    tail: NDArray[np.uint32]
    arc: NDArray[np.uint32]
    share: NDArray[np.float32]
    top: NDArray[np.int64]


@compiled()
def make_routes(sources, arcs):
    """Space for routes of `sources` sources that use `arcs` arcs in all."""
    return Routes(
        np.zeros(sources, np.int64),
        np.zeros(sources, np.int64),
        np.zeros(sources, np.int64),
        np.empty(arcs, np.uint32),
        np.empty(arcs, np.uint32),
        np.empty(arcs, np.float32),
        np.zeros(1, np.int64),
    )


@compiled()
def has_route(routes, v):
    """Whether a flow from `v` was recorded."""
    return v < len(routes.size) and routes.size[v] > 0


@compiled()
def follow(
    first,
    last,
    head,
    room,
    back,
    core_weight,
    excess,
    sent,
    height,
    at_height,
    is_touched,
    touched,
    log,
    n_touched,
    n_logged,
    tail,
    arc,
    share,
    begin,
    end,
    left,
):
    """Move excess along a route, first as much as last time, then as much as fits.

    Returns touched vertices, logged arcs and the excess that did not reach the core.
    """
    for sweep in range(2):
        for i in range(begin, end):
            u, a = tail[i], arc[i]
            held = excess[u]
            if held == 0 or a < first[u] or a >= last[u] or height[head[a]] != 1:
                continue
            t, b = head[a], back[a]
            amount = min(held, room[a])
            if sweep == 0:
                amount = min(amount, np.int64(share[i] * room[a]))
            if amount <= 0:
                continue
            if not is_touched[t]:
                is_touched[t] = 1
                touched[n_touched] = t
                n_touched += 1
                at_height[1] += 1
            if room[a] == room[b]:
                if n_logged < len(log):
                    log[n_logged] = a
                n_logged += 1
            room[a] -= amount
            room[b] += amount
            excess[u] = held - amount
            taken = min(amount, core_weight[t] - sent[t])
            sent[t] += taken
            excess[t] += amount - taken
            left -= taken
        if left == 0:
            return n_touched, n_logged, left
    return n_touched, n_logged, left


@compiled()
def augment(
    first,
    last,
    head,
    room,
    back,
    core_weight,
    excess,
    sent,
    height,
    at_height,
    is_touched,
    touched,
    is_found,
    found,
    came_by,
    log,
    n_touched,
    n_logged,
    left,
    budget,
):
    """Move what a route left behind along shortest paths, until the searches cost `budget` arcs.

    First from each vertex to its neighbours, then as far as need be. Returns what `follow` does.
    """
    holders = n_touched - 1
    for j in range(2 * holders):
        u, reach = touched[1 + j % holders], 1 if j < holders else len(found)
        if excess[u] == 0:
            continue
        found[0], size, k = u, 1, 0
        is_found[u] = 1
        while k < min(size, reach) and excess[u] > 0 and budget > 0:
            x = found[k]
            k += 1
            budget -= last[x] - first[x]
            for a in range(first[x], last[x]):
                t = head[a]
                if room[a] == 0 or is_found[t] or height[t] != 1:
                    continue
                is_found[t] = 1
                came_by[t] = a
                found[size] = t
                size += 1
                amount = min(excess[u], core_weight[t] - sent[t])
                if amount == 0:
                    continue
                y = t
                while y != u and amount > 0:
                    amount = min(amount, room[came_by[y]])
                    y = head[back[came_by[y]]]
                if amount == 0:
                    continue
                y = t
                while y != u:
                    c = came_by[y]
                    b = back[c]
                    if not is_touched[y]:
                        is_touched[y] = 1
                        touched[n_touched] = y
                        n_touched += 1
                        at_height[1] += 1
                    if room[c] == room[b]:
                        if n_logged < len(log):
                            log[n_logged] = c
                        n_logged += 1
                    room[c] -= amount
                    room[b] += amount
                    y = head[b]
                sent[t] += amount
                excess[u] -= amount
                left -= amount
                if excess[u] == 0:
                    break
        for j in range(size):
            is_found[found[j]] = 0
        if left == 0 or budget <= 0:
            break
    return n_touched, n_logged, left


@compiled()
def record(head, room, back, log, n_logged, touched, n_touched, into, out, routes, v):
    """Keep the arcs that the flow from `v` uses, sorted so that each tail is filled before.

    `into` and `out` are scratch, one slot per vertex. Arcs on cycles are left out.
    """
    if v >= len(routes.size) or n_logged > len(log):
        return
    for i in range(n_touched):
        into[touched[i]], out[touched[i]] = 0, -1
    used, after = np.empty(n_logged, np.uint32), np.empty(n_logged, np.int64)
    need = 0
    for i in range(n_logged):
        a = log[i]
        b = np.int64(back[a])
        if room[a] == room[b]:
            continue
        if room[a] > room[b]:
            a, b = b, a
        used[i], after[i] = a, out[head[b]]
        out[head[b]] = i
        into[head[a]] += 1
        need += 1
    at = _place(routes, v, need)
    if at < 0:
        return
    ready, size, k = np.empty(n_touched, np.uint32), 0, at
    for i in range(n_touched):
        if into[touched[i]] == 0:
            ready[size] = touched[i]
            size += 1
    while size > 0:
        size -= 1
        u = ready[size]
        i = out[u]
        while i >= 0:
            a = used[i]
            t, capacity = head[a], 0.5 * (np.float64(room[a]) + np.float64(room[back[a]]))
            flow = 0.5 * (np.float64(room[back[a]]) - np.float64(room[a]))
            routes.tail[k], routes.arc[k] = u, a
            routes.share[k] = min(1.0, SLACK * flow / capacity)
            k += 1
            into[t] -= 1
            if into[t] == 0:
                ready[size] = t
                size += 1
            i = after[i]
    routes.begin[v], routes.size[v] = at, k - at


@compiled()
def _place(routes, v, need):
    """Where a list of `need` arcs can be written; when space runs out, all lists are forgotten."""
    if need > routes.space[v]:
        space = need + need // 4 + 4
        if routes.top[0] + space > len(routes.arc):
            routes.top[0] = 0
            routes.size[:] = 0
            routes.space[:] = 0
            if space > len(routes.arc):
                return np.int64(-1)
        routes.begin[v], routes.space[v] = routes.top[0], space
        routes.top[0] += space
    return routes.begin[v]
