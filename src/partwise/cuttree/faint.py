"""Edges too faint for the fixed point still tell which components hang together.

Capacities below half of the last bit carry no integer flow, so that parts joined by nothing
else look disconnected. They are joined anew, by the cut tree of the parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.arcs import Edges, Scale
from partwise.cuttree.growth import Units
from partwise.cuttree.rooting import root_tree
from partwise.cuttree.tree import CutTree
from partwise.graph.unit_graph import UnitGraph


def faint_graph(edges: Edges, scale: Scale, part: NDArray[np.int64]) -> UnitGraph | None:
    """The parts as units, joined by the edges that rounding took away; None without any."""
    f1, f2, _ = scale.factors()
    values = edges.capacities.astype(np.float64)
    faint = (values > 0) & (values * f1 * f2 <= 0.5)
    a, b = part[edges.sources[faint]], part[edges.targets[faint]]
    apart = a != b
    if not apart.any():
        return None
    return UnitGraph.from_edges(int(part.max()) + 1, a[apart], b[apart], values[faint][apart])


def parts_of(units: Units) -> NDArray[np.int64]:
    """(n,) part of every unit: what is left together when tree edges of flow 0 are removed."""
    parent, edge, order = root_tree(units.ends, units.order)
    part = np.zeros(len(parent), np.int64)
    starts = units.flow[edge] == 0
    starts[order[0]] = True
    part[starts] = np.arange(np.count_nonzero(starts))
    for v in order[1:][~starts[order[1:]]]:
        part[v] = part[parent[v]]
    return part


def join_parts(units: Units, part: NDArray[np.int64], tree: CutTree) -> None:
    """Give the tree edges of flow 0 the ends that `tree`, over the parts, says."""
    spokes = np.flatnonzero(units.flow == 0)
    spokes = spokes[spokes != units.order[0]]
    member = np.zeros(tree.n, np.int64)
    member[part[::-1]] = np.arange(len(part))[::-1]
    below = tree.order[1:]
    units.ends[spokes, 0] = member[below]
    units.ends[spokes, 1] = member[tree.parent[below]]
