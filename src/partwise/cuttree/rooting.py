# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""From tree edges to a rooted tree, and the second limb of every cut's value."""

from __future__ import annotations

import numpy as np

from partwise.compiled import compiled


@compiled()
def root_tree(ends, order):
    """Root the tree at `order[0]`.

    Args:
        ends: (n, 2) ends of the tree edge every unit but the root stands for.
        order: (n,) units; the first becomes the root.

    Returns:
        parent (n,), the unit whose edge leads to the parent (n,), and all units with
        parents before children (n,).
    """
    n = len(ends)
    start = np.zeros(n + 2, np.int64)
    for i in range(1, n):
        u = order[i]
        start[ends[u, 0] + 2] += 1
        start[ends[u, 1] + 2] += 1
    for u in range(n):
        start[u + 2] += start[u + 1]
    incident = np.empty(2 * n, np.int64)
    for i in range(1, n):
        u = order[i]
        for k in range(2):
            end = ends[u, k]
            incident[start[end + 1]] = u
            start[end + 1] += 1
    parent = np.full(n, -1, np.int64)
    edge = np.full(n, -1, np.int64)
    walk = np.empty(n, np.int64)
    walk[0] = order[0]
    size = 1
    for k in range(n):
        u = walk[k]
        for j in range(start[u], start[u + 1]):
            e = incident[j]
            if e != edge[u]:
                v = ends[e, 0] + ends[e, 1] - u
                parent[v], edge[v], walk[size] = u, e, v
                size += 1
    return parent, edge, walk


@compiled()
def chains(parent, walk):
    """Heavy paths: depth of every unit and the top of the path it lies on."""
    n = len(parent)
    size = np.ones(n, np.int64)
    for i in range(n - 1, 0, -1):
        size[parent[walk[i]]] += size[walk[i]]
    heavy = np.full(n, -1, np.int64)
    depth = np.zeros(n, np.int64)
    for i in range(1, n):
        u = walk[i]
        p = parent[u]
        depth[u] = depth[p] + 1
        if heavy[p] < 0 or size[u] > size[heavy[p]]:
            heavy[p] = u
    top = np.arange(n)
    for i in range(1, n):
        u = walk[i]
        if heavy[parent[u]] == u:
            top[u] = top[parent[u]]
    return depth, top


@compiled()
def common_ancestor(parent, depth, top, u, v):
    """Lowest common ancestor, in a logarithmic number of jumps."""
    while top[u] != top[v]:
        if depth[top[u]] < depth[top[v]]:
            v = parent[top[v]]
        else:
            u = parent[top[u]]
    return u if depth[u] < depth[v] else v


@compiled()
def _lift_to_inner(parent, inner, u):
    return u if inner[u] else parent[u]


@compiled()
def crossing_limbs(parent, walk, sources, targets, capacities, f1, f2, f3):
    """(n,) sums of both limbs over the graph edges that cross every unit's tree edge.

    Every graph edge counts at both ends and, taken twice, against their common ancestor; sums
    over subtrees are then sums over crossing edges. Integers, so the differences lose nothing.
    Leaves are replaced by their parents before the search for the ancestor.
    """
    n = len(parent)
    inner = np.zeros(n, np.bool_)
    inner[walk[0]] = True
    for i in range(1, n):
        inner[parent[walk[i]]] = True
    is_star = inner.sum() == 1
    depth, top = chains(parent, walk)
    hi_cut, lo_cut = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for e in range(len(capacities)):
        if capacities[e] == 0:
            continue
        u, v = np.int64(sources[e]), np.int64(targets[e])
        x = np.float64(capacities[e]) * f1 * f2
        hi = np.int64(np.rint(x))
        lo = np.int64(np.rint((x - np.rint(x)) * f3))
        hi_cut[u] += hi
        hi_cut[v] += hi
        lo_cut[u] += lo
        lo_cut[v] += lo
        if not is_star:
            u, v = _lift_to_inner(parent, inner, u), _lift_to_inner(parent, inner, v)
            if u != v:
                u = common_ancestor(parent, depth, top, u, v)
            hi_cut[u] -= 2 * hi
            lo_cut[u] -= 2 * lo
    if not is_star:
        for i in range(n - 1, 0, -1):
            u = walk[i]
            hi_cut[parent[u]] += hi_cut[u]
            lo_cut[parent[u]] += lo_cut[u]
    return hi_cut, lo_cut


@compiled()
def subtree_sizes(parent, order):
    """(n,) number of units in every unit's subtree."""
    size = np.ones(len(parent), np.int64)
    for i in range(len(order) - 1, 0, -1):
        size[parent[order[i]]] += size[order[i]]
    return size


@compiled()
def depths(parent, order):
    """(n,) edges between every unit and the root."""
    depth = np.zeros(len(parent), np.int64)
    for i in range(1, len(order)):
        depth[order[i]] = depth[parent[order[i]]] + 1
    return depth


@compiled()
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
