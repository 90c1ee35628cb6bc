"""Null models: networks with the same layers, weights and degrees, but no modules."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.typed import Dict
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.graph.unit_graph import UnitGraph

DENSE_SHARE = 0.9


def shuffled_graph(graph: UnitGraph, rng: np.random.Generator) -> UnitGraph:
    """A network drawn from the null model of `graph`.

    Within every pair of layers the capacities are dealt out anew over its edges; where a pair is
    sparse its edges are first rewired by double-edge swaps (Maslov and Sneppen, 2002), which
    keep each unit's number of edges. Then each unit's strength towards the other layer is
    restored by proportional fitting (Sinkhorn and Knopp, 1967), and the capacities themselves by
    rank, in turns, as surrogate time series keep spectrum and values (Schreiber and Schmitz, 1996).
    So layers, weight distribution and degrees stay, and only the arrangement, in which modules
    would live, is lost. Fitting alone evens out the largest capacities, and beside such shuffles
    heavy tails look like modules.
    """
    sources, targets = graph.sources.copy(), graph.targets.copy()
    capacities = graph.capacities.astype(np.float64)
    for edges in _layer_pairs(graph):
        if _density(graph, edges) < DENSE_SHARE:
            swaps = rng.integers(len(edges), size=(10 * len(edges), 2))
            _rewire(sources, targets, edges, graph.n, swaps)
        dealt = rng.permutation(capacities[edges])
        capacities[edges] = _refit(graph.n, sources[edges], targets[edges], dealt, graph, edges)
    return UnitGraph.from_edges(graph.n, sources, targets, capacities, graph.groups)


def _layer_pairs(graph: UnitGraph) -> list[NDArray[np.int64]]:
    """Edge ids, grouped by the pair of layers they join."""
    group = graph.group_of_unit()
    key = group[graph.sources] * len(graph.groups) + group[graph.targets]
    order = np.argsort(key, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(key[order])) + 1) if graph.m else []


def _density(graph: UnitGraph, edges: NDArray[np.int64]) -> float:
    group = graph.group_of_unit()
    a = len(graph.groups[group[graph.sources[edges[0]]]])
    b = len(graph.groups[group[graph.targets[edges[0]]]])
    same = group[graph.sources[edges[0]]] == group[graph.targets[edges[0]]]
    return len(edges) / (a * (a - 1) / 2 if same else a * b)


def _refit(
    n: int,
    sources: NDArray[np.int32],
    targets: NDArray[np.int32],
    dealt: NDArray[np.float64],
    graph: UnitGraph,
    edges: NDArray[np.int64],
    turns: int = 10,
) -> NDArray[np.float64]:
    """`dealt`, arranged so that both ends of every edge get their old strength back.

    Strengths are met to what the last fitting leaves, the values of `dealt` nearly.
    """
    want = _strengths(n, graph.sources[edges], graph.targets[edges], graph.capacities[edges])
    values = np.sort(dealt)
    for _ in range(turns):
        fitted = _fit_strengths(n, sources, targets, dealt, want, rounds=5)
        dealt = np.empty_like(fitted)
        dealt[np.argsort(fitted, kind="stable")] = values
    return _fit_strengths(n, sources, targets, dealt, want, rounds=20)


def _fit_strengths(
    n: int,
    sources: NDArray[np.int32],
    targets: NDArray[np.int32],
    dealt: NDArray[np.float64],
    want: NDArray[np.float64],
    rounds: int,
) -> NDArray[np.float64]:
    """`dealt` scaled by a factor of either end, for so many rounds of proportional fitting."""
    for _ in range(rounds):
        have = _strengths(n, sources, targets, dealt)
        factor = np.sqrt(np.divide(want, have, out=np.zeros(n), where=have > 0))
        dealt = dealt * factor[sources] * factor[targets]
    return dealt


def _strengths(
    n: int, sources: NDArray[np.int32], targets: NDArray[np.int32], c: NDArray[np.floating]
) -> NDArray[np.float64]:
    both = np.bincount(sources, c, n) + np.bincount(targets, c, n)
    return both.astype(np.float64)


@compiled()
def _rewire(sources, targets, edges, n, swaps):
    """Double-edge swaps in place, never making a loop or a parallel edge.

    The edges are kept in a dictionary: compiled sets can hang once entries were removed (numba
    issue 6543).
    """
    taken = Dict.empty(types.int64, types.boolean)
    for e in edges:
        taken[np.int64(sources[e]) * n + targets[e]] = True
    for s in range(len(swaps)):
        e, f = edges[swaps[s, 0]], edges[swaps[s, 1]]
        u, v, x, y = sources[e], targets[e], sources[f], targets[f]
        a, b = np.int64(min(u, y)) * n + max(u, y), np.int64(min(x, v)) * n + max(x, v)
        if u == y or x == v or a == b or a in taken or b in taken:
            continue
        del taken[np.int64(u) * n + v]
        del taken[np.int64(x) * n + y]
        taken[a] = taken[b] = True
        sources[e], targets[e] = min(u, y), max(u, y)
        sources[f], targets[f] = min(x, v), max(x, v)
