"""What the cut-tree penalty is compared with: other pressures towards modular networks.

Each is a pure function of a model's weights, written from the formula of the work it cites.
L1 is `l1_penalty`; pruning, modular starts and true blocks are in `weights`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap

BIMT_FLOOR = 0.1


def adjacency(model: nn.Module, units: UnitMap) -> Tensor:
    """(n, n) symmetric |weight| between units, differentiable in the weights."""
    matrices = units.magnitudes(model)
    total = matrices[0].new_zeros(units.n, units.n)
    for block, matrix in zip(units.blocks, matrices, strict=True):
        rows, columns = block.rows[:, None].expand(matrix.shape), block.columns.expand(matrix.shape)
        total = total.index_put((rows, columns), matrix, accumulate=True)
    return total + total.T


def even_positions(units: UnitMap) -> Tensor:
    """(n,) positions of the units of every layer, spread evenly over [0, 1]."""
    return torch.cat([(torch.arange(len(group)) + 0.5) / len(group) for group in units.groups])


def bimt_penalty(model: nn.Module, units: UnitMap, positions: Tensor, pull: float = 1.0) -> Tensor:
    """Brain-inspired modular training: mean over each tensor of |w| (pull |x_i - x_j| + 0.1).

    Liu, Gan and Tegmark (2023), "Seeing is believing: brain-inspired modular training for
    mechanistic interpretability", equation 3, with the mean in place of the sum as in
    `l1_penalty`, so that strengths compare.

    Args:
        model: the network.
        units: its unit map.
        positions: (n,) place of each unit within its layer.
        pull: how much a wire's length weighs.
    """
    terms = [
        (matrix * (pull * (positions[block.rows][:, None] - positions[block.columns]).abs()
                   + BIMT_FLOOR)).mean()
        for block, matrix in zip(units.blocks, units.magnitudes(model), strict=True)
    ]  # fmt: skip
    return torch.stack(terms).sum()


@torch.no_grad()
def bimt_swaps(model: nn.Module, units: UnitMap, positions: Tensor, candidates: int = 6) -> Tensor:
    """(n,) positions after the swap step of brain-inspired modular training.

    In every layer the `candidates` units with the largest weighted degree each trade places
    with whichever unit of their layer shortens the wiring Σ |w_ij| |x_i - x_j| most (Liu, Gan
    and Tegmark, 2023, section 2.2). Trading places is the same as exchanging the units' weights.
    """
    wires, positions = adjacency(model, units), positions.clone()
    for group in units.groups:
        ids = torch.arange(group.start, group.stop)
        for unit in ids[wires[ids].sum(1).topk(min(candidates, len(ids))).indices].tolist():
            # cost[a, b]: the wiring of unit a if it stood where b stands now
            cost = wires[ids] @ (positions[:, None] - positions[ids][None]).abs()
            own = unit - group.start
            stay = cost.diagonal()
            change = cost[own] + cost[:, own] - stay[own] - stay
            best = int(change.argmin())
            if change[best] < -1e-9:
                both = torch.tensor([unit, group.start + best])
                positions[both] = positions[both.flip(0)]
    return positions


def spectral_n_cut(capacities: Tensor, modules: int) -> Tensor:
    """Mean of the 2nd to (k + 1)th eigenvalues of the normalised Laplacian, a scalar.

    A lower bound, up to a factor, of the n-cut (Shi and Malik, 2000); as a regulariser in Filan
    et al. (2021), "Clusterability in neural networks", section 5.

    Args:
        capacities: (n, n) symmetric, such as `adjacency`.
        modules: k, the number of modules wanted.
    """
    degree = capacities.sum(1)
    scale = torch.where(degree > 0, degree, 1).rsqrt()
    laplacian = torch.diag((degree > 0).to(degree)) - scale[:, None] * capacities * scale
    return torch.linalg.eigvalsh(laplacian)[1 : modules + 1].mean()


def clusterability(model: nn.Module, units: UnitMap, labels: Tensor) -> Tensor:
    """Share of Σ w² that lies within modules, a scalar in [0, 1].

    Golechha, Cope and Schoots (2025), "Training neural networks for modularity aids
    interpretability", equation 1; the penalty is its negative.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit: `even_blocks`, or `spectral_blocks` of the weights.
    """
    squares = [matrix**2 for matrix in units.magnitudes(model)]
    inside = [
        (square * (labels[block.rows][:, None] == labels[block.columns])).sum()
        for block, square in zip(units.blocks, squares, strict=True)
    ]
    return torch.stack(inside).sum() / torch.stack([square.sum() for square in squares]).sum()


def even_blocks(units: UnitMap, modules: int, order: torch.Generator | None = None) -> Tensor:
    """(n,) labels that cut every layer into equal runs; over a random order if one is given."""
    runs = []
    for group in units.groups:
        run = torch.arange(len(group)) * modules // len(group)
        runs.append(run if order is None else run[torch.randperm(len(run), generator=order)])
    return torch.cat(runs)


@torch.no_grad()
def spectral_blocks(capacities: Tensor, modules: int, rounds: int = 50) -> Tensor:
    """(n,) k-means clusters of the rows of the normalised Laplacian's first k eigenvectors.

    Ng, Jordan and Weiss (2002); centres start farthest-first, so the result is deterministic.
    """
    degree = capacities.sum(1)
    scale = torch.where(degree > 0, degree, 1).rsqrt()
    _, vectors = torch.linalg.eigh(scale[:, None] * capacities * scale)
    rows = nn.functional.normalize(vectors[:, -modules:], dim=1)
    centres = rows[degree.argmax()][None]
    while len(centres) < modules:
        farthest = torch.cdist(rows, centres).min(1).values.argmax()
        centres = torch.cat([centres, rows[farthest][None]])
    labels = torch.cdist(rows, centres).argmin(1)
    for _ in range(rounds):
        members = nn.functional.one_hot(labels, modules).to(rows)
        centres = members.T @ rows / members.sum(0).clamp(min=1)[:, None]
        labels, before = torch.cdist(rows, centres).argmin(1), labels
        if torch.equal(labels, before):
            break
    return labels


def soft_newman_q(capacities: Tensor, logits: Tensor) -> Tensor:
    """The DMoN loss, a scalar: negative soft Q, and a term against collapse.

    -Tr(Sᵀ B S) / 2m + (√k / n ‖Σ_i S_i‖ - 1) with B = A - d dᵀ / 2m and S = softmax(logits);
    Tsitsulin et al. (2023), "Graph clustering with graph neural networks", equation 10.

    Args:
        capacities: (n, n) symmetric.
        logits: (n, k) memberships, learnt beside the weights.
    """
    soft, degree = logits.softmax(1), capacities.sum(1)
    n, k = logits.shape
    total = degree.sum()
    q = ((soft * (capacities @ soft)).sum() - ((degree @ soft) ** 2).sum() / total) / total
    return math.sqrt(k) / n * soft.sum(0).norm() - 1 - q


def wiring(capacities: Tensor, positions: Tensor) -> Tensor:
    """Σ c_ij |x_i - x_j| over pairs, a scalar: what `bimt_swaps` makes shorter."""
    return (capacities * (positions[:, None] - positions).abs()).sum() / 2
