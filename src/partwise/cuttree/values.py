"""Float values of cuts: the capacities across each, summed without loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.arcs import Edges, frozen, scale_of
from partwise.cuttree.rooting import crossing_limbs

SHARP_HI = 2**22
"""Cuts with a first limb below this are summed again at a finer scale."""


def resummed(
    edges: Edges, parent: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n,) capacity across every unit's tree edge, to 1 part in `1e12`; 0 at the root.

    A cut that is tiny beside the total is crossed by tiny edges only. So once the cuts that a
    scale resolves are summed, the heavy edges are left out and the rest is summed at a scale
    of its own, until nothing is left.
    """
    sources, targets, capacities = edges
    value = np.zeros(len(parent))
    open_ = np.ones(len(parent), np.bool_)
    open_[order[0]] = False
    while len(capacities) and capacities.any():
        scale = scale_of(capacities)
        hi, lo = crossing_limbs(parent, order, sources, targets, capacities, *scale.factors())
        value[open_] = scale.to_float(hi, lo)[open_]
        open_ &= hi < SHARP_HI
        if not open_.any():
            break
        light = capacities < 2.0 * SHARP_HI * 2.0**-scale.hi_bits
        if light.all():
            break
        sources, targets = frozen(sources[light]), frozen(targets[light])
        capacities = frozen(capacities[light])
    return value
