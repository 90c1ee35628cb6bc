"""Inputs that a network makes no use of, and wires between its modules that carry nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap
from partwise.graph.activity import per_channel
from partwise.interventions.masks import MaskedRun, wide
from partwise.loss.constants import carried, holds_constants, inputs_read

Run = Callable[..., Tensor]
LossOf = Callable[[Run], float]
"""Held-out loss of what runs a network."""


def idle_inputs(units: UnitMap, used: Tensor, run: Run, loss_of: LossOf, most: float) -> Tensor:
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
    first = units.inputs
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

    brought = torch.stack(spreads).mean(0).cpu() * used[first.start : first.stop]
    order = brought.argsort(stable=True)

    def loss_without_first(some: int) -> float:
        held = torch.zeros(count, dtype=torch.bool)
        held[order[:some]] = True

        def held_run(x: Tensor) -> Tensor:
            shape = [1, -1, *[1] * (x.dim() - 2)]
            mean = per_channel(x).mean(0)
            return run(torch.where(held.to(x.device).reshape(shape), mean.reshape(shape), x))

        return loss_of(held_run)

    idle[first.start + order[: _as_many(count, loss_without_first, most)]] = True
    return idle


def reading(model: nn.Module, units: UnitMap, read: Tensor) -> dict[str, Tensor]:
    """Parameter name -> bool, the weights that read some units, (n,) bool.

    But for those of layers that cannot hold the units' means as constants: these must read on.
    """
    found = {}
    for block in units.blocks:
        if holds_constants(model, block):
            like = model.get_parameter(block.parameter)
            found[block.parameter] = wide(read[block.columns], like)
    return found


def idle_wires(
    units: UnitMap,
    wires: Mapping[str, Tensor],
    run: MaskedRun,
    loss_of: LossOf,
    most: float,
) -> dict[str, Tensor]:
    """Parameter name -> bool, the wires that can be cut together for a loss of at most `most`.

    Those first that carry the least: |weight| times the spread of what it reads. What a wire
    brings on average is kept as a constant; where a layer has no bias for it, none is cut.

    Args:
        units: the network's unit map.
        wires: parameter name -> bool, the weights that may go.
        run: runs the network; its other weights are 0.
        loss_of: held-out loss of what runs a network.
        most: the loss that is allowed.
    """
    model = run.model
    read = inputs_read(model, units, lambda: loss_of(run))
    if not read:
        return {}
    means = {name: x.mean(0) for name, x in read.items()}
    carry = {}
    for name, x in read.items():
        spread = wide(x.std(0, correction=0)[None], model.get_parameter(name))
        carry[name] = model.get_parameter(name).detach().abs() * spread
    order = torch.cat([carry[name][wires[name].expand_as(carry[name])] for name in read])
    order = order.sort().values

    def cut(some: int) -> dict[str, Tensor]:
        most_carried = order[some - 1] if some else -1.0
        return {name: wires[name] & (carry[name] <= most_carried) for name in read}

    def loss_without_first(some: int) -> float:
        gone = cut(some)
        kept = {name: k * ~gone[name] if name in gone else k for name, k in run.kept.items()}
        return loss_of(MaskedRun(model, kept, carried(model, kept, means)))

    return cut(_as_many(len(order), loss_without_first, most))


def _as_many(count: int, loss_without_first: Callable[[int], float], most: float) -> int:
    """How many may go, of so many in an order, by bisection; `loss_without_first` rises with it."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if loss_without_first(middle) <= most else (low, middle - 1)
    return low


def least_spread(model: nn.Module, loss_of: LossOf) -> float:
    """Spread over held-out samples of the output that varies least, as a share of the mean.

    1 for networks that give anything but a tensor with samples along its first dimension.
    """
    seen: list[Tensor] = []

    def watch(*inputs: Tensor) -> Tensor:
        output: Tensor = model(*inputs)
        seen.append(output)
        return output

    loss_of(watch)
    if not seen or not all(isinstance(each, Tensor) and each.dim() > 1 for each in seen):
        return 1.0
    spread = torch.cat(seen).flatten(1).std(0)
    return float(spread.min() / spread.mean())
