"""An independent check of a cut tree, anyone's: no code is shared with the construction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.dinic import dinic_max_flow, paired_rows
from partwise.cuttree.tree import CutTree
from partwise.graph.unit_graph import UnitGraph

CUT_TOLERANCE = 1e-11
FLOW_BITS = 58


@dataclass(frozen=True)
class Verification:
    """What a check of a tree found.

    Attributes:
        edges_checked: tree edges whose cut and flow were computed anew.
        worst_cut_error: largest relative difference between a value and the capacity across.
        worst_flow_error: largest excess of a cut over the maximum flow between the edge's ends,
            as a fraction of the value.
        failures: one line for every edge that is no minimum cut.
    """

    edges_checked: int
    worst_cut_error: float
    worst_flow_error: float
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every checked edge is a minimum cut of the stated value."""
        return not self.failures


def verify_cut_tree(
    graph: UnitGraph, tree: CutTree, sample: int | None = None, seed: int = 0
) -> Verification:
    """Check that tree edges are minimum cuts: by their sides, and by a maximum flow (Dinic, 1970).

    Args:
        graph: the graph the tree is said to be of.
        tree: cut tree over `graph.n` units.
        sample: number of tree edges to check, drawn without replacement; all by default.
        seed: of the draw.

    Raises:
        ValueError: if the tree is no rooted tree over the graph's units, or `sample` is negative.
    """
    _check_shape(graph, tree)
    if sample is not None and sample < 0:
        raise ValueError(f"a sample holds at least 0 edges, got {sample}")
    chosen = np.flatnonzero(tree.parent >= 0)
    if sample is not None and sample < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, sample, replace=False))
    capacities = graph.capacities.astype(np.float64)
    bits = FLOW_BITS - math.frexp(float(capacities.sum()))[1]
    whole = np.rint(np.ldexp(capacities, bits)).astype(np.int64)
    rows = paired_rows(graph.n, graph.sources, graph.targets)
    slack = math.ldexp(graph.m + 1.0, -bits)
    failures, worst_cut, worst_flow = [], 0.0, 0.0
    for v in chosen:
        value, p = float(tree.value[v]), int(tree.parent[v])
        side = tree.side(int(v))
        across = math.fsum(capacities[side[graph.sources] != side[graph.targets]])
        flow = math.ldexp(dinic_max_flow(*rows, whole, int(v), p), -bits)
        cut_error = abs(across - value) / (across or 1.0)
        flow_error = max(0.0, abs(across - flow) - slack) / (across or 1.0)
        worst_cut, worst_flow = max(worst_cut, cut_error), max(worst_flow, flow_error)
        if not cut_error <= CUT_TOLERANCE or flow_error > CUT_TOLERANCE:
            failures.append(
                f"edge {v}-{p}: value {value}, capacity across {across}, maximum flow {flow}"
            )
    return Verification(len(chosen), worst_cut, worst_flow, tuple(failures))


def _check_shape(graph: UnitGraph, tree: CutTree) -> None:
    n, parent = graph.n, tree.parent
    if not len(parent) == len(tree.value) == len(tree.order) == n:
        raise ValueError(f"the graph has {n} units, the tree's arrays {len(parent)}")
    place = np.full(n, -1)
    place[tree.order] = np.arange(n)
    below: NDArray = tree.order[1:]
    if (place < 0).any() or parent[tree.order[0]] != -1 or (parent[below] < 0).any():
        raise ValueError("order must hold every unit once, first the one root (parent -1)")
    if (place[parent[below]] >= place[below]).any():
        raise ValueError("order must have parents before their children")
