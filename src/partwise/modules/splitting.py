"""From cut trees to pieces: split along their edges, settle the units, merge what is not apart.

A tree is cut greedily along its own edges, so a split is only ever made along a minimum cut of
the capacities it was built on; `settled` then corrects single units by the true capacities, and
`split_inside` goes on with trees of what is inside the pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.cuttree import CutTree, cut_tree
from partwise.graph.unit_graph import UnitGraph
from partwise.modules.nest import merge_order, merged, module_masses, newman_q
from partwise.modules.views import weighty

SAME_Q = 1e-12
"""Partitions whose Q differs by less are as good as each other."""


def pieces_along(
    graph: UnitGraph, seen: UnitGraph, max_modules: int, neighbours: Neighbours
) -> tuple[NDArray[np.int64], CutTree]:
    """The settled pieces of a graph along a cut tree of `seen`, which has other capacities."""
    tree = cut_tree(weighty(seen))
    pieces = split_along_tree(graph, tree, max_modules)
    return settled(graph, pieces, neighbours=neighbours), tree


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


def split_inside(
    graph: UnitGraph,
    pieces: NDArray[np.int64],
    inflation: float,
    max_modules: int,
    neighbours: Neighbours,
    min_units: int = 3,
) -> NDArray[np.int64]:
    """Pieces split along a cut tree of what is inside them, for as long as Q rises.

    Two parts that a third one reads are closer to it than to each other, so that no edge of the
    whole graph's tree may part them; the tree of the piece that they are left in does.

    Args:
        graph: the true capacities, whose Q decides.
        pieces: (n,) where to start.
        inflation: power of the capacities that the trees are built on.
        max_modules: pieces are not split into more than this.
        neighbours: of `graph`.
        min_units: no part that is split off is smaller than this.
    """
    q = newman_q(graph, pieces)
    while True:
        inside = graph.keeping(pieces[graph.sources] == pieces[graph.targets])
        tree = cut_tree(weighty(inside.inflated(inflation)))
        parts = split_along_tree(graph, tree, max_modules, min_units)
        finer = settled(graph, _crossed(pieces, parts, min_units), min_units, neighbours=neighbours)
        finer_q = newman_q(graph, finer)
        if finer_q <= q + SAME_Q or finer.max() >= max_modules:
            return pieces
        pieces, q = finer, finer_q


def _crossed(
    pieces: NDArray[np.int64], parts: NDArray[np.int64], min_units: int
) -> NDArray[np.int64]:
    """`pieces` as `parts` cross them; what is smaller than `min_units` stays with the largest."""
    table = np.zeros((pieces.max() + 1, parts.max() + 1), np.int64)
    np.add.at(table, (pieces, parts), 1)
    into = np.where(table >= min_units, np.arange(table.shape[1]), table.argmax(1)[:, None])
    crossed: NDArray[np.int64] = pieces * table.shape[1] + into[pieces, parts]
    return crossed


def settled(
    graph: UnitGraph,
    labels: NDArray[np.int64],
    min_units: int = 3,
    rounds: int = 50,
    neighbours: Neighbours | None = None,
) -> NDArray[np.int64]:
    """`labels` after unit moves and mergers that gain Q, until neither does.

    An inflated tree sees the strongest weights only, and where weights are thinned out rather
    than scaled down those say little; its pieces are a start that a few sweeps of unit moves
    (Kernighan and Lin, 1970; Blondel et al., 2008) bring to the nearest optimum of Q.

    Args:
        graph: the true capacities.
        labels: (n,) where to start.
        min_units: no move shrinks a module below this.
        rounds: at most this many sweeps between mergers.
        neighbours: of `graph`, where they are known already.
    """
    neighbours = neighbours_of(graph) if neighbours is None else neighbours
    while True:
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        _move_units(*neighbours, labels, int(labels.max()) + 1, min_units, rounds)
        merges = merge_order(module_masses(graph, labels))
        gaining = next((i for i, merge in enumerate(merges) if merge[2] > 0), len(merges))
        if not gaining:
            return labels
        labels = merged(labels, merges[:gaining])


class Neighbours(NamedTuple):
    """A graph's adjacency by rows.

    Attributes:
        starts: (n + 1,) first entry of every unit.
        others: (2m,) the units at the other ends.
        capacities: (2m,) of the edges to them.
        degrees: (n,) weighted degree.
    """

    starts: NDArray[np.int64]
    others: NDArray[np.int32]
    capacities: NDArray[np.float64]
    degrees: NDArray[np.float64]


def neighbours_of(graph: UnitGraph) -> Neighbours:
    """Adjacency of `graph` by rows."""
    rows = _rows(graph.n, graph.sources, graph.targets, graph.capacities.astype(np.float64))
    return Neighbours(*rows)


@compiled()
def _rows(n, sources, targets, capacities):
    """Edges laid out at both of their ends, by counting."""
    starts, degrees = np.zeros(n + 1, np.int64), np.zeros(n)
    for e in range(len(sources)):
        starts[sources[e] + 1] += 1
        starts[targets[e] + 1] += 1
        degrees[sources[e]] += capacities[e]
        degrees[targets[e]] += capacities[e]
    starts = np.cumsum(starts)
    at = starts[:-1].copy()
    others, values = np.empty(2 * len(sources), np.int32), np.empty(2 * len(sources))
    for e in range(len(sources)):
        u, v = sources[e], targets[e]
        others[at[u]], values[at[u]] = v, capacities[e]
        others[at[v]], values[at[v]] = u, capacities[e]
        at[u] += 1
        at[v] += 1
    return starts, others, values, degrees


@compiled()
def _move_units(starts, others, capacities, degrees, labels, k, min_units, rounds):
    """Moves units, heaviest first, to the module where they gain Q; `labels` in place."""
    total = degrees.sum()
    volume, size = np.zeros(k), np.zeros(k, np.int64)
    for v in range(len(labels)):
        volume[labels[v]] += degrees[v]
        size[labels[v]] += 1
    order = np.argsort(-degrees, kind="mergesort")
    to = np.zeros(k)
    for _ in range(rounds):
        moved = False
        for v in order:
            own = labels[v]
            if size[own] <= min_units or degrees[v] <= 0:
                continue
            to[:] = 0
            for e in range(starts[v], starts[v + 1]):
                to[labels[others[e]]] += capacities[e]
            share = degrees[v] / total
            best, gain = own, to[own] - share * (volume[own] - degrees[v]) + 1e-9 * degrees[v]
            for b in range(k):
                if b != own and to[b] - share * volume[b] > gain:
                    best, gain = b, to[b] - share * volume[b]
            if best != own:
                labels[v], moved = best, True
                volume[own] -= degrees[v]
                volume[best] += degrees[v]
                size[own] -= 1
                size[best] += 1
        if not moved:
            return


@compiled()
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


@compiled()
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


@compiled()
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
