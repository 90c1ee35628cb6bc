"""A partition and the nest over it: its masses and Q, the order of merging, the splits to keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.graph.unit_graph import UnitGraph


def module_masses(graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k, k) symmetric share of twice the total capacity that joins each pair of modules.

    Sums to 1; row sums are the modules' shares of volume.
    """
    k = int(labels.max()) + 1
    mass: NDArray[np.float64] = _one_way_masses(
        graph.sources, graph.targets, graph.capacities, labels.astype(np.int64), np.zeros((k, k))
    )
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
    pairs, costs = _merge_order(np.ascontiguousarray(mass, np.float64))
    return [(a, b, cost) for (a, b), cost in zip(pairs.tolist(), costs.tolist(), strict=True)]


def separations(
    mass: NDArray[np.float64], merges: Sequence[tuple[int, int, float]]
) -> NDArray[np.float64]:
    """(k - 1,) how far apart the two modules of each merger are.

    1 where nothing joins them, 0 where as much joins them as their volumes let expect, so
    that it can be compared between modules of any size and number. It is the merger's cost in
    Q, as a share of what it would be with nothing between them.

    Args:
        mass: (k, k) from `module_masses`.
        merges: of `mass`, from `merge_order`.
    """
    volume, apart = mass.sum(1).tolist(), []
    for a, b, cost in merges:
        expected = 2 * volume[a] * volume[b]
        apart.append(cost / expected if expected else 0.0)
        volume.append(volume[a] + volume[b])
    return np.array(apart)


def merged(
    labels: NDArray[np.int64], merges: Sequence[tuple[int, int, float]]
) -> NDArray[np.int64]:
    """(n,) `labels` after these mergers, numbered anew from 0."""
    k = int(labels.max()) + 1
    now = np.arange(k)
    for step, (a, b, _) in enumerate(merges):
        now[(now == a) | (now == b)] = k + step
    return np.unique(now, return_inverse=True)[1][labels].astype(np.int64)


def splits_kept(
    mass: NDArray[np.float64],
    merges: Sequence[tuple[int, int, float]],
    min_gain: float,
    min_contrast: float,
) -> int:
    """How many splits of a nest are kept, counted from the coarsest (the last merger).

    Args:
        mass: (k, k) of the finest partition.
        merges: its k - 1 mergers.
        min_gain: Q that a split must earn.
        min_contrast: least separation, as a share of the largest among splits that earn enough.
    """
    apart = separations(mass, merges)
    earns = np.array([cost > min_gain for _, _, cost in merges], bool)
    if not earns.any():
        return 0
    kept = earns & (apart >= min_contrast * apart[earns].max())
    return int(np.cumprod(kept[::-1]).sum())


def by_volume(graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """`labels` renumbered 0, 1, ... by falling module volume; ties by the first unit."""
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    volume = np.bincount(labels, graph.degrees())
    if volume.sum() > 0:  # so that a tie is not decided by the last bit
        volume = np.round(volume / volume.sum(), 9)
    rank = np.empty(len(volume), np.int64)
    rank[np.lexsort((first, -volume))] = np.arange(len(volume))
    return rank[labels]


@compiled()
def _one_way_masses(sources, targets, capacities, labels, mass):
    """`mass` (k, k) and the capacity of each edge, at its source's and its target's module."""
    for e in range(len(sources)):
        mass[labels[sources[e]], labels[targets[e]]] += capacities[e]
    return mass


@compiled()
def _merge_order(mass):
    """(k - 1, 2) ids and (k - 1,) costs of the mergers of `merge_order`."""
    k = len(mass)
    mass, ids, alive = mass.copy(), np.arange(k), np.arange(k)
    pairs, costs = np.zeros((max(k - 1, 0), 2), np.int64), np.zeros(max(k - 1, 0))
    volume = mass.sum(1)
    for step in range(k - 1):
        left, best, a, b = k - step, np.inf, 0, 1
        for i in range(left):
            u = alive[i]
            for j in range(i + 1, left):
                cost = 2 * (volume[u] * volume[alive[j]] - mass[u, alive[j]])
                if cost < best:
                    best, a, b = cost, i, j
        u, v = alive[a], alive[b]
        pairs[step, 0], pairs[step, 1], costs[step] = ids[u], ids[v], best
        mass[u] += mass[v]
        mass[:, u] += mass[:, v]
        volume[u] += volume[v]
        ids[u] = k + step
        alive[b : left - 1] = alive[b + 1 : left].copy()
    return pairs, costs
