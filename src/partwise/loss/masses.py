"""Module masses: how much capacity joins each pair of modules, in one pass over the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _BlockMasses(torch.autograd.Function):
    """(k, k) capacity from column modules to row modules of one weight tensor.

    The gradient with respect to an entry is a table lookup by its two labels, so backward is one
    pass as well and keeps nothing but the weights themselves.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(weight, rows, columns)
        return rows.T @ (_matrix(weight.abs()) @ columns)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, rows, columns = ctx.saved_tensors
        table = rows @ grads[0] @ columns.T
        return weight.sign() * table.reshape(*table.shape, *[1] * (weight.dim() - 2)), None, None


def block_masses(weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Capacity that runs from each module of the writers to each module of the readers.

    Args:
        weight: (r, c, ...) tensor whose capacities are |weight|, summed over trailing kernel
            dimensions.
        rows: (r, k) membership of each row's unit, times the row's scale; a constant.
        columns: (c, k) membership of each column's unit, times the column's scale; a constant.

    Returns:
        (k, k); entry (a, b) is the capacity of weights through which module a reads module b.
    """
    return _BlockMasses.apply(weight, rows, columns)


def entry_masses(weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`block_masses` where every row reads units of its own, as in grouped convolutions.

    Args:
        weight: (r, c, ...) as in `block_masses`.
        rows: (r, k) as in `block_masses`.
        columns: (r, c, k) membership of the unit that each entry reads, times its scale.
    """
    return torch.einsum("rk,rc,rcl->kl", rows, _matrix(weight.abs()), columns)


def _matrix(magnitude: Tensor) -> Tensor:
    return magnitude.flatten(2).sum(2) if magnitude.dim() > 2 else magnitude


def newman_q_of_masses(masses: Tensor) -> Tensor:
    """Newman's Q of a (k, k) matrix of module masses, differentiable; 0 for one module."""
    symmetric = masses + masses.T
    total = symmetric.sum()
    volume = symmetric.sum(1) / total
    return symmetric.trace() / total - (volume**2).sum()


def interface_share(masses: Tensor) -> Tensor:
    """Share of all capacity that joins two different modules, of a (k, k) mass matrix."""
    return 1 - masses.trace() / masses.sum()
