# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Questions to a cut tree, each answered in near-linear time."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def subtree_sizes(parent, order):
    """(n,) number of units in every unit's subtree."""
    size = np.ones(len(parent), np.int64)
    for i in range(len(order) - 1, 0, -1):
        size[parent[order[i]]] += size[order[i]]
    return size


@njit(cache=True, nogil=True)
def depths(parent, order):
    """(n,) edges between every unit and the root."""
    depth = np.zeros(len(parent), np.int64)
    for i in range(1, len(order)):
        depth[order[i]] = depth[parent[order[i]]] + 1
    return depth


@njit(cache=True, nogil=True)
def entries(parent, order, size):
    """(n,) place of every unit in a depth-first walk: a subtree is a run of places."""
    entry = np.zeros(len(parent), np.int64)
    free = np.zeros(len(parent), np.int64)
    free[order[0]] = 1
    for i in range(1, len(order)):
        v = order[i]
        p = parent[v]
        entry[v] = free[p]
        free[p] += size[v]
        free[v] = entry[v] + 1
    return entry
