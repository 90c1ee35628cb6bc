"""Example inputs for models that are read without one: what the layers' sizes allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from partwise.errors import UnreadableModelError

SIDES = (32, 28, 224, 64, 8, 16, 128, 96, 256, 299, 384)
"""Sides of pictures that are tried, and lengths of signals; then all up to the last."""
MOST_SIDE = 80
LENGTH = 5

Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any] | int | None
"""Inputs of a model: a tensor, positional ones, ones by name; a number of features; or nothing."""


def as_arguments(model: nn.Module, example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments that the model is run on, on its device and in its type."""
    like = next(iter(model.parameters()), torch.zeros(()))

    def fitting(value: Tensor) -> Tensor:
        if not value.dtype.is_floating_point:
            return value.to(like.device)
        return value.detach().to(like.device, like.dtype)

    if isinstance(example, Mapping):
        return (), tree_map_only(Tensor, fitting, dict(example))
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    return tree_map_only(Tensor, fitting, inputs), {}


def guesses(model: nn.Module, features: int | None) -> Iterator[Tensor]:
    """Inputs that the model may take, the likeliest first.

    Args:
        model: the model.
        features: number of input features or channels, where it is known.
    """
    layers = [layer for layer in model.modules() if not list(layer.children())]
    shapes: dict[tuple[int, ...], None] = {}
    for layer in layers:
        if isinstance(layer, nn.Embedding):
            yield torch.zeros(2, LENGTH, dtype=torch.long)
        shapes.update(dict.fromkeys(_shapes(layer, features)))
    for parameter in model.parameters():
        if parameter.dim() == 2:
            shapes.update(dict.fromkeys((2, size) for size in reversed(parameter.shape)))
    if features is not None:
        shapes = {(2, features): None, **shapes}
    for shape in shapes:
        yield torch.zeros(shape)


def _shapes(layer: nn.Module, features: int | None) -> Iterator[tuple[int, ...]]:
    if isinstance(layer, nn.Linear):
        yield from _flat(features or layer.in_features)
    elif isinstance(layer, nn.modules.conv._ConvNd):
        axes = len(layer.kernel_size)
        sides = dict.fromkeys((*SIDES, *range(1, MOST_SIDE)))
        for side in sides:
            yield (2, features or layer.in_channels, *[side] * axes)
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        yield from _flat(features or layer.num_features)
    elif isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        yield (2, *layer.normalized_shape)
        yield (2, LENGTH, *layer.normalized_shape)
    elif isinstance(layer, nn.RNNBase):
        yield (2, LENGTH, layer.input_size)


def _flat(width: int) -> Iterator[tuple[int, ...]]:
    yield (2, width)
    yield (2, LENGTH, width)


def refuse_without_weights(model: nn.Module) -> None:
    """Stops at a model whose weights are not there.

    Raises:
        UnreadableModelError: naming the first parameter without shape or values.
    """
    for name, tensor in model.named_parameters():
        if isinstance(tensor, nn.parameter.UninitializedParameter):
            raise UnreadableModelError(
                f"'{name}' is lazy and has no weights yet; run the model on an example once"
            )
        if tensor.is_meta:
            raise UnreadableModelError(
                f"'{name}' is on the meta device and has no values; load the weights first"
            )
