"""Interventions: a network without a module, or without its interfaces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.graph import UnitMap, WeightBlock
from partwise.graph.activity import channel_of, per_channel, removing
from partwise.loss.masking import MaskedRun, inside_modules


class Lesions:
    """Runs a network with some of its units held at their mean.

    A unit that is held sends every reader its mean over reference samples; a held output is
    replaced by its mean. Works on any network whose weight blocks belong to layers.

    Args:
        model: the network.
        units: its unit map.
        reference: (b, ...) samples that the means are taken over.

    Raises:
        UnreadableModelError: if a weight block belongs to no Linear or Conv layer.
    """

    def __init__(self, model: nn.Module, units: UnitMap, reference: Tensor):
        self.model = model
        self.units = units
        self._means: dict[str, Tensor] = {}
        self._channel = channel_of(_layer(model, units.blocks[-1]))
        with self._hooks(self._record), torch.no_grad():
            self._output_mean = per_channel(model(reference), self._channel).mean(0)

    @torch.no_grad()
    def outputs(self, x: Tensor, held: Tensor) -> Tensor:
        """The network's outputs with the units of `held` (n,) bool at their means."""

        def hold(block: WeightBlock, value: Tensor, channel: int) -> Tensor:
            return _held(value, held[block.columns[0]], self._means[block.parameter], channel)

        with self._hooks(hold):
            outputs = self.model(x)
        own = self.units.groups[-1]
        return _held(outputs, held[own.start : own.stop], self._output_mean, self._channel)

    @torch.no_grad()
    def activations(self, x: Tensor) -> Tensor:
        """(b, n) value of each unit that a layer reads, averaged over positions; else 0."""
        values = torch.zeros(len(x), self.units.n)

        def record(block: WeightBlock, value: Tensor, channel: int) -> Tensor:
            values[:, block.columns[0]] = per_channel(value, channel)
            return value

        with self._hooks(record):
            outputs = self.model(x)
        own = self.units.groups[-1]
        if outputs.shape[self._channel] == len(own):
            values[:, own.start : own.stop] = per_channel(outputs, self._channel)
        return values

    def _record(self, block: WeightBlock, value: Tensor, channel: int) -> Tensor:
        self._means[block.parameter] = per_channel(value.detach(), channel).mean(0)
        return value

    @contextlib.contextmanager
    def _hooks(self, replace: Any) -> Iterator[None]:
        """Runs `replace(block, value, channel)` on what every layer is about to read."""
        handles = []
        for block in self.units.blocks:
            layer = _layer(self.model, block)

            def hook(
                module: nn.Module, inputs: tuple[Tensor, ...], block: WeightBlock = block
            ) -> tuple[Tensor, ...]:
                return (replace(block, inputs[0], channel_of(module)), *inputs[1:])

            handles.append(layer.register_forward_pre_hook(hook))
        with removing(handles):
            yield


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
    return MaskedRun(model, inside_modules(model, units, labels, pair))(x)


def _held(value: Tensor, held: Tensor, means: Tensor, channel: int) -> Tensor:
    """`value` with the channels of `held` (c,) bool at their means (c,)."""
    shape = [1] * value.dim()
    shape[channel] = -1
    return torch.where(held.reshape(shape), means.reshape(shape), value)


def _layer(model: nn.Module, block: WeightBlock) -> nn.Module:
    name = block.parameter.rpartition(".")[0]
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise UnreadableModelError(f"'{block.parameter}' belongs to no layer that can be lesioned")
    return layer
