# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Modules by likelihood: which capacities are typical inside modules is learned with the modules.

Newman's Q takes capacities at face value and expects them between any two units. Here only pairs
of layers that are joined count, each against what its own degrees let expect, and how much a
capacity (or its absence) says for "same module" is a table that is estimated: a stochastic block
model with labelled edges, one label per range of capacities (Heimlicher, Lelarge and Massoulié,
2012; labels learned as in Jog and Loh, 2015), maximised by classification EM (Celeux and Govaert,
1992) from spectral starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.compiled import compiled
from partwise.graph.unit_graph import UnitGraph

MODULES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
"""Numbers of modules that are tried."""

MAX_UNITS = 1024  # the tables are dense
POWERS = (0.0, 1.0, 2.0)
STARTS = 3
"""Partitions of each spectral map that are followed to the nearest likeliest one."""
CODE_LENGTH = 0.75
"""A unit's code among k modules costs this times ln k nats: in structureless networks the
likelihood of k modules exceeds that of one by 0.7 to 0.8 ln k per unit (two shapes, k to 12)."""


class Levels(NamedTuple):
    """A graph's capacities as a table of ranges.

    Attributes:
        level: (n, n) int16, symmetric; -1 where the layers of two units are not joined. For a pair
            of layers the first level is "no edge", the others are ranges of capacity as a multiple
            of what the degrees let expect: equally frequent ones, but for the largest, which says
            most and is split in half twice.
        ranges: number of ranges r; level (r + 1) p + i is range i of pair of layers p.
        pairs: number of pairs of layers.
    """

    level: NDArray[np.int16]
    ranges: int
    pairs: int


class Fit(NamedTuple):
    """A partition and its likelihood.

    Attributes:
        labels: (n,) modules 0 to k - 1.
        likelihood: log-likelihood gained over one module, in nats.
        saved: what is left of it once the code length of k labels is paid, in nats.
    """

    labels: NDArray[np.int64]
    likelihood: float
    saved: float


def likelihood_fits(graph: UnitGraph, seed: int = 0) -> list[Fit]:
    """The likeliest partition found for each number of modules in `MODULES`, in that order.

    Args:
        graph: at most `MAX_UNITS` units.
        seed: seed of k-means' centres.
    """
    levels, rng = levels_of(graph), np.random.default_rng(seed)
    tried = [k for k in MODULES if 4 * k <= graph.n] if levels.pairs else []
    maps = _embeddings(graph, max(tried) - 1) if tried else []
    fits = []
    for k in tried:
        begin = [
            _k_means(each[:, : k - 1], draws)
            for each in maps
            for draws in rng.random((STARTS, 3, k))
        ]
        fits.append(max((fitted(levels, labels, k) for labels in begin), key=_saved))
    return fits


def refitted(
    graph: UnitGraph, fits: Sequence[Fit], starts: Sequence[NDArray[np.int64]]
) -> list[Fit]:
    """`fits`, where another partition to start from leads further replaced by what it leads to."""
    levels, best = levels_of(graph), {len(np.unique(fit.labels)): fit for fit in fits}
    for labels in starts:
        k = int(labels.max()) + 1
        if k in best:
            best[k] = max(best[k], fitted(levels, labels, k), key=_saved)
    return list(best.values())


def _saved(fit: Fit) -> float:
    return fit.saved


def fitted(levels: Levels, labels: NDArray[np.int64], modules: int) -> Fit:
    """The nearest likeliest partition: learn the table, move units by it, until both rest."""
    labels = labels.astype(np.int64)
    gain = _fit(*levels, labels, modules)
    free = (levels.pairs + levels.ranges - 1) / 2
    paid = CODE_LENGTH * len(labels) * np.log(modules) + free
    return Fit(labels, gain, gain - paid)


def levels_of(graph: UnitGraph, most: int = 12) -> Levels:
    """Capacities as levels; at most `most` + 2 ranges, fewer where few edges are."""
    level = np.full((graph.n, graph.n), -1, np.int16)
    tables = layer_tables(graph)
    even = int(np.clip(graph.m // 80, 2, most))
    shares = np.r_[np.arange(1, even) / even, 1 - 1 / (2 * even), 1 - 1 / (4 * even)]
    ranges = len(shares) + 1
    for pair, (a, b, table) in enumerate(tables):
        ratio = _as_multiple(table)
        bounds = np.quantile(ratio[ratio > 0], shares)
        ids = pair * (ranges + 1) + np.where(ratio > 0, 1 + np.searchsorted(bounds, ratio), 0)
        level[a, b] = ids
        level[b, a] = ids.T
    np.fill_diagonal(level, -1)
    return Levels(level, ranges, len(tables))


def layer_tables(graph: UnitGraph) -> list[tuple[slice, slice, NDArray[np.float64]]]:
    """Capacities (a, b) between the units of every two layers that are joined, and those units."""
    adjacency = np.zeros((graph.n, graph.n))
    adjacency[graph.sources, graph.targets] = graph.capacities
    adjacency += adjacency.T
    group = graph.group_of_unit()
    pairs = np.unique(group[graph.sources] * len(graph.groups) + group[graph.targets])
    tables = []
    for a, b in zip(*np.divmod(pairs, len(graph.groups)), strict=True):
        rows = slice(graph.groups[a].start, graph.groups[a].stop)
        columns = slice(graph.groups[b].start, graph.groups[b].stop)
        tables.append((rows, columns, adjacency[rows, columns]))
    return tables


def _as_multiple(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entries as multiples of what row and column sums let expect (Barber, 2007)."""
    expected = np.outer(table.sum(1), table.sum(0)) / max(table.sum(), 1e-300)
    return np.divide(table, expected, out=np.zeros_like(table), where=expected > 0)


def _embeddings(graph: UnitGraph, dimensions: int) -> list[NDArray[np.float64]]:
    """(n, d) leading eigenvectors of capacities to several powers, less what is expected.

    Power 0 shows modules whose interfaces are thinned out, power 2 those whose are scaled down.
    """
    tables = layer_tables(graph)
    maps = []
    for power in POWERS if any((table == 0).any() for _, _, table in tables) else POWERS[1:]:
        excess = np.zeros((graph.n, graph.n))
        for a, b, table in tables:
            seen = np.where(table > 0, table**power, 0)
            rest = seen - np.outer(seen.sum(1), seen.sum(0)) / max(seen.sum(), 1e-300)
            rest /= max(rest.std(), 1e-300) * rest.size**0.25
            excess[a, b] = rest
            excess[b, a] = rest.T
        maps.append(np.linalg.eigh(excess)[1][:, ::-1][:, : max(dimensions, 1)].copy())
    return maps


@compiled()
def _k_means(points, draws, rounds=30):
    """(n,) labels of k-means, the best of `draws` (tries, k); centres as in k-means++."""
    n, k = len(points), draws.shape[1]
    best, answer = np.inf, np.zeros(n, np.int64)
    for trial in range(len(draws)):
        centres, labels, total = _spread_out(points, draws[trial]), np.zeros(n, np.int64), np.inf
        for _ in range(rounds):
            before, total = total, 0.0
            sums, count = np.zeros_like(centres), np.zeros(k)
            for v in range(n):
                least = np.inf
                for c in range(k):
                    distance = _distance(points, v, centres, c)
                    if distance < least:
                        least, labels[v] = distance, c
                total += least
                count[labels[v]] += 1
                for i in range(points.shape[1]):
                    sums[labels[v], i] += points[v, i]
            for c in range(k):
                if count[c] > 0:
                    centres[c] = sums[c] / count[c]
            if total >= before * (1 - 1e-6):
                break
        if total < best:
            best, answer = total, labels
    return answer


@compiled()
def _spread_out(points, draws):
    """(k, d) of the points, each drawn by its squared distance from those before."""
    n, k = len(points), len(draws)
    centres, near = np.empty((k, points.shape[1])), np.empty(n)
    centres[0] = points[int(draws[0] * n)]
    for v in range(n):
        near[v] = _distance(points, v, centres, 0)
    for c in range(1, k):
        pick = np.searchsorted(np.cumsum(near), draws[c] * near.sum())
        centres[c] = points[min(pick, n - 1)]
        for v in range(n):
            near[v] = min(near[v], _distance(points, v, centres, c))
    return centres


@compiled()
def _distance(points, v, centres, c):
    total = 0.0
    for i in range(points.shape[1]):
        total += (points[v, i] - centres[c, i]) ** 2
    return total


@compiled()
def _fit(level, ranges, pairs, labels, modules, rounds=12, min_units=3):
    """Classification EM in place of `labels`; returns the log-likelihood gained, in nats."""
    size = np.bincount(labels, minlength=modules)
    for _ in range(rounds):
        table, _ = _learn(level, ranges, pairs, labels)
        if _move(level, table, labels, size, min_units) == 0:
            break
    return _learn(level, ranges, pairs, labels)[1]


@compiled()
def _learn(level, ranges, pairs, labels):
    """Log odds of every level, inside against between modules, and the likelihood gained.

    How likely an edge is, inside and between, is a matter of the pair of layers, and says nothing
    where it is likelier between; how capacities are distributed over ranges, given an edge, is
    shared by all pairs.
    """
    counts = np.zeros((pairs, ranges + 1, 2))
    for u in range(len(labels)):
        for v in range(u):
            if level[u, v] >= 0:
                pair, own = divmod(level[u, v], ranges + 1)
                counts[pair, own, int(labels[u] == labels[v])] += 1
    odds, gained = np.zeros((pairs, ranges + 1)), 0.0
    shared = counts[:, 1:].sum(0) + 0.5
    for i in range(ranges):
        odds[:, 1 + i], gain = _log_odds(shared[i], shared.sum(0))
        gained += gain
    for pair in range(pairs):
        missing = counts[pair, 0] + 0.5
        edges = counts[pair, 1:].sum(0) + 0.5
        total = missing + edges
        if edges[1] * total[0] < edges[0] * total[1]:
            continue  # or a layer with its labels flipped would be as likely
        odds[pair, 0], gain = _log_odds(missing, total)
        edge_odds, more = _log_odds(edges, total)
        odds[pair, 1:] += edge_odds
        gained += gain + more
    return odds.ravel(), gained


@compiled()
def _log_odds(part, whole):
    """Of (between, inside) counts: the log odds of a part, and the nats that telling them saves."""
    between, inside = part[0] / whole[0], part[1] / whole[1]
    both = part.sum() / whole.sum()
    gain = part[0] * np.log(between / both) + part[1] * np.log(inside / both)
    return np.log(inside / between), gain


@compiled()
def _move(level, table, labels, size, min_units, sweeps=3):
    """Units move to where their log odds add up to most, `labels` in place; number of moves."""
    n, k = len(labels), len(size)
    pull = np.zeros((n, k))
    for u in range(n):
        for v in range(n):
            if level[u, v] >= 0:
                pull[u, labels[v]] += table[level[u, v]]
    moves = 0
    for _ in range(sweeps):
        before = moves
        for u in range(n):
            old, new = labels[u], np.argmax(pull[u])
            if new == old or size[old] <= min_units or pull[u, new] <= pull[u, old] + 1e-9:
                continue
            labels[u] = new
            size[old] -= 1
            size[new] += 1
            moves += 1
            for v in range(n):
                if level[u, v] >= 0:
                    pull[v, old] -= table[level[u, v]]
                    pull[v, new] += table[level[u, v]]
        if moves == before:
            break
    return moves
