"""From a cut tree to modules: split where Newman's Q gains, merge where it hardly loses.

The tree is cut greedily along its own edges, so a split is only ever made along a minimum cut.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from partwise.cuttree import CutTree
from partwise.graph.unit_graph import UnitGraph


def split_along_tree(
    graph: UnitGraph, tree: CutTree, max_modules: int = 16, min_units: int = 3
) -> NDArray[np.int64]:
    """Greedy split of `graph` along edges of `tree`, by the gain in Newman's Q.

    Args:
        graph: the true capacities, whose Q decides.
        tree: cut tree over the same units, usually of inflated capacities.
        max_modules: at most this many pieces.
        min_units: no piece is smaller than this.

    Returns:
        (n,) labels `0..k-1`.
    """
    labels, _ = _greedy_split(
        tree.parent.astype(np.int64),
        tree.order.astype(np.int64),
        graph.sources,
        graph.targets,
        graph.capacities.astype(np.float64),
        graph.degrees(),
        max_modules,
        min_units,
    )
    return labels


def module_masses(graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k, k) symmetric share of twice the total capacity that joins each pair of modules.

    Sums to 1; row sums are the modules' shares of volume.
    """
    k = int(labels.max()) + 1
    key = labels[graph.sources] * k + labels[graph.targets]
    mass = np.bincount(key, graph.capacities, k * k).reshape(k, k).astype(np.float64)
    mass = mass + mass.T
    total = mass.sum()
    return mass / total if total else mass


def newman_q(graph: UnitGraph, labels: NDArray[np.int64]) -> float:
    """Newman's modularity of a partition under the graph's capacities; 0 for one module.

    Q = sum over modules of (share of capacity inside - squared share of volume);
    Newman and Girvan (2004), weighted form of Newman (2004).
    """
    mass = module_masses(graph, labels)
    return float(np.trace(mass) - (mass.sum(1) ** 2).sum())


def merge_order(mass: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Agglomeration of modules, each time the pair whose merger costs the least Q.

    Args:
        mass: (k, k) from `module_masses`.

    Returns:
        k - 1 triples (a, b, cost in Q); a merger's result has id k, k + 1, ... as in scipy's
        linkage matrices. A negative cost is a gain.
    """
    k = len(mass)
    mass, ids, merges = mass.copy(), list(range(k)), []
    while len(ids) > 1:
        volume = mass.sum(1)
        cost = 2 * (np.outer(volume, volume) - mass)
        cost[np.tril_indices(len(ids))] = np.inf
        a, b = np.unravel_index(int(cost.argmin()), cost.shape)
        merges.append((ids[a], ids[b], float(cost[a, b])))
        mass[a] += mass[b]
        mass[:, a] += mass[:, b]
        mass = np.delete(np.delete(mass, b, 0), b, 1)
        ids[a] = k + len(merges) - 1
        del ids[b]
    return merges


@njit(cache=True)
def _lowest_common_ancestors(parent, order, sources, targets):
    """(m,) lowest common ancestor of every edge's ends, by heavy paths (O(log n) each)."""
    n = len(parent)
    size, depth = np.ones(n, np.int64), np.zeros(n, np.int64)
    heavy, head = np.full(n, -1, np.int64), np.arange(n)
    for i in range(n - 1, 0, -1):
        size[parent[order[i]]] += size[order[i]]
    for i in range(1, n):
        v, p = order[i], parent[order[i]]
        depth[v] = depth[p] + 1
        if heavy[p] < 0 or size[v] > size[heavy[p]]:
            heavy[p] = v
    for i in range(1, n):
        v = order[i]
        if heavy[parent[v]] == v:
            head[v] = head[parent[v]]
    meet = np.empty(len(sources), np.int64)
    for e in range(len(sources)):
        u, v = np.int64(sources[e]), np.int64(targets[e])
        while head[u] != head[v]:
            if depth[head[u]] < depth[head[v]]:
                v = parent[head[v]]
            else:
                u = parent[head[u]]
        meet[e] = u if depth[u] < depth[v] else v
    return meet


@njit(cache=True)
def _greedy_split(parent, order, sources, targets, capacities, degrees, max_modules, min_units):
    n = len(parent)
    total = degrees.sum()
    labels, removed = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    gains = np.zeros(max_modules)
    if total <= 0:
        return labels, gains
    meet = _lowest_common_ancestors(parent, order, sources, targets)
    for k in range(1, max_modules):
        best, gain = _best_split(
            parent, order, sources, targets, capacities, degrees, meet, labels, removed, min_units
        )
        if best < 0:
            break
        gains[k] = gain
        removed[best] = True
        labels[best] = k
        for i in range(1, n):
            v = order[i]
            if not removed[v] and labels[parent[v]] == k:
                labels[v] = k
    return labels, gains


@njit(cache=True)
def _best_split(
    parent, order, sources, targets, capacities, degrees, meet, labels, removed, min_units
):
    """Tree edge (by its lower unit) whose removal gains most Q, and the gain; -1 if none does."""
    n = len(parent)
    total = degrees.sum()
    cut, volume, size = np.zeros(n), degrees.copy(), np.ones(n, np.int64)
    for e in range(len(sources)):
        u, v = sources[e], targets[e]
        if labels[u] == labels[v]:
            cut[u] += capacities[e]
            cut[v] += capacities[e]
            cut[meet[e]] -= 2 * capacities[e]
    for i in range(n - 1, 0, -1):
        v = order[i]
        if not removed[v]:
            p = parent[v]
            cut[p] += cut[v]
            volume[p] += volume[v]
            size[p] += size[v]
    piece_root = np.zeros(n, np.int64)
    piece_root[order[0]] = order[0]
    best, best_gain = -1, 1e-9
    for i in range(1, n):
        v = order[i]
        piece_root[v] = v if removed[v] else piece_root[parent[v]]
        root = piece_root[v]
        if root == v or size[v] < min_units or size[root] - size[v] < min_units:
            continue
        rest = volume[root] - volume[v]
        gain = 2 * (volume[v] * rest / total - cut[v]) / total
        if gain > best_gain:
            best, best_gain = v, gain
    return best, best_gain
