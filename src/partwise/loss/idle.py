"""Inputs that a network is connected to and makes no use of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from partwise.graph import UnitMap
from partwise.graph.activity import per_channel

Run = Callable[..., Tensor]


def idle_inputs(
    units: UnitMap, used: Tensor, run: Run, loss_of: Callable[[Run], float], most: float
) -> Tensor:
    """(n,) bool, the inputs that can be held at their means together for a loss of at most `most`.

    Those first whose spread times capacity is least, and as many in this order as possible. None
    for networks that read anything but one tensor with a column or a channel per input.

    Args:
        units: the network's unit map.
        used: (n,) capacity of each unit.
        run: runs the network.
        loss_of: held-out loss of what runs a network.
        most: the loss that is allowed.
    """
    idle = torch.zeros(units.n, dtype=torch.bool)
    first = units.groups[0]
    count = len(first)
    spread: list[Tensor | None] = []

    def look(*inputs: Tensor) -> Tensor:
        fits = len(inputs) == 1 and inputs[0].dim() > 1 and inputs[0].shape[1] == count
        each = inputs[0].transpose(0, 1).flatten(1) if fits else None  # (count, samples)
        spread.append(None if each is None else each.std(1, correction=0))
        return run(*inputs)

    loss_of(look)
    spreads = [each for each in spread if each is not None]
    if len(spreads) < len(spread):
        return idle

    def loss_without(held: Tensor) -> float:
        def held_run(x: Tensor) -> Tensor:
            shape = [1, -1, *[1] * (x.dim() - 2)]
            mean = per_channel(x).mean(0)
            return run(torch.where(held.to(x.device).reshape(shape), mean.reshape(shape), x))

        return loss_of(held_run)

    carried = torch.stack(spreads).mean(0).cpu() * used[first.start : first.stop]
    order = carried.argsort(stable=True)
    low, high = 0, count  # the first `low` may go together
    while low < high:
        middle = (low + high + 1) // 2
        held = torch.zeros(count, dtype=torch.bool)
        held[order[:middle]] = True
        low, high = (middle, high) if loss_without(held) <= most else (low, middle - 1)
    idle[first.start + order[:low]] = True
    return idle
