"""Scores of a partition: interfaces, agreement with a known truth."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from partwise.cuttree import CutTree
from partwise.graph import UnitGraph, UnitMap
from partwise.modules.nest import module_masses


def interface_frac(graph: UnitGraph, labels: NDArray[np.int64]) -> float:
    """Share of all capacity that joins two different modules."""
    return float(1 - np.trace(module_masses(graph, labels))) if graph.capacities.any() else 0.0


def purity(
    graph: UnitGraph, labels: NDArray[np.int64], units: NDArray[np.int64], truth: NDArray[np.int64]
) -> float:
    """Degree-weighted purity: share of capacity at `units` whose module is mainly of their truth.

    Args:
        graph: capacities, whose weighted degrees are the weights.
        labels: (n,) found module of each unit.
        units: (t,) units whose true module is known, such as inputs and outputs.
        truth: (t,) their true modules.
    """
    weight, found = graph.degrees()[units], labels[units]
    table = np.zeros((int(labels.max()) + 1, int(truth.max()) + 1))
    np.add.at(table, (found, truth), weight)
    return float(table.max(1).sum() / table.sum())


def n_cut(graph: UnitGraph, labels: NDArray[np.int64]) -> float:
    """Normalised cut: sum over modules of the share of their volume that leaves them.

    Shi and Malik (2000); 0 where nothing joins the modules, below their number always.
    """
    mass = module_masses(graph, labels)
    volume, inside = mass.sum(1), np.diag(mass)
    return float(
        np.divide(volume - inside, volume, where=volume > 0, out=np.zeros(len(mass))).sum()
    )


def nontrivial_frac(tree: CutTree) -> float:
    """Share of a cut tree's edges that cut off more than one unit on either side.

    Where it is 0, a loss on the tree's cuts is L1 in disguise.
    """
    n = len(tree.parent)
    size = np.ones(n, np.int64)
    for v in tree.order[:0:-1]:
        size[tree.parent[v]] += size[v]
    below = size[tree.order[1:]]
    return float(((below > 1) & (below < n - 1)).mean()) if n > 1 else 0.0


@torch.no_grad()
def cross_frac(
    model: nn.Module, units: UnitMap, truth_in: NDArray[np.int64], truth_out: NDArray[np.int64]
) -> float:
    """Share of path mass that runs from one true module's inputs to another's outputs.

    Path mass is the product of |weight| matrices, for a network whose blocks form a chain.
    """
    first, *rest = units.magnitudes(model)
    mass = first
    for matrix in rest:
        mass = matrix @ mass
    same = torch.as_tensor(truth_out[:, None] == truth_in[None])
    return float(1 - (mass * same).sum() / mass.sum())
