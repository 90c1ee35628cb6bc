"""What interfaces carry on average. A module may keep it as a constant when its interface goes.

Without that, the many small weights between two modules look as if they mattered: their mean adds
up to a bias that the reader relies on, though nothing about the sample is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap, WeightBlock
from partwise.graph.activity import channel_of, per_channel, reading_inputs

Kept = Mapping[str, Tensor]
"""Parameter name -> which entries stay, as `inside_modules` or `factors` has them."""


def holds_constants(model: nn.Module, block: WeightBlock) -> bool:
    """Whether a layer has a bias that can take over what its columns bring on average.

    Embedding tables and grouped weights have none for each row, and weights that are used several
    times none for each use.
    """
    if not block.hookable or block.uses > 1:
        return False
    biased = getattr(model.get_submodule(block.module), "bias", None) is not None
    return biased and not block.transposed and block.senders.dim() == 1


def inputs_read(model: nn.Module, units: UnitMap, run: Callable[[], object]) -> dict[str, Tensor]:
    """Parameter name -> (b, c) what the columns of each weight tensor read in `run`.

    Means over positions; of the last batch, if there are several. Only of layers that can hold
    constants.
    """
    read: dict[str, Tensor] = {}

    def see(position: int, block: WeightBlock, x: Tensor) -> None:
        if holds_constants(model, block):
            channel = channel_of(model.get_submodule(block.module))
            read[block.parameter] = per_channel(x, channel)

    with reading_inputs(model, units, see):
        run()
    return read


def mean_inputs(model: nn.Module, units: UnitMap, run: Callable[[], object]) -> dict[str, Tensor]:
    """Parameter name -> (c,) mean of what `inputs_read` has, over samples."""
    return {name: x.mean(0) for name, x in inputs_read(model, units, run).items()}


@torch.no_grad()
def carried(model: nn.Module, kept: Kept, means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameter name -> (r,) what entries that are not kept bring to each row on average.

    Exact where the rows' inputs are linear in the columns: padding of convolutions is ignored.
    """
    found = {}
    for name, mean in means.items():
        cut = model.get_parameter(name) * ~kept[name].bool()
        found[name] = (cut.flatten(2).sum(2) if cut.dim() > 2 else cut) @ mean
    return found


@torch.no_grad()
def commit(model: nn.Module, kept: Kept, means: Mapping[str, Tensor]) -> None:
    """Removes all entries that are not kept; what they bring on average goes into the biases.

    That is, of the tensors that `means` names; the others are left as they are.
    May come between a forward pass and its backward, whose gradient is then that of the weights
    that are left.
    """
    for name, constant in carried(model, kept, means).items():
        model.get_parameter(name).data.mul_(kept[name])
        model.get_submodule(name.rpartition(".")[0]).get_parameter("bias").data.add_(constant)
