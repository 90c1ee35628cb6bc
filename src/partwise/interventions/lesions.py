"""Interventions: a network without a module, or without its interfaces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.graph import UnitMap, WeightBlock, unit_map
from partwise.graph.activity import at_sites, channel_of, per_channel
from partwise.graph.written_out import written_out
from partwise.interventions.masks import MaskedRun, inside_modules


class Lesions:
    """Runs a network with some of its units held at their mean.

    A unit that is held sends every reader its mean over reference samples; a held output is
    replaced by its mean. Where a layer is called several times, each call has readers of its own.
    Networks whose weights are applied where no hook sees it are run written out.

    Args:
        model: the network.
        units: its unit map.
        reference: (b, ...) samples that the means are taken over.
    """

    def __init__(self, model: nn.Module, units: UnitMap, reference: Tensor):
        self.model, self.units = separate_uses(model, units, reference)
        self._means: list[Tensor] = [torch.empty(0)] * len(units.blocks)
        self._outputs = self.units.units_of_kind("output")
        layer = self.model.get_submodule(self.units.blocks[-1].module)
        self._channel = channel_of(layer)

        def record(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> None:
            self._means[position] = per_channel(x.detach(), channel_of(layer)).mean(0)

        with at_sites(self.model, self.units, record), torch.no_grad():
            self._output_mean = per_channel(self.model(reference), self._channel).mean(0)

    @torch.no_grad()
    def outputs(self, x: Tensor, held: Tensor) -> Tensor:
        """The network's outputs with the units of `held` (n,) bool at their means."""

        def hold(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> Tensor:
            return _held(x, held[_read(block, layer)], self._means[position], channel_of(layer))

        with at_sites(self.model, self.units, hold):
            outputs: Tensor = self.model(x)
        if outputs.shape[self._channel] != len(self._outputs):
            return outputs
        return _held(outputs, held[self._outputs], self._output_mean, self._channel)

    @torch.no_grad()
    def activations(self, x: Tensor) -> Tensor:
        """(b, n) value of each unit that a layer reads, averaged over positions; else 0."""
        values = torch.zeros(len(x), self.units.n)

        def record(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> None:
            values[:, _read(block, layer)] = per_channel(x, channel_of(layer))

        with at_sites(self.model, self.units, record):
            outputs: Tensor = self.model(x)
        if outputs.shape[self._channel] == len(self._outputs):
            values[:, self._outputs] = per_channel(outputs, self._channel)
        return values


@torch.no_grad()
def without_interfaces(
    model: nn.Module, units: UnitMap, labels: Tensor, x: Tensor, pair: tuple[int, int] | None = None
) -> Tensor:
    """(b, outputs) of the network with the weights between modules removed.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        x: (b, ...) samples.
        pair: remove only what joins these two modules.
    """
    model, units = separate_uses(model, units, x)
    return MaskedRun(model, inside_modules(model, units, labels, pair))(x)


def separate_uses(model: nn.Module, units: UnitMap, example: Tensor) -> tuple[nn.Module, UnitMap]:
    """A network in which every use of a weight can be seen and masked, and its unit map.

    That is the network itself, or where hooks cannot tell uses apart, `written_out`.

    Raises:
        UnreadableModelError: if it cannot be written out.
    """
    if uses_are_apart(units):
        return model, units
    copy = written_out(model, example)
    found = unit_map(copy, example)
    if found.n != units.n or len(found.blocks) != len(units.blocks):
        raise UnreadableModelError(
            f"{type(model).__name__} written out has {found.n} units, not {units.n}; "
            "intervene on a network that applies each weight as a layer of its own"
        )
    return copy, found


def uses_are_apart(units: UnitMap) -> bool:
    """Whether hooks and masks on a network's own layers touch one use of a weight each."""
    return all(block.hookable and block.derived is None for block in units.blocks)


def _read(block: WeightBlock, layer: nn.Module) -> Tensor:
    """Unit of each channel that a layer is given."""
    return block.channels_read(getattr(layer, "groups", 1))


def _held(value: Tensor, held: Tensor, means: Tensor, channel: int) -> Tensor:
    """`value` with the channels of `held` (c,) bool at their means (c,)."""
    shape = [1] * value.dim()
    shape[channel] = -1
    return torch.where(held.reshape(shape), means.reshape(shape), value)
