# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Dinic's maximum flow (1970) on integers, for checking: shares nothing with the builder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled


def paired_rows(
    n: int, sources: NDArray[np.int32], targets: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row starts (n + 1,), and per place the arc (2 m,) and its far unit; arc 2e runs forward."""
    m = len(sources)
    tails = np.column_stack([sources, targets]).reshape(-1)
    far = np.column_stack([targets, sources]).reshape(-1).astype(np.int64)
    arcs = np.argsort(tails, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(tails, minlength=n))]).astype(np.int64)
    assert start[-1] == 2 * m
    return start, arcs, far


@compiled()
def dinic_max_flow(start, arcs, far, capacities, source, sink):
    """Value of a maximum flow between `source` and `sink`."""
    n = len(start) - 1
    room = np.empty(2 * len(capacities), np.int64)
    for e in range(len(capacities)):
        room[2 * e] = capacities[e]
        room[2 * e + 1] = capacities[e]
    level, queue = np.empty(n, np.int64), np.empty(n, np.int64)
    at, path = np.empty(n, np.int64), np.empty(n, np.int64)
    total = np.int64(0)
    while True:
        level[:] = -1
        level[source] = 0
        queue[0] = source
        front, tail = 0, 1
        while front < tail and level[sink] < 0:
            u = queue[front]
            front += 1
            for k in range(start[u], start[u + 1]):
                a = arcs[k]
                t = far[a]
                if room[a] > 0 and level[t] < 0:
                    level[t] = level[u] + 1
                    queue[tail] = t
                    tail += 1
        if level[sink] < 0:
            return total
        at[:] = start[:-1]
        u, depth = source, 0
        while True:
            if u == sink:
                amount = room[path[0]]
                for d in range(1, depth):
                    amount = min(amount, room[path[d]])
                back_to = depth
                for d in range(depth - 1, -1, -1):
                    room[path[d]] -= amount
                    room[path[d] ^ 1] += amount
                    if room[path[d]] == 0:
                        back_to = d
                total += amount
                depth = back_to
                u = far[path[depth] ^ 1]
                continue
            while at[u] < start[u + 1]:
                a = arcs[at[u]]
                if room[a] > 0 and level[far[a]] == level[u] + 1:
                    break
                at[u] += 1
            if at[u] < start[u + 1]:
                path[depth] = arcs[at[u]]
                depth += 1
                u = far[path[depth - 1]]
            elif depth == 0:
                break
            else:
                depth -= 1
                u = far[path[depth] ^ 1]
                at[u] += 1
