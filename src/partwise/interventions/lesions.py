"""Interventions: a network without a module, or without its interfaces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.graph import UnitMap, WeightBlock, unit_map
from partwise.graph.activity import at_sites, channel_of, per_channel, removing
from partwise.graph.written_out import written_out
from partwise.interventions.masks import MaskedRun, inside_modules

TOKENS_AT_ONCE = 2048
"""Tokens that means are taken over in one forward pass."""


class Lesions:
    """Runs a network with some of its units held at their mean.

    A unit that is held sends every reader its mean over reference samples; a channel of a
    convolution sends its mean over samples and positions, also where its map was flattened. A held
    output is replaced by its mean, a held token by the mean embedding. Where a layer is called
    several times, each call has readers of its own. Networks whose weights are applied where no
    hook sees it are run written out.

    Args:
        model: the network.
        units: its unit map.
        reference: (b, ...) samples, or (b, t) token ids, that the means are taken over.
        strata: (b,) int, the stratum of each; a held unit then sends its mean over samples of the
            same stratum. The mean over unlike texts is like none of them.
    """

    def __init__(
        self, model: nn.Module, units: UnitMap, reference: Tensor, strata: Tensor | None = None
    ):
        self.model, self.units = separate_uses(model, units, reference)
        self._outputs = self.units.units_of_kind("output")
        self._maps = _flattened_maps(self.model, self.units)
        layer = self.model.get_submodule(self.units.blocks[-1].module)
        self._channel = channel_of(layer)
        self._output_mean = torch.zeros(())
        if strata is None:
            strata = torch.zeros(len(reference), dtype=torch.long)
        each = [self._means_over(reference[strata == k]) for k in range(int(strata.max()) + 1)]
        self._means = [torch.stack(means) for means in zip(*each, strict=True)]

    def _means_over(self, reference: Tensor) -> list[Tensor]:
        """Per block (c,), the mean of what its layer reads; of a table, of what it writes."""
        means: list[Tensor] = [torch.zeros(())] * len(self.units.blocks)
        share = 1.0

        def add(position: int, mean: Tensor) -> None:
            means[position] = mean if share == 1 else means[position] + share * mean

        def before(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> None:
            if x.dtype.is_floating_point:
                add(position, self._by_channel(position, layer, x.detach()).mean(0))

        def after(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> None:
            if isinstance(layer, nn.Embedding):
                add(position, x.detach().flatten(0, -2).mean(0))

        with at_sites(self.model, self.units, before, after), torch.no_grad():
            for part in _parts(reference):
                share = len(part) / len(reference)
                output = self.model(part)
        if len(self._outputs):
            self._output_mean = per_channel(output, self._channel).mean(0)
        return means

    def _by_channel(self, position: int, layer: nn.Module, x: Tensor) -> Tensor:
        """(b, c) mean over positions of what a layer reads, also of maps that were flattened."""
        values, places = per_channel(x, channel_of(layer)), self._maps[position]
        if places is None:
            return values
        counts = torch.bincount(places)
        sums = values.new_zeros(len(values), len(counts)).index_add_(1, places, values)
        return (sums / counts)[:, places]

    @contextlib.contextmanager
    def holding(self, held: Tensor, strata: Tensor | None = None) -> Iterator[nn.Module]:
        """The network, which inside reads the units of `held` (n,) bool at their means.

        Args:
            held: (n,) bool.
            strata: (b,) the stratum of every sample of all runs inside, in their order; those of
                the only stratum if None.
        """
        done, here = 0, slice(None)

        def enter(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal done, here
            here = slice(done, done + len(inputs[0]))
            done = here.stop

        def mean_of(position: int) -> Tensor:
            means = self._means[position]
            return means[0] if strata is None else means[strata[here]]

        def hold(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> Tensor | None:
            own = held[_read(block, layer)]
            if not x.dtype.is_floating_point or not own.any():
                return None
            return _held(x, own, mean_of(position), channel_of(layer))

        def blank(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> Tensor | None:
            if not isinstance(layer, nn.Embedding):
                return None
            own = held[block.senders][ids[block.module]]
            mean = mean_of(position)
            return torch.where(own[..., None], mean if mean.dim() == 1 else mean[:, None], x)

        ids: dict[str, Tensor] = {}
        blocks = {b.module for b in self.units.blocks if held[b.senders].any()}
        layers = {name: self.model.get_submodule(name) for name in blocks}
        tables = {n: layer for n, layer in layers.items() if isinstance(layer, nn.Embedding)}
        handles = [self.model.register_forward_pre_hook(enter)]
        handles += [
            layer.register_forward_pre_hook(partial(_note, ids, name))
            for name, layer in tables.items()
        ]
        after = blank if tables else None
        with removing(handles), at_sites(self.model, self.units, hold, after):
            yield self.model

    @torch.no_grad()
    def outputs(self, x: Tensor, held: Tensor) -> Tensor:
        """The network's outputs with the units of `held` (n,) bool at their means."""
        with self.holding(held) as model:
            outputs: Tensor = model(x)
        if outputs.shape[self._channel] != len(self._outputs):
            return outputs
        return _held(outputs, held[self._outputs], self._output_mean, self._channel)

    @torch.no_grad()
    def activations(self, x: Tensor) -> Tensor:
        """(b, n) value of each unit that a layer reads, averaged over positions; else 0.

        Inputs that reach no layer one by one, such as pixels, have their own values.
        """
        values = torch.zeros(len(x), self.units.n)
        if x.dtype.is_floating_point and x[0].numel() == len(self.units.inputs):
            values[:, self.units.inputs.start : self.units.inputs.stop] = x.flatten(1)

        def record(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> None:
            values[:, _read(block, layer)] = self._by_channel(position, layer, x)

        with at_sites(self.model, self.units, record):
            outputs: Tensor = self.model(x)
        if outputs.shape[self._channel] == len(self._outputs):
            values[:, self._outputs] = per_channel(outputs, self._channel)
        return values


def _flattened_maps(model: nn.Module, units: UnitMap) -> list[Tensor | None]:
    """Per block (c,) the number of the map that each entry read is a position of.

    None where no map of a convolution is read flattened.
    """
    is_map, found = torch.zeros(units.n, dtype=torch.bool), list[Tensor | None]()
    for block in units.blocks:
        if block.tensor(model).dim() > 2:
            is_map[block.receivers] = True
    for block in units.blocks:
        read = block.channels_read()
        runs, places = read.unique_consecutive(return_inverse=True)
        flat = block.tensor(model).dim() == 2 and len(runs) < len(read)
        found.append(places if flat and bool(is_map[read].all()) else None)
    return found


def _note(ids: dict[str, Tensor], name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    ids[name] = inputs[0]


def _parts(reference: Tensor) -> Sequence[Tensor]:
    """Samples in one part, token ids in parts whose logits fit."""
    if reference.dtype.is_floating_point:
        return [reference]
    return reference.split(max(1, TOKENS_AT_ONCE // reference.shape[1]))


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
    """`value` with the channels of `held` (c,) bool at their means (c,) or (b, c)."""
    shape = [1] * value.dim()
    shape[channel] = -1
    if means.dim() == 2:
        wide = list(shape)
        wide[0] = len(value)
        return torch.where(held.reshape(shape), means.reshape(wide), value)
    return torch.where(held.reshape(shape), means.reshape(shape), value)
