"""Compile and cache what a first use needs: `python -m partwise.warm`.

Run by `make` after installing, and by hand after a kernel was edited: numba notices a change in
a kernel's own file, not in the files of the kernels that it calls. Graphs in single precision,
which only large networks have, are left to `python -m partwise.cuttree.warm`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from partwise.cuttree import warm
from partwise.graph.unit_graph import UnitGraph
from partwise.loss import CutTreePenalty
from partwise.modules import find_modules


def forget_kernels() -> None:
    """Delete the kernels cached beside this package's sources."""
    warm.forget_kernels(Path(__file__).parent)


def compile_kernels() -> None:
    """Build a cut tree, find modules and press a network, on a few units each."""
    warm.compile_kernels([np.float64])
    assert find_modules(_two_cliques()).modules == 2
    _press()


def _two_cliques(size: int = 12) -> UnitGraph:
    """Two cliques joined by one light edge."""
    u, v = np.triu_indices(size, 1)
    sources, targets = np.r_[u, u + size, 0], np.r_[v, v + size, size]
    return UnitGraph.from_edges(2 * size, sources, targets, np.r_[np.ones(2 * len(u)), 0.1])


def _press(steps: int = 4) -> None:
    """A few steps of a network under the penalty, weights and masks included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    penalty = CutTreePenalty(
        model, start=1, ramp=1, refresh_every=1, mask_after=1, l1=1.0, strength=1.0
    )
    for _ in range(steps):
        run = penalty.step(optimizer)
        loss = run(torch.ones(4, 8)).square().mean() + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    forget_kernels()
    compile_kernels()
