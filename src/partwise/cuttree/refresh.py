"""Warm refresh: the exact cut tree of new capacities on edges seen before."""

from __future__ import annotations

import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.arcs import Arcs, edges_of, measure_all, pair_all, refill, scale_of
from partwise.cuttree.build import grow, rooted
from partwise.cuttree.growth import units_of
from partwise.cuttree.tree import CutTree
from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph


class Topology(NamedTuple):
    """Rows of a graph's edges, whatever their capacities, and working copies.

    Attributes:
        start: (n + 1,) first arc of every unit.
        head, back: (2 m,) as in `Arcs`, never written again.
        arcs: arrays that the next build uses up.
    """

    start: NDArray[np.int64]
    head: NDArray[np.uint32]
    back: NDArray[np.uint32]
    arcs: Arcs


_TOPOLOGY: weakref.WeakKeyDictionary[CutTree, tuple[NDArray, NDArray, Topology]]
_TOPOLOGY = weakref.WeakKeyDictionary()


def refresh_cut_tree(graph: UnitGraph, previous: CutTree) -> CutTree:
    """Exact cut tree of `graph`, at less cost when `previous` was of the same edges.

    The first refresh of a tree lays the rows out and keeps them with the tree it returns (about
    48 bytes per edge); from the second on only capacities are rewritten. Chain the calls:
    `tree = refresh_cut_tree(graph, tree)`; one call at a time, since the rows are shared. The
    result is that of `cut_tree(graph)`, up to ties.

    Args:
        graph: the units of `previous` with new capacities, best from `with_capacities`.
        previous: tree to refresh; it stays valid.

    Raises:
        GraphError: if the number of units differs, or as `cut_tree`.
    """
    if previous.n != graph.n:
        raise GraphError(
            f"the previous tree has {previous.n} units and the graph {graph.n}; "
            "build a new tree with cut_tree(graph)"
        )
    topology = _topology_of(graph, previous)
    edges = edges_of(graph)
    scale = scale_of(edges.capacities)
    f1, f2, _ = scale.factors()
    arcs, n = topology.arcs, graph.n
    degree, is_whole = refill(topology.start, *edges, f1, f2, arcs.room)
    arcs.head[: len(topology.head)] = topology.head
    arcs.first[:n], arcs.last[:n] = topology.start[:-1], topology.start[1:]
    units = units_of(degree)

    def pair(rest: Arcs) -> Arcs:
        arcs.back[: len(topology.back)] = topology.back
        return rest._replace(back=arcs.back)

    grow(arcs._replace(back=np.empty(0, np.uint32)), pair, units, threads=1)
    tree = rooted(edges, scale, units, is_whole)
    _TOPOLOGY[tree] = (graph.sources, graph.targets, topology)
    return tree


def _topology_of(graph: UnitGraph, previous: CutTree) -> Topology:
    sources, targets, topology = _TOPOLOGY.get(previous, (None, None, None))
    if topology is not None and sources is graph.sources and targets is graph.targets:
        return topology
    edges = edges_of(graph)
    start = measure_all(graph.n, edges.sources, edges.targets)
    head, back = np.empty(2 * graph.m, np.uint32), np.empty(2 * graph.m, np.uint32)
    pair_all(start, edges.sources, edges.targets, head, back)
    space = 2 * graph.m + graph.m // 4 + 64
    rows = np.zeros((2, 2 * graph.n), np.int64)
    arcs = Arcs(
        rows[0],
        rows[1],
        np.empty(space, np.uint32),
        np.empty(space, np.int64),
        np.empty(space, np.uint32),
    )
    return Topology(start, head, back, arcs)
