"""Maps: the channels of convolutions, what they are called, and what they see of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap, WeightBlock
from partwise.graph.activity import at_sites
from partwise.graph.unit_graph import UnitGroup

PICTURE = "the picture"


@dataclass(frozen=True, eq=False)
class MapLayer:
    """Units that are maps of one layer.

    Attributes:
        name: such as `"conv2"`, or `PICTURE` for the maps that the network is given.
        group: its units.
        writers: positions of the blocks that write them; none of the picture's.
    """

    name: str
    group: UnitGroup
    writers: tuple[int, ...]

    def unit_names(self) -> list[str]:
        """A name per unit."""
        return [f"channel {k} of {self.name}" for k in range(len(self.group))]


def is_kernel(model: nn.Module, block: WeightBlock) -> bool:
    """Whether a weight is a convolution's."""
    return block.tensor(model).dim() > 2


def map_layers(model: nn.Module, units: UnitMap) -> list[MapLayer]:
    """The layers of a network whose units are maps, in order; none without convolutions.

    A layer that has a number for a name is called by its place among the convolutions.
    """
    kernels = [k for k, block in enumerate(units.blocks) if is_kernel(model, block)]
    written = {int(unit) for block in units.blocks for unit in block.receivers}
    read = {int(unit) for k in kernels for unit in units.blocks[k].senders.flatten()}
    layers, count = list[MapLayer](), 0
    for group in units.groups:
        own = range(group.start, group.stop)
        writers = tuple(k for k in kernels if int(units.blocks[k].receivers[0]) in own)
        if writers:
            count += 1
            last = group.name.rpartition(".")[2]
            name = f"conv{count}" if last.isdecimal() else group.name
            layers.append(MapLayer(name, group, writers))
        elif group.kind == "hidden" and group.start in read and group.start not in written:
            layers.append(MapLayer(PICTURE, group, ()))
    return layers


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network's convolutions make of some samples.

    Attributes:
        picture: (b, c, h, w) what the first convolution reads.
        written: position of a block -> (b, c, h, w) what its convolution writes.
    """

    picture: Tensor
    written: dict[int, Tensor]


@torch.no_grad()
def seen(model: nn.Module, units: UnitMap, x: Tensor, blank: bool = False) -> Seen:
    """Runs a network and keeps what its convolutions read and write.

    Args:
        model: the network.
        units: its unit map, with a convolution.
        x: (b, inputs) samples.
        blank: no number stands in row k of the k-th picture, and then in column k of the others.
    """
    first = next(k for k, block in enumerate(units.blocks) if is_kernel(model, block))
    pictures, written = list[Tensor](), dict[int, Tensor]()

    def before(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> Tensor | None:
        if position != first:
            return None
        pictures.append(x.detach())
        return blanked(x) if blank else None

    def after(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> None:
        if x.dim() == 4 and is_kernel(model, block):
            written[position] = x.detach()

    with at_sites(model, units, before, after):
        model(x)
    return Seen(pictures[0], written)


def blanked(pictures: Tensor) -> Tensor:
    """(h + w, c, h, w) pictures: row k of the k-th is no number, then column k of the others."""
    blank, high = pictures.clone(), pictures.shape[2]
    for k in range(high):
        blank[k, :, k] = torch.nan
    for k in range(pictures.shape[3]):
        blank[high + k, :, :, k] = torch.nan
    return blank


Fields = dict[int, tuple[Tensor, Tensor]]
"""Position of a block -> (h, rows) and (w, columns) bool: what each place of its maps can see."""


def receptive_fields(model: nn.Module, units: UnitMap, x: Tensor) -> Fields:
    """What the convolutions' maps can see of a picture: where what is no number reaches them.

    Args:
        model: the network.
        units: its unit map, with a convolution.
        x: (b, inputs) samples.
    """
    high, wide = seen(model, units, x[:1]).picture.shape[2:]
    found = seen(model, units, x[:1].expand(high + wide, -1), blank=True)
    return {
        k: (lost[:high].any(3).any(1).T, lost[high:].any(2).any(1).T)
        for k, lost in ((k, values.isnan()) for k, values in found.written.items())
    }
