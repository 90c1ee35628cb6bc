"""Networks with planted blocks, for testing detectors: structure that is known, not learned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from partwise.graph import UnitGraph, UnitGroup


def planted_blocks(
    layers: Sequence[int],
    modules: int,
    cross: float,
    seed: int = 0,
    sparse: bool = False,
) -> tuple[UnitGraph, NDArray[np.int64]]:
    """A layered graph with half-normal capacities and `modules` equal blocks in every layer.

    Args:
        layers: units per layer.
        modules: number of planted modules.
        cross: factor on capacities between modules, or the share of them kept if `sparse`.
        seed: seed of the capacities.
        sparse: thin cross capacities out rather than scale them down.

    Returns:
        The graph, and (n,) the planted module of each unit.
    """
    rng = np.random.default_rng(seed)
    starts = np.r_[0, np.cumsum(layers)]
    labels = [np.arange(size) * modules // size for size in layers]
    edges = []
    for i, (a, b) in enumerate(pairwise(layers)):
        capacity = np.abs(rng.standard_normal((a, b)))
        between = labels[i][:, None] != labels[i + 1][None]
        factor = (rng.random((a, b)) < cross) if sparse else cross
        capacity = np.where(between, capacity * factor, capacity)
        u, v = np.nonzero(capacity)
        edges.append((u + starts[i], v + starts[i + 1], capacity[u, v]))
    sources, targets, capacities = (np.concatenate(part) for part in zip(*edges, strict=True))
    last = len(layers) - 1
    groups = [
        UnitGroup(str(i), ("input", "hidden", "output")[(i > 0) + (i == last)], *starts[i : i + 2])
        for i in range(len(layers))
    ]
    graph = UnitGraph.from_edges(int(starts[-1]), sources, targets, capacities, groups)
    return graph, np.concatenate(labels)
