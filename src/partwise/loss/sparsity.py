"""Sparsity pressure that modules need to show up."""

from __future__ import annotations

from torch import Tensor, nn

from partwise.graph import UnitMap
from partwise.loss.press import Pressure, press

KNEE = 0.1


def l1_penalty(model: nn.Module, units: UnitMap) -> Tensor:
    """Sum over weight tensors of their mean |w|, a scalar.

    Taking the mean per tensor keeps small layers, such as outputs, as sparse as large ones.
    """
    return press(units.weights(model), Pressure(l1=1.0))


def unused_l1(model: nn.Module, units: UnitMap, knee: float = KNEE) -> Tensor:
    """`l1_penalty` that spares the weights in use, a scalar.

    Every |w| counts e / (|w| + e), a constant in the gradient, with e the `knee` times the
    tensor's root mean square: weights near zero feel the whole pressure, large ones hardly any.
    One step of the reweighted L1 of Candès, Wakin and Boyd (2008), taken anew at every step.
    """
    return press(units.weights(model), Pressure(l1=1.0, knee=knee))
