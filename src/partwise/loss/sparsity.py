"""Sparsity pressure that modules need to show up."""

from __future__ import annotations

from torch import Tensor, nn

from partwise.graph import UnitMap
from partwise.loss.press import Pressure, press


def l1_penalty(model: nn.Module, units: UnitMap) -> Tensor:
    """Sum over weight tensors of their mean |w|, a scalar.

    Taking the mean per tensor keeps small layers, such as outputs, as sparse as large ones.
    """
    return press(units.weights(model), Pressure(l1=1.0))
