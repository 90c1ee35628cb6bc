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


def unused_l1(model: nn.Module, units: UnitMap, knee: float = 0.1) -> Tensor:
    """`l1_penalty` that spares the weights in use, a scalar.

    Every |w| counts e / (|w| + e), a constant in the gradient, with e the `knee` times the
    tensor's root mean square: weights near zero feel the whole pressure, large ones hardly any.
    One step of the reweighted L1 of Candès, Wakin and Boyd (2008), taken anew at every step.
    """
    parameters = dict(model.named_parameters())
    first, *rest = (_unused(parameters[block.parameter].abs(), knee) for block in units.blocks)
    return sum(rest, first)


def _unused(magnitude: Tensor, knee: float) -> Tensor:
    now = magnitude.detach()
    bend = knee * now.square().mean().sqrt() + 1e-12
    return (magnitude * (bend / (now + bend))).mean()
