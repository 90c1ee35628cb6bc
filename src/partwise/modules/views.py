"""How trees see a graph: its capacities inflated, expanded, and without those that say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from partwise.graph.unit_graph import UnitGraph

EXPANDED_INFLATION = 4.0
MAX_EXPANDED = 2048  # units; expansion is dense


def views(
    graph: UnitGraph, inflations: Sequence[float], expand: bool
) -> list[tuple[UnitGraph, float]]:
    """The capacities, and their powers, that trees are built for; with `expand`, others too."""
    seen = [(graph, inflation) for inflation in inflations]
    if expand and seen and graph.n <= MAX_EXPANDED and graph.capacities.any():
        seen.append((expanded(graph), EXPANDED_INFLATION))
    return seen


def expanded(graph: UnitGraph) -> UnitGraph:
    """The same edges, with the flow of three-step walks between their ends as capacities.

    Normalised by degree, as expansion in Markov clustering (van Dongen, 2000); three steps lead
    back to a unit's next layer, so an edge is wide where the neighbours of its ends are joined
    too. This shows modules that are joined by few, not by weak, edges.
    """
    adjacency = np.zeros((graph.n, graph.n))
    adjacency[graph.sources, graph.targets] = graph.capacities
    adjacency += adjacency.T
    scale = 1 / np.sqrt(np.maximum(adjacency.sum(1), 1e-300))
    step = scale[:, None] * adjacency * scale
    walks = step @ step @ step
    return graph.with_capacities(walks[graph.sources, graph.targets])


def weighty(graph: UnitGraph, least: float = 0.1) -> UnitGraph:
    """`graph` without edges that weigh next to nothing at either end.

    After inflation most edges are such; without them a cut tree takes half the time or less. No
    unit loses more than `least` of its degree.

    Args:
        graph: inflated capacities.
        least: edges stay that weigh at least this share of the mean edge at one of their ends.
    """
    edges_at = np.bincount(graph.sources, minlength=graph.n)
    edges_at += np.bincount(graph.targets, minlength=graph.n)
    mean = graph.degrees() / np.maximum(edges_at, 1)
    keep = graph.capacities >= least * np.minimum(mean[graph.sources], mean[graph.targets])
    if keep.all():
        return graph
    sources, targets = graph.sources[keep], graph.targets[keep]
    return UnitGraph(graph.n, sources, targets, graph.capacities[keep], graph.groups)
