"""Cut trees to and from networkx and igraph; both are imported only when asked for."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.rooting import root_tree
from partwise.cuttree.tree import CutTree
from partwise.errors import GraphError, MissingExtraError


def to_networkx(tree: CutTree) -> Any:
    """`networkx.Graph` over units 0 to n - 1; the cut's capacity is the edge's `weight`.

    Raises:
        MissingExtraError: if networkx is not installed.
    """
    graph = _library("networkx").Graph()
    graph.add_nodes_from(range(tree.n))
    below = tree.order[1:]
    rows = zip(below.tolist(), tree.parent[below].tolist(), tree.value[below].tolist(), strict=True)
    graph.add_weighted_edges_from(rows)
    return graph


def from_networkx(graph: Any, weight: str = "weight") -> CutTree:
    """Cut tree from a `networkx` tree over nodes 0 to n - 1, such as `gomory_hu_tree` returns.

    Raises:
        GraphError: if the graph is no tree over nodes 0 to n - 1, or an edge has no `weight`.
    """
    n = graph.number_of_nodes()
    if set(graph.nodes) != set(range(n)):
        raise GraphError(f"a cut tree's nodes are 0 to {n - 1}; relabel the graph first")
    rows = list(graph.edges(data=weight))
    if any(value is None for _, _, value in rows):
        raise GraphError(f"an edge has no attribute {weight!r}; say which one holds the capacity")
    return _rooted(n, rows)


def to_igraph(tree: CutTree) -> Any:
    """`igraph.Graph` over units 0 to n - 1; the cut's capacity is the edge's `flow`.

    Raises:
        MissingExtraError: if igraph is not installed.
    """
    below = tree.order[1:]
    pairs = np.column_stack([below, tree.parent[below]]).tolist()
    graph = _library("igraph").Graph(n=tree.n, edges=pairs)
    graph.es["flow"] = tree.value[below].tolist()
    return graph


def from_igraph(graph: Any, weight: str = "flow") -> CutTree:
    """Cut tree from an `igraph` tree, such as `Graph.gomory_hu_tree` returns.

    Raises:
        GraphError: if the graph is no tree, or its edges have no attribute `weight`.
    """
    if graph.ecount() and weight not in graph.es.attributes():
        raise GraphError(f"edges have no attribute {weight!r}; say which one holds the capacity")
    values = graph.es[weight] if graph.ecount() else []
    rows = [(*pair, value) for pair, value in zip(graph.get_edgelist(), values, strict=True)]
    return _rooted(graph.vcount(), rows)


def _rooted(n: int, rows: list[tuple[int, int, float]]) -> CutTree:
    """Rooted at unit 0; every other unit stands for one edge, as `root_tree` wants it."""
    if n < 1 or len(rows) != n - 1:
        raise GraphError(f"a cut tree over {n} units has {n - 1} edges, got {len(rows)}")
    ends = np.zeros((n, 2), np.int64)
    value = np.zeros(n)
    for i, (u, v, capacity) in enumerate(rows, 1):
        ends[i], value[i] = (u, v), capacity
    _check_connected(n, ends)
    parent, edge, order = root_tree(ends, np.arange(n))
    values = value[edge]
    values[0] = np.inf
    return CutTree(parent, values, order)


def _check_connected(n: int, ends: NDArray[np.int64]) -> None:
    root = list(range(n))
    for u, v in ends[1:].tolist():
        while root[u] != u:
            u = root[u] = root[root[u]]
        while root[v] != v:
            v = root[v] = root[root[v]]
        if u == v:
            raise GraphError("the graph has a cycle or a self loop, so it is no tree")
        root[u] = v


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"{name} is not installed; run pip install 'partwise[bench]'"
        ) from error
