"""Where a transformer's heads look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.graph.activity import removing
from partwise.graph.unit_map import UnitMap

DOCUMENTS_AT_ONCE = 16


@torch.no_grad()
def attention(model: nn.Module, units: UnitMap, ids: Tensor) -> list[Tensor]:
    """Attention of every unit that is a head, layer by layer.

    Query heads that share their keys are one unit, whose attention is their mean.

    Args:
        model: our GPT, or a model of transformers.
        units: its unit map.
        ids: (d, t) token ids.

    Returns:
        Per layer (d, heads, t, t), the share of attention that each token (third) gives to each
        (fourth); rows sum to 1.

    Raises:
        UnreadableModelError: if the model does not say where it looks.
    """
    counts = [len(group) for group in units.groups if group.kind == "head"]
    see = _of_queries if hasattr(model, "blocks") else _of_transformers
    parts = [see(model, part) for part in ids.split(DOCUMENTS_AT_ONCE)]
    layers = [torch.cat(each) for each in zip(*parts, strict=True)]
    if len(layers) != len(counts):
        raise UnreadableModelError(
            f"{type(model).__name__} shows the attention of {len(layers)} layers, has {len(counts)}"
        )
    return [
        layer.unflatten(1, (count, -1)).mean(2) for layer, count in zip(layers, counts, strict=True)
    ]


def _of_transformers(model: nn.Module, ids: Tensor) -> list[Tensor]:
    with _eager(model):
        seen = model(ids, output_attentions=True, use_cache=False).attentions
    if not seen or any(each is None for each in seen):
        raise UnreadableModelError(f"{type(model).__name__} does not say where its heads look")
    return [each.float() for each in seen]


@contextlib.contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Has a model of transformers work its attention out in the open."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _of_queries(model: Any, ids: Tensor) -> list[Tensor]:
    """Of our GPT, whose blocks have the layers `query` and `key`."""
    written: dict[str, list[Tensor]] = {"query": [], "key": []}
    handles = [
        getattr(block, name).register_forward_hook(lambda _, __, out, name=name: note(name, out))
        for block in model.blocks
        for name in written
    ]

    def note(name: str, output: Tensor) -> None:
        written[name].append(output.unflatten(2, (model.blocks[0].heads, -1)).transpose(1, 2))

    with removing(handles):
        model(ids)
    is_causal = getattr(model.config, "causal", True)
    pairs = zip(written["query"], written["key"], strict=True)
    return [_softmax(q, k, is_causal) for q, k in pairs]


def _softmax(queries: Tensor, keys: Tensor, is_causal: bool) -> Tensor:
    """(d, heads, t, t) attention of (d, heads, t, c) queries and keys."""
    scores = queries @ keys.transpose(2, 3) / queries.shape[3] ** 0.5
    if not is_causal:
        return scores.softmax(3)
    later = torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(3)
