"""Inputs that a network is connected to and makes no use of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from partwise.graph import UnitMap
from partwise.graph.activity import per_channel

Run = Callable[..., Tensor]


def idle_inputs(units: UnitMap, run: Run, loss_of: Callable[[Run], float], most: float) -> Tensor:
    """(n,) bool, the inputs that can be held at their means together for a loss of at most `most`.

    As many as possible, those first that cost least alone. None for networks that read anything
    but one tensor with a column or a channel per input.

    Args:
        units: the network's unit map.
        run: runs the network.
        loss_of: held-out loss of what runs a network.
        most: the loss that is allowed.
    """
    idle = torch.zeros(units.n, dtype=torch.bool)
    count, seen = len(units.groups[0]), []

    def look(*inputs: Tensor) -> Tensor:
        seen.append(len(inputs) == 1 and inputs[0].dim() > 1 and inputs[0].shape[1] == count)
        return run(*inputs)

    loss_of(look)
    if not all(seen):
        return idle

    def loss_without(held: Tensor) -> float:
        def held_run(x: Tensor) -> Tensor:
            shape = [1, -1, *[1] * (x.dim() - 2)]
            mean = per_channel(x).mean(0)
            return run(torch.where(held.reshape(shape), mean.reshape(shape), x))

        return loss_of(held_run)

    alone = torch.tensor([loss_without(torch.arange(count) == i) for i in range(count)])
    order = alone.argsort(stable=True)
    low, high = 0, count  # the first `low` may go together
    while low < high:
        middle = (low + high + 1) // 2
        held = torch.zeros(count, dtype=torch.bool)
        held[order[:middle]] = True
        low, high = (middle, high) if loss_without(held) <= most else (low, middle - 1)
    idle[units.groups[0].start + order[:low]] = True
    return idle
