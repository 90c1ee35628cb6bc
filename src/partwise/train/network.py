"""The networks that Partwise trains itself, and their checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from partwise.errors import CheckpointError
from partwise.files import read_tensors


def mlp(widths: Sequence[int], seed: int = 0) -> nn.Sequential:
    """Linear layers with ReLU between them, PyTorch's default initialisation.

    Args:
        widths: units per layer, inputs first, outputs last.
        seed: seed of the weights; the global generator is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.ReLU(), nn.Linear(a, b)] if i else [nn.Linear(a, b)]
        return nn.Sequential(*layers)


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fills a model with a state dict that must fit it exactly.

    Raises:
        CheckpointError: naming missing, extra or wrongly shaped tensors, or NaN weights.
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise CheckpointError(
            f"{source} does not fit the network: missing {missing or 'nothing'}, "
            f"not expected {extra or 'nothing'}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensor.shape)}, "
                f"the network needs {tuple(own[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source}: {name} holds NaN or infinite weights")
    model.load_state_dict(dict(tensors))


def mlp_from_tensors(tensors: Mapping[str, Tensor], source: str) -> nn.Sequential:
    """The ReLU network whose state dict these tensors are.

    Linear layers are taken in the order of the numbers in their names, as
    `nn.Sequential` writes them (`0.weight`, `2.weight`, ... or `net.0.weight`).

    Raises:
        CheckpointError: if a tensor is no linear layer's, or two layers do not fit together.
    """
    weights = {k.removesuffix(".weight"): t for k, t in tensors.items() if k.endswith(".weight")}
    layers = sorted(weights, key=_natural)
    strangers = tensors.keys() - {f"{k}.{part}" for k in layers for part in ("weight", "bias")}
    odd = [f"{k}.weight" for k in layers if weights[k].dim() != 2]
    if not layers or strangers or odd:
        raise CheckpointError(
            f"{source} is no MLP's state dict (it wants 'NAME.weight' matrices and 'NAME.bias'): "
            f"{sorted(strangers) + odd or 'it holds no weights'}"
        )
    for a, b in pairwise(layers):
        if weights[a].shape[0] != weights[b].shape[1]:
            raise CheckpointError(
                f"{source}: layer {a} writes {weights[a].shape[0]} units, "
                f"but layer {b} reads {weights[b].shape[1]}"
            )
    model = mlp([weights[layers[0]].shape[1], *(weights[k].shape[0] for k in layers)])
    renamed = {}
    for i, layer in enumerate(layers):
        renamed[f"{2 * i}.weight"] = weights[layer].float()
        bias = tensors.get(f"{layer}.bias", torch.zeros(len(weights[layer])))
        renamed[f"{2 * i}.bias"] = bias.float()
    load_weights(model, renamed, source)
    return model


def load_mlp(path: Path) -> nn.Sequential:
    """An MLP from any safetensors file of its state dict.

    Raises:
        CheckpointError: as `read_tensors` and `mlp_from_tensors`.
    """
    return mlp_from_tensors(read_tensors(path), str(path))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
