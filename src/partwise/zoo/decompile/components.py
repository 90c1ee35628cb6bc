"""The components of a transformer under a partition, and what they add to the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph import UnitMap

Array = NDArray[np.float64]
Kind = Literal["tokens", "positions", "head", "neurons"]


@dataclass(frozen=True)
class Component:
    """A part of a network that adds to the residual.

    Attributes:
        kind: `"tokens"` and `"positions"` are the embeddings.
        block: the block it is in; -1 for an embedding.
        places: the heads (one) or neurons of the block.
        units: the same as units; for the tokens, all tokens.
    """

    kind: Kind
    block: int
    places: tuple[int, ...] = ()
    units: tuple[int, ...] = ()


def components_of(units: UnitMap, labels: NDArray[np.int64]) -> list[Component]:
    """Both embeddings; then by block every head, and the neurons of every module."""
    tokens = next(group for group in units.groups if group.kind == "token")
    found = [Component("tokens", -1, (), tuple(range(tokens.start, tokens.stop)))]
    found.append(Component("positions", -1))
    heads = [group for group in units.groups if group.kind == "head"]
    neurons = [group for group in units.groups if group.kind == "neuron"]
    for block, (head, neuron) in enumerate(zip(heads, neurons, strict=True)):
        found += [Component("head", block, (i,), (head.start + i,)) for i in range(len(head))]
        own = labels[neuron.start : neuron.stop]
        for module in np.unique(own):
            places = tuple(np.flatnonzero(own == module).tolist())
            held = tuple(neuron.start + place for place in places)
            found.append(Component("neurons", block, places, held))
    return found


@dataclass(frozen=True)
class HeadWeights:
    """A head's weights: queries, keys and values of the residual, and what it writes.

    Attributes:
        query, key, value: (c, width) weights; queries are scaled as scores are.
        query_bias, key_bias, value_bias: (c,).
        mix: (width, c).
    """

    query: Array
    key: Array
    value: Array
    query_bias: Array
    key_bias: Array
    value_bias: Array
    mix: Array


@dataclass(frozen=True)
class NeuronWeights:
    """Weights of some neurons of a block: (n, width), (n,), (width, n)."""

    up: Array
    bias: Array
    down: Array

    def run(self, residual: Array) -> Array:
        """(b, width) what the neurons add to (b, width) residuals."""
        return np.maximum(residual @ self.up.T + self.bias, 0) @ self.down.T


class Weights:
    """The weights of our transformer by component, as arrays."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.tokens = array(model.get_parameter("tokens.weight"))
        self.positions = array(model.get_parameter("positions.weight"))
        self.outputs = array(model.get_parameter("outputs.weight"))
        self.heads: int = model.get_submodule("blocks.0").heads  # type: ignore[assignment]
        self.is_causal: bool = model.config.causal  # type: ignore[union-attr, assignment]

    def head(self, component: Component) -> HeadWeights:
        """Of a head."""
        query, key, value, mix = (
            self._layer(component, name) for name in ("query", "key", "value", "mix")
        )
        width = len(query[0]) // self.heads
        rows = slice(component.places[0] * width, (component.places[0] + 1) * width)
        scale = width**-0.5
        return HeadWeights(
            query[0][rows] * scale,
            key[0][rows],
            value[0][rows],
            query[1][rows] * scale,
            key[1][rows],
            value[1][rows],
            mix[0][:, rows],
        )

    def neurons(self, component: Component) -> NeuronWeights:
        """Of a group of neurons."""
        places = list(component.places)
        up, down = self._layer(component, "up"), self._layer(component, "down")
        return NeuronWeights(up[0][places], up[1][places], down[0][:, places])

    def _layer(self, component: Component, name: str) -> tuple[Array, Array]:
        layer = f"blocks.{component.block}.{name}"
        weight = array(self.model.get_parameter(f"{layer}.weight"))
        return weight, array(self.model.get_parameter(f"{layer}.bias"))

    @torch.no_grad()
    def at_start(self, ids: Tensor) -> dict[tuple[int, str], Array]:
        """(b, width) the residual at the first position before each half of each block."""
        seen: dict[tuple[int, str], Array] = {}
        handles = []
        for i, _ in enumerate(self.model.get_submodule("blocks").children()):
            for kind, name in (("head", "attention_norm"), ("neurons", "mlp_norm")):
                norm = self.model.get_submodule(f"blocks.{i}.{name}")
                handles.append(
                    norm.register_forward_hook(
                        lambda _, __, out, at=(i, kind): seen.__setitem__(at, array(out[:, 0]))
                    )
                )
        try:
            self.model(ids)
        finally:
            for handle in handles:
                handle.remove()
        return seen


def array(tensor: Tensor) -> Array:
    """A tensor's values."""
    return tensor.detach().double().numpy()
