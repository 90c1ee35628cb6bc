from collections.abc import Iterator
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.random import Generator

from partwise.cuttree import CutTree
from partwise.graph.unit_graph import UnitGraph


def random_graph(rng: Generator, most_units: int = 12) -> UnitGraph:
    n = int(rng.integers(1, most_units + 1))
    m = int(rng.integers(0, 3 * n + 1))
    u, v = rng.integers(0, n, m), rng.integers(0, n, m)
    draws = (
        lambda k: rng.integers(0, 4, k).astype(float),
        rng.random,
        lambda k: 2.0 ** rng.integers(0, 20, k),
        lambda k: rng.random(k) ** 8,
        np.ones,
        lambda k: rng.random(k).astype(np.float32),
    )
    c = draws[rng.integers(len(draws))](m)
    return UnitGraph.from_edges(n, u[u != v], v[u != v], c[u != v])


def layered(sizes: list[int], seed: int = 0, power: float = 1) -> UnitGraph:
    rng = np.random.default_rng(seed)
    start = np.cumsum([0, *sizes])
    blocks = [
        np.indices((a, b)).reshape(2, -1) + start[i : i + 2, None]
        for i, (a, b) in enumerate(pairwise(sizes))
    ]
    u, v = np.concatenate(blocks, axis=1)
    return UnitGraph.from_edges(sum(sizes), u, v, np.abs(rng.standard_normal(len(u))) ** power)


def as_networkx(graph: UnitGraph) -> nx.Graph:
    G = nx.Graph()
    G.add_nodes_from(range(graph.n))
    for u, v, c in zip(graph.sources, graph.targets, graph.capacities, strict=True):
        G.add_edge(int(u), int(v), capacity=float(c))
    return G


def cut_capacity(graph: UnitGraph, side: np.ndarray) -> float:
    crossing = side[graph.sources] != side[graph.targets]
    return float(graph.capacities[crossing].sum(dtype=np.float64))


def tree_edges(tree: CutTree) -> Iterator[tuple[int, int, float]]:
    for v in tree.order[1:]:
        yield int(v), int(tree.parent[v]), float(tree.value[v])


def assert_is_cut_tree(graph: UnitGraph, tree: CutTree) -> None:
    assert tree.parent[tree.root] == -1
    assert tree.value[tree.root] == np.inf
    assert sorted(tree.order) == list(range(graph.n))
    place = np.argsort(tree.order)
    G = as_networkx(graph)
    for v, p, value in tree_edges(tree):
        assert place[p] < place[v]
        side = tree.side(v)
        assert side[v]
        assert not side[p]
        assert np.isclose(cut_capacity(graph, side), value, rtol=1e-12, atol=0)
        assert np.isclose(nx.maximum_flow_value(G, v, p), value, rtol=1e-9, atol=1e-12)
