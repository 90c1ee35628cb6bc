"""Build the cut tree of a unit graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from partwise.cuttree.arcs import (
    Arcs,
    Edges,
    Scale,
    edges_of,
    fill,
    measure,
    pair_up,
    scale_of,
)
from partwise.cuttree.faint import faint_graph, join_parts, parts_of
from partwise.cuttree.flow import ROUTED, Marks, make_marks
from partwise.cuttree.growth import Units, finish_graph, grow_core, solve_shelf, units_of
from partwise.cuttree.parallel import solve_in_threads
from partwise.cuttree.rooting import root_tree
from partwise.cuttree.routes import Routes, make_routes
from partwise.cuttree.split import DEPTH, make_shelf
from partwise.cuttree.tree import CutTree
from partwise.cuttree.values import SHARP_HI, resummed
from partwise.graph.unit_graph import UnitGraph


def cut_tree(graph: UnitGraph, threads: int = 1) -> CutTree:
    """Gomory-Hu cut tree of `graph`, exact and deterministic.

    Capacities are rounded to integers of 60 bits in total (integers below `2**53` that add up
    to less than `2**60` stay what they are); cuts are exactly minimal for those. Values are
    sums of the float capacities across the cuts, to 1 part in `1e12`.

    Of several minimum cuts one is taken, the same one for the same graph. Units in different
    components, isolated units and edges without capacity give tree edges of value 0.

    Args:
        graph: units and capacities.
        threads: how many threads may work on independent parts; the tree does not depend on it.

    Returns:
        The tree over all `graph.n` units, rooted at a unit of largest weighted degree.

    Raises:
        GraphError: for more than `2**31 - 1` edges, or capacities that are not finite or
            overflow when added up.
        ValueError: if `threads` is less than 1.

    >>> graph = UnitGraph.from_edges(4, [0, 1, 1, 2], [1, 2, 3, 3], [3.0, 1.0, 1.0, 2.0])
    >>> tree = cut_tree(graph)
    >>> tree.parent.tolist(), tree.value.tolist()
    ([1, -1, 1, 2], [3.0, inf, 2.0, 3.0])
    """
    if threads < 1:
        raise ValueError(f"a cut tree needs at least 1 thread, got threads={threads}")
    edges = edges_of(graph)
    scale = scale_of(edges.capacities)
    start, degree, rest, is_whole = measure(graph.n, *edges, *scale.factors())
    units = units_of(degree, rest)
    grow(
        _arcs_of(edges, scale, start),
        lambda arcs: _paired(arcs, edges, scale, start),
        units,
        threads,
    )
    return rooted(edges, scale, units, is_whole)


def grow(
    arcs: Arcs,
    owned: Callable[[Arcs], Arcs],
    units: Units,
    threads: int,
    routes: Routes | None = None,
) -> None:
    """Find the ends and values of all tree edges.

    Args:
        arcs: the graph at rest; its `head` and `back` are only read.
        owned: arcs with `back` filled in, to be changed; called when that is first needed.
        units: in the order of degrees; receives the result.
        threads: for the graphs that split off.
        routes: of the last flows between the same units, to follow and to update.
    """
    n = len(units.order)
    used = int(arcs.last[n - 1])
    marks, shelf = _marks_of(n, len(arcs.head), routes or _no_routes()), make_shelf()
    order = units.order
    arcs, shelf, place, last, used = grow_core(arcs, marks, shelf, units, order, 0, n, used, True)
    if place < n:
        arcs, shelf, _, last, _ = grow_core(
            owned(arcs), marks, shelf, units, order, place, last, used, False
        )
    finish_graph(marks, units, order[0], last)
    marks.tally[ROUTED] = 0  # vertices of the graphs that split off are numbered anew
    if threads > 1 and shelf.top[DEPTH] > 1:
        solve_in_threads(shelf, units, threads)
    else:
        solve_shelf(arcs, marks, shelf, units)


def rooted(edges: Edges, scale: Scale, units: Units, is_whole: bool) -> CutTree:
    """The tree that `units` describe, with float values."""
    if not is_whole:
        _join_faintly(edges, scale, units)
    parent, edge, order = root_tree(units.ends, units.order)
    if is_whole:
        value = scale.to_float(units.flow[edge], np.zeros(len(parent), np.int64))
    elif (parent[order[1:]] == order[0]).all() and units.degree.min() >= SHARP_HI:
        value = scale.to_float(units.degree, units.rest)
    else:
        value = resummed(edges, parent, order)
    value[order[0]] = np.inf
    return CutTree(parent, value, order)


def _join_faintly(edges: Edges, scale: Scale, units: Units) -> None:
    if np.count_nonzero(units.flow == 0) > 1:
        part = parts_of(units)
        faint = faint_graph(edges, scale, part)
        if faint is not None:
            join_parts(units, part, cut_tree(faint))


def _arcs_of(edges: Edges, scale: Scale, start: np.ndarray) -> Arcs:
    """Arcs of a graph without `back`, with some space for vertices that stand for many."""
    n, used = len(start) - 1, int(start[-1])
    space = used + used // 8 + 64
    first, last = np.zeros(2 * n, np.int64), np.zeros(2 * n, np.int64)
    first[:n], last[:n] = start[:-1], start[1:]
    head, room = np.empty(space, np.uint32), np.empty(space, np.int64)
    f1, f2, _ = scale.factors()
    fill(start, *edges, f1, f2, head, room)
    return Arcs(first, last, head, room, np.empty(0, np.uint32))


def _paired(arcs: Arcs, edges: Edges, scale: Scale, start: np.ndarray) -> Arcs:
    back = np.empty(len(arcs.head), np.uint32)
    f1, f2, _ = scale.factors()
    pair_up(start, *edges, f1, f2, back)
    return arcs._replace(back=back)


@cache
def _no_routes() -> Routes:
    return make_routes(0, 0)


def _marks_of(n: int, arcs: int, routes: Routes) -> Marks:
    marks = make_marks(2 * n, min(arcs, 16 * n + 1024), routes)
    marks.name[:n] = np.arange(n)
    marks.tally[ROUTED] = len(routes.size) > 0
    return marks
