"""Running a network without its interface: weights between modules set to zero."""

from __future__ import annotations

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
    parameters = dict(model.named_parameters())
    masked = {}
    for block in units.blocks:
        rows, columns = block.pick(labels)
        keep = rows == columns
        if pair is not None:
            a, b = pair
            keep = ~((rows == a) & (columns == b) | (rows == b) & (columns == a))
        weight = parameters[block.parameter]
        keep = keep.reshape(*keep.shape, *[1] * (weight.dim() - 2))
        masked[block.parameter] = torch.where(keep, weight, 0)
    return masked
