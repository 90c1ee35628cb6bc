"""The graphs of `benchmarks.cuttree`; whole capacities (|w| in units of 2**-10) unless said."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from partwise.graph.unit_graph import UnitGraph

SIZES_I = (64, 32, 32, 10)
SIZES_II = (256, 128, 128, 10)
SIZES_III = (784, 256, 256, 10)
QUANTUM = 2.0**-10


def layered(sizes: tuple[int, ...], seed: int, modules: int = 1, power: float = 1) -> UnitGraph:
    """MLP with weights |N(0, 1)|; edges between modules are weakened to 1%."""
    rng = np.random.default_rng(seed)
    start = np.cumsum([0, *sizes])
    u = np.concatenate([np.repeat(np.arange(a, b), c) for a, b, c in _layers(sizes, start)])
    v = np.concatenate([np.tile(np.arange(b, b + c), b - a) for a, b, c in _layers(sizes, start)])
    module = np.concatenate([np.arange(k) * modules // k for k in sizes])
    weights = np.abs(rng.standard_normal(len(u)))
    weights[module[u] != module[v]] *= 0.01
    return UnitGraph.from_edges(sum(sizes), u, v, whole(weights**power))


def _layers(sizes: tuple[int, ...], start: np.ndarray) -> list[tuple[int, int, int]]:
    return [(start[i], start[i] + a, b) for i, (a, b) in enumerate(pairwise(sizes))]


def whole(weights: np.ndarray) -> np.ndarray:
    return np.rint(weights / QUANTUM)


def pruned(graph: UnitGraph, frac: float) -> UnitGraph:
    kept = graph.capacities > np.quantile(graph.capacities, frac)
    return UnitGraph.from_edges(
        graph.n, graph.sources[kept], graph.targets[kept], graph.capacities[kept]
    )


def planted(labels: np.ndarray, probability: np.ndarray, m: int, seed: int) -> UnitGraph:
    """`m` distinct edges; a pair with k levels of label in common is kept with `probability[k]`."""
    rng = np.random.default_rng(seed)
    n, keys = len(labels), np.zeros(0, np.int64)
    while len(keys) < m:
        u, v = np.sort(rng.integers(0, n, (2, 8 * m)), axis=0)
        shared = np.cumprod(labels[u] == labels[v], axis=1).sum(1)
        kept = (u != v) & (rng.random(len(u)) < probability[shared])
        keys = np.unique(np.concatenate([keys, u[kept] * n + v[kept]]))
    keys = np.sort(rng.choice(keys, m, replace=False))
    return UnitGraph.from_edges(n, keys // n, keys % n, whole(np.abs(rng.standard_normal(m))))


def sparse_planted() -> UnitGraph:
    labels = np.repeat(np.arange(10), 500)[:, None]
    return planted(labels, np.array([0.01, 1.0]), 50_000, 0)


def hierarchical() -> UnitGraph:
    unit = np.arange(4096)
    labels = np.column_stack([unit // 1024, unit // 256, unit // 64, unit // 16])
    return planted(labels, np.array([1e-4, 1e-3, 1e-2, 0.1, 1.0]), 12_600, 0)


def barabasi_albert(n: int = 5000, links: int = 5) -> UnitGraph:
    rng = np.random.default_rng(0)
    ends = list(range(links))
    rows = []
    for u in range(links, n):
        chosen = {ends[int(k)] for k in rng.integers(0, len(ends), 4 * links)}
        for v in sorted(chosen)[:links]:
            rows.append((v, u))
            ends += [v, u]
    u, v = np.array(rows).T
    return UnitGraph.from_edges(n, u, v, whole(np.abs(rng.standard_normal(len(u)))))


def dense(width: int) -> UnitGraph:
    """Four layers of `width` units with float32 weights |N(0, 1)|."""
    rng = np.random.default_rng(0)
    u = np.repeat(np.arange(3 * width, dtype=np.int32), width)
    v = np.tile(np.arange(width, dtype=np.int32), 3 * width)
    for layer in range(3):
        v[layer * width**2 : (layer + 1) * width**2] += (layer + 1) * width
    weights = rng.standard_normal(len(u), dtype=np.float32)
    return UnitGraph(4 * width, u, v, np.abs(weights, out=weights), ())


def gpt2(power: float = 1, seed: int = 0) -> UnitGraph:
    """GPT-2 small with weights N(0, 0.02): 768 channels, 144 heads, 36,864 neurons, no tokens.

    Its 85M weights fall on 28.4M pairs of units: a neuron reads from and writes to a channel,
    a head sums 64 channels each of Q, K, V and O.
    """
    rng = np.random.default_rng(seed)
    channels, heads, neurons = 768, 144, 36_864
    weights = np.empty((channels, heads + neurons), np.float32)
    for row in weights:
        head = np.abs(rng.standard_normal((heads, 256), dtype=np.float32)).sum(1)
        neuron = np.abs(rng.standard_normal((neurons, 2), dtype=np.float32)).sum(1)
        row[:] = 0.02 * np.concatenate([head, neuron])
    n, per_row = channels + heads + neurons, heads + neurons
    u = np.repeat(np.arange(channels, dtype=np.int32), per_row)
    v = np.tile(np.arange(channels, n, dtype=np.int32), channels)
    capacities = weights.reshape(-1) ** np.float32(power)
    return UnitGraph(n, u, v, capacities, ())


GRAPHS = {
    "i": lambda: layered(SIZES_I, 0),
    "ii": lambda: layered(SIZES_II, 0),
    "iii": lambda: layered(SIZES_III, 0),
    "iv": lambda: layered(SIZES_II, 0, modules=4),
    "v": sparse_planted,
    "iii_mod": lambda: layered(SIZES_III, 0, modules=4),
    "iii_p99": lambda: pruned(layered(SIZES_III, 0), 0.99),
    "iii_w6": lambda: layered(SIZES_III, 0, power=6),
    "hier4096": hierarchical,
    "ba5000": barabasi_albert,
    "gpt2": gpt2,
    "gpt2_p4": lambda: gpt2(power=4),
    "dense85m": lambda: dense(5325),
}
SWEEP = (129, 258, 577, 1290, 2236)
GRAPHS |= {f"dense{3 * width**2}": (lambda width=width: dense(width)) for width in SWEEP}
