"""Sparsity pressure that modules need to show up."""

from __future__ import annotations

from torch import Tensor, nn

from partwise.graph import UnitMap


def l1_penalty(model: nn.Module, units: UnitMap) -> Tensor:
    """Sum over weight tensors of their mean |w|, a scalar.

    Taking the mean per tensor keeps small layers, such as outputs, as sparse as large ones.
    """
    parameters = dict(model.named_parameters())
    first, *rest = (parameters[block.parameter].abs().mean() for block in units.blocks)
    return sum(rest, first)
