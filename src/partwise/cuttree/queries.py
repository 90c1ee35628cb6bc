# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Questions to a cut tree, each answered in near-linear time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partwise.compiled import compiled
from partwise.cuttree.rooting import chains, common_ancestor
from partwise.cuttree.tree import CutTree


@compiled()
def _find(root, u):
    while root[u] != u:
        root[u] = root[root[u]]
        u = root[u]
    return u


@compiled()
def _merges(parent, by_value):
    """Clusters (k, 2) joined by the tree edges of `by_value`, the new size, pairs decided."""
    n, k = len(parent), len(by_value)
    root, cluster, size = np.arange(n), np.arange(n), np.ones(n, np.int64)
    joined, sizes, pairs = np.empty((k, 2), np.int64), np.empty(k, np.int64), np.zeros(n, np.int64)
    for i in range(k):
        v = by_value[i]
        a, b = _find(root, v), _find(root, parent[v])
        pairs[v] = size[a] * size[b]
        joined[i, 0] = min(cluster[a], cluster[b])
        joined[i, 1] = max(cluster[a], cluster[b])
        if size[a] > size[b]:
            a, b = b, a
        root[a] = b
        size[b] += size[a]
        sizes[i] = size[b]
        cluster[b] = n + i
    return joined, sizes, pairs


@compiled()
def _bottlenecks(parent, by_value, value, units, out):
    n, k = len(parent), len(units)
    root, size = np.arange(n), np.zeros(n, np.int64)
    head, tail, after = np.full(n, -1), np.full(n, -1), np.full(k, -1)
    for i in range(k):
        u = units[i]
        size[u], head[u], tail[u] = 1, i, i
    for e in range(len(by_value)):
        v = by_value[e]
        a, b = _find(root, v), _find(root, parent[v])
        if size[a] > size[b]:
            a, b = b, a
        i = head[a]
        while i >= 0:
            j = head[b]
            while j >= 0:
                out[i, j] = value[v]
                out[j, i] = value[v]
                j = after[j]
            i = after[i]
        root[a] = b
        if head[a] >= 0:
            after[tail[b]] = head[a]
            tail[b] = tail[a]
            size[b] += size[a]


@compiled()
def _path_sums(parent, order, x, u, v):
    depth, top = chains(parent, order)
    below = np.zeros(len(parent))
    for i in range(1, len(order)):
        below[order[i]] = below[parent[order[i]]] + x[order[i]]
    sums = np.empty(len(u))
    for i in range(len(u)):
        meet = common_ancestor(parent, depth, top, u[i], v[i])
        sums[i] = below[u[i]] + below[v[i]] - 2 * below[meet]
    return sums


def single_linkage(tree: CutTree) -> NDArray[np.float64]:
    """(n - 1, 4) merges of the single-linkage hierarchy, strongest first.

    Each row holds two clusters, the minimum cut between their units, and the new size. Clusters
    below n are units, cluster n + i is what row i made: scipy's form, with capacities that
    fall instead of distances that rise.
    """
    by_value = _by_value(tree)
    joined, sizes, _ = _merges(tree.parent, by_value)
    return np.column_stack([joined, tree.value[by_value], sizes])


def bottlenecks(tree: CutTree, units: ArrayLike) -> NDArray[np.float64]:
    """(k, k) minimum cuts between all pairs of `units` (distinct ids); inf on the diagonal.

    Raises:
        ValueError: for an id that is out of range or given twice.
    """
    chosen = _checked(tree, units)
    if len(np.unique(chosen)) < len(chosen):
        raise ValueError("units must be distinct, got one of them twice")
    out = np.full((len(chosen), len(chosen)), np.inf)
    _bottlenecks(tree.parent, _by_value(tree), tree.value, chosen, out)
    return out


def path_sums(tree: CutTree, x: ArrayLike, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
    """(k,) sum of `x` over the tree edges between `u[i]` and `v[i]`.

    With `x` the derivative of a loss by each tree edge's value, the sum over the path between
    an edge's ends is the derivative by that graph edge's capacity.

    Args:
        tree: cut tree over n units.
        x: (n,) a number for every unit's tree edge; the root's is not used.
        u, v: (k,) unit ids.

    Raises:
        ValueError: for lengths that differ or an id out of range.
    """
    numbers = np.ascontiguousarray(x, np.float64)
    a, b = _checked(tree, u), _checked(tree, v)
    if numbers.shape != (tree.n,) or len(a) != len(b):
        raise ValueError(
            f"x needs {tree.n} numbers, u and v one length; got {numbers.shape}, {len(a)}, {len(b)}"
        )
    return _path_sums(tree.parent, tree.order, numbers, a, b)


def pairs_separated(tree: CutTree) -> NDArray[np.int64]:
    """(n,) pairs of units on different sides of every unit's tree edge; 0 at the root."""
    return tree.subtree_size * (tree.n - tree.subtree_size)


def pairs_decided(tree: CutTree) -> NDArray[np.int64]:
    """(n,) pairs whose minimum cut is every unit's tree edge; they add up to n (n - 1) / 2.

    Among equal edges on a path the later in single linkage decides.
    """
    return _merges(tree.parent, _by_value(tree))[2]


def _by_value(tree: CutTree) -> NDArray[np.int64]:
    """Units but the root, heaviest tree edge first, ties by place in `order`."""
    below = tree.order[1:]
    return below[np.argsort(-tree.value[below], kind="stable")]


def _checked(tree: CutTree, units: ArrayLike) -> NDArray[np.int64]:
    ids = np.asarray(units)
    if ids.size == 0:
        return np.zeros(0, np.int64)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"unit ids are a list of integers, got {ids.dtype} of shape {ids.shape}")
    bad = ids[(ids < 0) | (ids >= tree.n)]
    if len(bad):
        raise ValueError(f"unit {bad[0]} is not in the tree; units run from 0 to {tree.n - 1}")
    return ids.astype(np.int64)
