"""Running a network without its interface: weights between modules set to zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap


def masked_weights(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    pair: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """A model's weights with the entries between modules set to 0, differentiable.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        pair: cut only the edges between these two modules; all interfaces when left out.

    Returns:
        Parameter name -> tensor, for `torch.func.functional_call`. Biases are left alone.
    """
    return only(model, inside_modules(model, units, labels, pair))


def inside_modules(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    pair: tuple[int, int] | None = None,
    free: Tensor | None = None,
) -> dict[str, Tensor]:
    """Which weights `masked_weights` keeps: parameter name -> bool, broadcast over kernels.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        pair: cut only the edges between these two modules; all interfaces when left out.
        free: (modules,) bool, the modules that may read any other.
    """
    kept = {}
    for block in units.blocks:
        rows, columns = block.pick(labels)
        keep = rows == columns
        if pair is not None:
            a, b = pair
            keep = ~((rows == a) & (columns == b) | (rows == b) & (columns == a))
        if free is not None:
            keep = keep | free[columns if block.transposed else rows]
        weight = model.get_parameter(block.parameter)
        kept[block.parameter] = wide(keep, weight).to(weight.device)
    return kept


def only(model: nn.Module, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that are named in `kept`, 0 where it is False, differentiable."""
    return {name: torch.where(keep, model.get_parameter(name), 0) for name, keep in kept.items()}


def run_only(model: nn.Module, kept: dict[str, Tensor], *inputs: Tensor) -> Tensor:
    """The model's output with the weights that are named in `kept`, 0 where it is False."""
    output: Tensor = torch.func.functional_call(model, only(model, kept), inputs)
    return output


def wide(entries: Tensor, like: Tensor) -> Tensor:
    """(r, c) entries, laid out to broadcast over a kernel (r, c, ...)."""
    return entries.reshape(*entries.shape, *[1] * (like.dim() - entries.dim()))


class _WeightedMagnitude(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return (weight.abs() * scale).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        weight, scale = ctx.saved_tensors
        return grads[0] * weight.sign() * scale, None


def weighted_magnitude(weight: Tensor, scale: Tensor) -> Tensor:
    """Sum of |weight| times a constant scale, a scalar; backward is one pass.

    Args:
        weight: (r, c, ...).
        scale: broadcasts to it.
    """
    result: Tensor = _WeightedMagnitude.apply(weight, scale)
    return result
