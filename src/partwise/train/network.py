"""The networks that Partwise trains itself, and the chains of linear layers in people's files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from partwise.errors import CheckpointError, DataError
from partwise.train.layer_order import LayerOrder, chain_words, natural, numbers, order_of_layers
from partwise.train.weight_files import read_state

ACTIVATIONS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "relu": ("ReLU", nn.ReLU),
    "tanh": ("tanh", nn.Tanh),
    "gelu": ("GELU", nn.GELU),
    "silu": ("SiLU", nn.SiLU),
    "sigmoid": ("sigmoid", nn.Sigmoid),
    "leaky_relu": ("leaky ReLU", nn.LeakyReLU),
    "identity": ("nothing", nn.Identity),
}
"""Activation -> its name in words, and how to make it."""

OTHER_KINDS = {
    "in_proj_weight": "attention",
    "c_attn.weight": "attention",
    "q_proj.weight": "attention",
    "weight_ih_l0": "recurrent layers",
    "weight_g": "weight_norm",
    "weight_v": "weight_norm",
    "weight_orig": "pruned or spectrally normalised weights",
    "original0": "parametrised weights",
    "original": "parametrised weights",
    "W_enc": "a sparse autoencoder",
    "weight_scale": "quantised weights",
    "_packed_params": "quantised weights",
    "lora_A.weight": "an adapter (LoRA)",
}
"""End of a tensor's name -> what it tells."""


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


def own_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, a tied one once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def with_tied(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """A full state dict from `own_weights` of a model like this: tied names get their tensor back.

    Raises:
        CheckpointError: if one is missing that the model has.
    """
    names = {id(tensor): name for name, tensor in own_weights(model).items()}
    state = model.state_dict(keep_vars=True)
    missing = [name for name in names.values() if name not in weights]
    if missing:
        raise CheckpointError(f"{source} has no '{missing[0]}': it is another network's")
    return {name: weights[names[id(tensor)]] for name, tensor in state.items()}


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain of linear layers that was read from a state dict.

    Attributes:
        model: Linear, BatchNorm1d where the file has one, activation; the last layer has none.
        order: names of the layers as in the file, in the order they run, and what tells it.
        norms: names of layers -> name of the BatchNorm that follows each.
        activation: what stands between layers; a key of `ACTIVATIONS`.
        assumed: whether nobody said which.
    """

    model: nn.Sequential
    order: LayerOrder
    norms: Mapping[str, str]
    activation: str
    assumed: bool

    @property
    def words(self) -> str:
        """What was read, and what was assumed."""
        layers = [name or "(unnamed)" for name in self.order.layers]
        said = f"{len(layers)} layer{'s' * (len(layers) > 1)} {chain_words(layers)}"
        if self.order.told_by == "shapes":
            said += " (the one order that fits their shapes)"
        if self.norms:
            after = [name for name in self.order.layers if name in self.norms]
            said += f", BatchNorm after {', '.join(after)}"
        if len(layers) == 1:
            return said
        why = " (assumed; --activation names another)" if self.assumed else ""
        return f"{said}, {ACTIVATIONS[self.activation][0]} between them{why}"


def activation_named(name: str) -> Callable[[], nn.Module]:
    """How to make an activation.

    Raises:
        DataError: if there is none of that name, listing those there are.
    """
    if name not in ACTIVATIONS:
        raise DataError(f"no activation '{name}'; choose {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name][1]


def chain_from_tensors(
    tensors: Mapping[str, Tensor],
    source: str,
    layers: Sequence[str] | None = None,
    activation: str | None = None,
) -> Chain:
    """The chain of linear layers whose state dict these tensors are.

    Weights keep their values: the network is of float64 where one of them is, else of float32,
    which holds every narrower number. BatchNorm layers come back where names tell which layer
    each follows: the next number (`0`, `1`), or the same one (`fc1`, `bn1`). They stand before
    the activation, with PyTorch's eps.

    Args:
        tensors: name -> tensor.
        source: what messages call the file.
        layers: the order of the layers; from names and shapes without it (`order_of_layers`).
        activation: a key of `ACTIVATIONS`; ReLU without it, since no state dict tells.

    Raises:
        CheckpointError: if a tensor is no such layer's, layers do not fit together, or more than
            one order does.
        DataError: if there is no such activation.
    """
    make = activation_named("relu" if activation is None else activation)
    linear, norms = _linear_and_norms(tensors, source)
    widths = {name: (int(t.shape[1]), int(t.shape[0])) for name, t in linear.items()}
    order = order_of_layers(widths, source, layers)
    follows = _norm_after(order.layers, norms, widths, source)
    floating = [t for t in tensors.values() if t.is_floating_point()]
    wide = any(t.dtype == torch.float64 for t in floating)
    dtype = torch.float64 if wide else torch.float32
    parts: list[nn.Module] = []
    renamed: dict[str, Tensor] = {}

    def add(module: nn.Module, name: str, defaults: Mapping[str, Tensor]) -> None:
        for part, default in defaults.items():
            tensor = tensors.get(_joined(name, part), default)
            renamed[f"{len(parts)}.{part}"] = tensor.to(dtype if part in FLOATING else torch.long)
        parts.append(module)

    for i, name in enumerate(order.layers):
        reads, writes = widths[name]
        if i:
            parts.append(make())
        bias = torch.zeros(writes)
        linear_of = partial(skip_init, nn.Linear, reads, writes, dtype=dtype)
        add(linear_of(), name, {"weight": linear[name], "bias": bias})
        if name in follows:
            norm = nn.BatchNorm1d(writes, dtype=dtype)
            add(norm, follows[name], dict(norm.state_dict()))
    model = nn.Sequential(*parts)
    load_weights(model, renamed, source)
    return Chain(model, order, follows, activation or "relu", activation is None)


FLOATING = ("weight", "bias", "running_mean", "running_var")
LINEAR_PARTS = {"weight", "bias"}
NORM_PARTS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def _joined(owner: str, part: str) -> str:
    return f"{owner}.{part}" if owner else part


def _linear_and_norms(
    tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Weight of each linear layer, and width of each BatchNorm."""
    owners: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        owner, _, part = name.rpartition(".")
        owners[owner][part] = tensor
    linear, norms, strangers = {}, {}, []
    for owner, own in owners.items():
        weight = own.get("weight")
        if {"running_mean", "running_var"} <= own.keys() <= NORM_PARTS:
            if own["running_mean"].dim() == 1:
                norms[owner] = len(own["running_mean"])
                continue
        elif weight is not None and own.keys() <= LINEAR_PARTS and weight.dim() == 2:
            linear[owner] = weight
            continue
        strangers += [_joined(owner, part) for part in own]
    if strangers or not linear:
        raise CheckpointError(
            f"{source} is no MLP's state dict: it holds {_found(tensors, strangers)}. A whole "
            "network needs .pt2 (torch.export) or .onnx, or Python (unit_graph(model, example))"
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith("num_batches_tracked"):
            raise CheckpointError(
                f"{source}: {name} holds {str(tensor.dtype).removeprefix('torch.')}, which does "
                "not say which weights it stands for; save floating-point weights"
            )
        if tensor.numel() == 0:
            raise CheckpointError(f"{source}: {name} is empty (shape {tuple(tensor.shape)})")
    return linear, norms


def _found(tensors: Mapping[str, Tensor], strangers: Sequence[str]) -> str:
    """What a state dict holds that is no linear layer, in words."""
    if not tensors:
        return "no weights"
    if not strangers:
        return "no weights of linear layers"
    kinds: dict[str, str] = {}
    for name in sorted(tensors, key=natural):
        for words in [words for end, words in OTHER_KINDS.items() if _ends(name, end)][:1]:
            kinds.setdefault(words, name)
    for name in sorted(strangers, key=natural):
        is_weight = name.rpartition(".")[2] == "weight"
        if is_weight and 3 <= tensors[name].dim() <= 5:
            kinds.setdefault("convolutions", name)
        elif is_weight and tensors[name].dim() == 1:
            kinds.setdefault("normalisations or PReLU", name)
    if kinds:
        return ", ".join(f"{words} ({name})" for words, name in kinds.items())
    some = ", ".join(f"{k} {tuple(tensors[k].shape)}" for k in strangers[:4])
    return some + (f" and {len(strangers) - 4} more" if len(strangers) > 4 else "")


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith("." + end)


def _norm_after(
    layers: Sequence[str],
    norms: Mapping[str, int],
    widths: Mapping[str, tuple[int, int]],
    source: str,
) -> dict[str, str]:
    """Layer -> the BatchNorm that follows it.

    A norm of a layer's own number could also come before it. Then some width must tell: one norm
    that fits only what its layer writes.
    """
    after: dict[str, str] = {}
    told = not any(_same_number(layers, norm) for norm in norms)
    for norm, width in norms.items():
        at = _next_number(layers, norm) or _same_number(layers, norm)
        if at is None or at in after or widths[at][1] != width:
            raise CheckpointError(
                f"{source}: its names do not tell which layer the BatchNorm {norm} ({width} units) "
                "follows; save the network as .pt2 or .onnx instead"
            )
        after[at] = norm
        told |= widths[at][0] != width
    if not told:
        raise CheckpointError(
            f"{source}: nothing tells whether the BatchNorm {next(iter(norms))} comes before or "
            "after its layer; save the network as .pt2 or .onnx instead"
        )
    return after


def _next_number(layers: Sequence[str], norm: str) -> str | None:
    """The layer that is numbered just below, as `nn.Sequential` writes it."""
    owner, _, last = norm.rpartition(".")
    before = _joined(owner, str(int(last) - 1)) if last.isdecimal() else ""
    return before if before in layers else None


def _same_number(layers: Sequence[str], norm: str) -> str | None:
    """The one layer with the same numbers in its name, such as `fc1` for `bn1`."""
    if norm.rpartition(".")[2].isdecimal():
        return None
    alike = [name for name in layers if numbers(name) == numbers(norm) and numbers(norm)]
    return alike[0] if len(alike) == 1 else None


def load_chain(
    path: Path, layers: Sequence[str] | None = None, activation: str | None = None
) -> Chain:
    """A chain of linear layers from a file of its state dict: safetensors, or `torch.save`.

    Raises:
        CheckpointError, DataError: as `read_state` and `chain_from_tensors`.
    """
    return chain_from_tensors(read_state(path), str(path), layers, activation)


def load_mlp(
    path: Path, layers: Sequence[str] | None = None, activation: str | None = None
) -> nn.Sequential:
    """The network of `load_chain`.

    Raises:
        CheckpointError, DataError: likewise.
    """
    return load_chain(path, layers, activation).model
