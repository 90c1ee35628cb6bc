"""Warm refresh: the exact cut tree of new capacities on edges seen before."""

from __future__ import annotations

import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.arcs import Arcs, edges_of, measure_all, pair_all, refill, scale_of
from partwise.cuttree.build import cut_tree, grow, rooted
from partwise.cuttree.growth import units_of
from partwise.cuttree.routes import Routes, make_routes
from partwise.cuttree.tree import CutTree
from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph


class Topology(NamedTuple):
    """Rows of a graph's edges.

    Attributes:
        start: (n + 1,) first arc of every unit.
        head, back: (2 m,) as in `Arcs`, never written again.
        edge: (2 m,) the edge every arc belongs to, never written again.
        room: (2 m,) the capacities of the last refresh.
        routes: of the last refresh's flows.
    """

    start: NDArray[np.int64]
    head: NDArray[np.uint32]
    back: NDArray[np.uint32]
    edge: NDArray[np.uint32]
    room: NDArray[np.int64]
    routes: Routes


MANY_SPLITS = 128
"""With one in so many tree edges non-trivial, flows that split dominate, and nothing is kept."""

_TOPOLOGY: weakref.WeakKeyDictionary[CutTree, tuple[NDArray, NDArray, Topology]]
_TOPOLOGY = weakref.WeakKeyDictionary()


def refresh_cut_tree(graph: UnitGraph, previous: CutTree) -> CutTree:
    """Exact cut tree of `graph`, at less cost when `previous` was of the same edges.

    The first refresh of a tree lays the rows out and keeps them with the tree it returns (up to 46
    bytes per edge); from the second on only capacities are rewritten, and flows start where the
    last ones went. Chain the calls: `tree = refresh_cut_tree(graph, tree)`; one call at a time,
    since the rows are shared. The result is that of `cut_tree(graph)`, up to ties.

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
    if previous.nontrivial_edges * MANY_SPLITS > graph.n:
        return cut_tree(graph)
    topology = _topology_of(graph, previous)
    edges = edges_of(graph)
    scale = scale_of(edges.capacities)
    degree, rest, is_whole = refill(
        topology.start, topology.edge, edges.capacities, *scale.factors(), topology.room
    )
    units = units_of(degree, rest)
    grow(_lent(topology), _owned, units, 1, topology.routes)
    tree = rooted(edges, scale, units, is_whole)
    _TOPOLOGY[tree] = (graph.sources, graph.targets, topology)
    return tree


def _lent(topology: Topology) -> Arcs:
    n = len(topology.start) - 1
    first, last = np.zeros(2 * n, np.int64), np.zeros(2 * n, np.int64)
    first[:n], last[:n] = topology.start[:-1], topology.start[1:]
    return Arcs(first, last, topology.head, topology.room, topology.back)


def _owned(lent: Arcs) -> Arcs:
    """Copies with space for vertices that stand for many."""
    space = len(lent.head) + len(lent.head) // 8 + 64
    head, back = np.empty(space, np.uint32), np.empty(space, np.uint32)
    room = np.empty(space, np.int64)
    for ours, theirs in ((head, lent.head), (back, lent.back), (room, lent.room)):
        ours[: len(theirs)] = theirs
    return lent._replace(head=head, room=room, back=back)


def _topology_of(graph: UnitGraph, previous: CutTree) -> Topology:
    sources, targets, topology = _TOPOLOGY.get(previous, (None, None, None))
    if topology is not None and sources is graph.sources and targets is graph.targets:
        return topology
    edges = edges_of(graph)
    start = measure_all(graph.n, edges.sources, edges.targets)
    head, back, edge = (np.empty(2 * graph.m, np.uint32) for _ in range(3))
    pair_all(start, edges.sources, edges.targets, head, back, edge)
    routes = make_routes(graph.n, graph.m // 2 + 2**18)
    return Topology(start, head, back, edge, np.empty(2 * graph.m, np.int64), routes)
