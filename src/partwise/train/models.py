"""What a recipe's `[model]` stands for: a network, and how its units are read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from partwise.errors import DataError, RecipeError
from partwise.graph import UnitMap, unit_map
from partwise.graph.transformer import transformer_map
from partwise.tasks import Data, Task, Text
from partwise.train.factories import network_from
from partwise.train.gpt import GPT, GPTConfig
from partwise.train.network import mlp
from partwise.train.recipe import (
    ConvModel,
    FactoryModel,
    GPTModel,
    MLPModel,
    PretrainedModel,
    Recipe,
)


def build_model(recipe: Recipe, data: Data) -> nn.Module:
    """A fresh network for the data; one that is `pretrained` is loaded elsewhere.

    Raises:
        RecipeError: if the model cannot read such data, or a factory gives no network.
    """
    model = recipe.model
    if isinstance(model, FactoryModel):
        return _own(model, data, recipe.seed)
    if isinstance(model, GPTModel):
        text = _wanted(data, Text, model.kind)
        sizes = model.context, model.width, model.heads, model.layers
        return GPT(GPTConfig(len(text.corpus.vocabulary), *sizes), recipe.seed)
    assert not isinstance(model, PretrainedModel)
    task = _wanted(data, Task, model.kind)
    if isinstance(model, MLPModel):
        return mlp([len(task.inputs), *model.hidden, len(task.outputs)], recipe.seed)
    return conv(model, _shape(model, task), len(task.outputs), recipe.seed)


def read_units(model: nn.Module, data: Data | None) -> UnitMap:
    """The unit map of a network.

    Args:
        model: a language model by its layout, any other by running it on rows.
        data: what it reads; None for text that nobody has loaded.

    Raises:
        UnreadableModelError: naming the architecture, or the first operation, that is not known.
    """
    if isinstance(data, Task):
        return unit_map(model, data.batch("train", 2, 0).x)
    return transformer_map(model)


def conv(
    recipe: ConvModel, shape: tuple[int, int, int], outputs: int, seed: int = 0
) -> nn.Sequential:
    """Convolutions over flat rows, as `ConvModel` says.

    Args:
        recipe: its sizes.
        shape: channels, height and width of the picture that a row is.
        outputs: units of the last layer.
        seed: seed of the weights; the global generator is left alone.

    Raises:
        RecipeError: if nothing is left of the picture after the last pooling.
    """
    channels, *side = shape
    layers: list[nn.Module] = [nn.Unflatten(1, shape)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for wide in recipe.channels:
            layers += [nn.Conv2d(channels, wide, recipe.kernel, padding="same"), nn.ReLU()]
            if recipe.pool > 1:
                layers.append(nn.MaxPool2d(recipe.pool))
            channels, side = wide, [length // recipe.pool for length in side]
        if min(side) < 1:
            raise RecipeError(
                f"nothing is left of a picture of {shape[1]}x{shape[2]} after it was pooled "
                f"{len(recipe.channels)} times by {recipe.pool}; set model.pool or model.channels"
            )
        widths = [channels * side[0] * side[1], *recipe.hidden, outputs]
        layers.append(nn.Flatten())
        for i, (reads, writes) in enumerate(pairwise(widths)):
            layers += [nn.ReLU(), nn.Linear(reads, writes)] if i else [nn.Linear(reads, writes)]
    return nn.Sequential(*layers)


def _shape(model: ConvModel, task: Task) -> tuple[int, int, int]:
    shape = model.shape or (None if task.picture is None else (1, *task.picture))
    if shape is None:
        raise RecipeError(
            f"{task.name} does not say that its inputs are a picture; set model.shape = "
            "[channels, height, width]"
        )
    if shape[0] * shape[1] * shape[2] != len(task.inputs):
        raise RecipeError(f"model.shape = {list(shape)} does not fit {len(task.inputs)} inputs")
    return shape


def _own(model: FactoryModel, data: Data, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = network_from(model.factory, data)
    if isinstance(data, Task):
        _refuse_other_outputs(made, data, model.factory)
    return made


def _refuse_other_outputs(model: nn.Module, task: Task, name: str) -> None:
    with torch.no_grad():
        found = tuple(model(task.batch("train", 2, 0).x).shape)
    if found != (2, len(task.outputs)):
        raise RecipeError(
            f"the network of {name} gives {found} for two rows, {task.name} wants "
            f"(2, {len(task.outputs)})"
        )


def _wanted(data: Data, kind: type[Any], model: str) -> Any:
    if not isinstance(data, kind):
        raise RecipeError(
            f"model.kind = '{model}' cannot read a {type(data).__name__}; it reads a "
            f"{kind.__name__}"
        )
    return data


def refuse_long_context(recipe: Recipe, model: Any) -> None:
    """Refuses sequences that a pretrained model has no positions for.

    Raises:
        DataError: if there are too few.
    """
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and recipe.context > longest:
        raise DataError(
            f"sequences of {recipe.context} tokens are longer than the model's context of "
            f"{longest}; set context to at most {longest}"
        )
