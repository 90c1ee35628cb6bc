"""The same network with another inside: turned, shuffled and rescaled, as training would leave it.

What a compiled network does is plain from its weights: a channel for each value, neurons in order.
`disguised` turns the residual by a random rotation, and shuffles heads and neurons. The network
computes the same; its modules are the same heads and neurons, elsewhere.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from partwise.graph import units_of
from partwise.zoo.compiler import Compiled
from partwise.zoo.transformer import Block
from partwise.zoo.truth import Component


@torch.no_grad()
def disguised(compiled: Compiled, seed: int) -> Compiled:
    """The network behind a disguise; the truth follows its heads and neurons.

    No residual channel is any operation's own then, so components have none.
    """
    draw = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(compiled.model)
    width = model.config.width
    turn = torch.linalg.qr(torch.randn(width, width, generator=draw, dtype=torch.float64))[0]
    for table in (model.tokens, model.positions, model.outputs):
        table.weight.copy_(_turned(table.weight, turn))
    moved: dict[int, int] = {}
    for block, (heads, neurons) in zip(model.blocks, _starts(model), strict=True):
        one = cast(Block, block)
        for layer in (one.query, one.key, one.value, one.up):
            layer.weight.copy_(_turned(layer.weight, turn))
        for layer in (one.mix, one.down):
            layer.weight.copy_(_turned(layer.weight.T, turn).T)
            layer.bias.copy_(_turned(layer.bias, turn))
        moved |= _shuffle_heads(one, heads, draw) | _shuffle_neurons(one, neurons, draw)
    parts = tuple(_moved(part, moved) for part in compiled.truth.components)
    truth = replace(compiled.truth, components=parts)
    return Compiled(model, compiled.vocabulary, truth)


@torch.no_grad()
def noisy(compiled: Compiled, share: float, seed: int) -> Compiled:
    """The network with noise on every weight: a share of the spread of its tensor's weights."""
    draw = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(compiled.model)
    for weights in model.parameters():
        noise = torch.randn(weights.shape, generator=draw)
        weights.add_(share * weights.std(correction=0) * noise)
    return replace(compiled, model=model)


def _turned(rows: Tensor, turn: Tensor) -> Tensor:
    return (rows.double() @ turn).float()


def _starts(model: torch.nn.Module) -> list[tuple[int, int]]:
    """The first head and the first neuron of every block, as units."""
    groups = units_of(model).groups
    heads = [group.start for group in groups if group.kind == "head"]
    neurons = [group.start for group in groups if group.kind == "neuron"]
    return list(zip(heads, neurons, strict=True))


def _shuffle_heads(block: Block, start: int, draw: torch.Generator) -> dict[int, int]:
    """Puts heads in a random order; old unit -> new unit."""
    order = torch.randperm(block.heads, generator=draw)
    width = len(block.query.weight) // block.heads
    rows = (order[:, None] * width + torch.arange(width)).flatten()
    for layer in (block.query, block.key, block.value):
        layer.weight.copy_(layer.weight[rows].clone())
        layer.bias.copy_(layer.bias[rows].clone())
    block.mix.weight.copy_(block.mix.weight[:, rows].clone())
    return {start + int(old): start + new for new, old in enumerate(order)}


def _shuffle_neurons(block: Block, start: int, draw: torch.Generator) -> dict[int, int]:
    """Puts neurons in a random order and rescales each; old unit -> new unit."""
    count = len(block.up.weight)
    order = torch.randperm(count, generator=draw)
    scale = torch.exp2(torch.randint(-2, 3, (count,), generator=draw).float())
    block.up.weight.copy_(block.up.weight[order] * scale[:, None])
    block.up.bias.copy_(block.up.bias[order] * scale)
    block.down.weight.copy_(block.down.weight[:, order] / scale)
    return {start + int(old): start + new for new, old in enumerate(order)}


def _moved(component: Component, moved: dict[int, int]) -> Component:
    units = tuple(sorted(moved.get(unit, unit) for unit in component.units))
    return replace(component, units=units, channels=())
