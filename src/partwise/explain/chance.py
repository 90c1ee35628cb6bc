"""What a claim's measure comes to by chance: the level that a claim must leave behind.

| claim | by chance |
|---|---|
| effect, no effect | lesions of as many random live units in each layer |
| ignores | as many random inputs, taken from other samples |
| interface, at most | as many random wires cut in each layer |
| interface, at least | random wires of as much capacity cut in each layer |
| activation | a unit that is always on: F1 = 2s / (1 + s), s the share where the condition holds |
| program | always the network's most frequent answer |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain.subject import Subject, Wires
from partwise.graph.unit_map import parameter_of
from partwise.interventions.masks import inside_modules
from partwise.tasks import Split

RANDOM = 40
TRIES = 20
OUTER = 0.05  # share of the random lesions that a claim may be no better than
Array = NDArray[np.float64]


class Band(NamedTuple):
    """(heads,) what random lesions of the same size add to each head's loss.

    Attributes:
        high: all but `OUTER` of them add less.
        low: all but `OUTER` of them move it by more, up or down.
    """

    high: Array
    low: Array


def lesion_band(subject: Subject, split: Split, module: int) -> Band:
    """Lesions of as many live units, drawn in every layer."""
    own, groups = subject.members(module).numpy(), subject.units.groups[:-1]

    def drawn(rng: np.random.Generator) -> NDArray[np.bool_]:
        held = np.zeros(subject.units.n, bool)
        for group in groups:
            live = group.start + np.flatnonzero(subject.live[group.start : group.stop])
            held[rng.choice(live, int(own[live].sum()), replace=False)] = True
        return held

    def draw(rng: np.random.Generator) -> Tensor:
        held = _another(drawn, own & subject.live, rng)
        return subject.losses_without_units(split, torch.as_tensor(held))

    return subject.once(("lesions", split, module), lambda: _band(subject, split, draw))


def input_band(subject: Subject, split: Split, inputs: tuple[int, ...]) -> Band:
    """As many random inputs that vary, each taken from another sample."""
    varying = np.flatnonzero(subject.live[: len(subject.task.inputs)])
    own = varying[np.isin(varying, inputs)]
    count = len(own)

    def draw(rng: np.random.Generator) -> Tensor:
        drawn = _another(lambda r: np.sort(r.choice(varying, count, replace=False)), own, rng)
        chosen = tuple(drawn.tolist())
        giver = givers(len(subject.batch(split).x), 1, rng)[0]
        return subject.losses_with_resampled(split, chosen, giver)

    return subject.once(("inputs", split, tuple(own)), lambda: _band(subject, split, draw))


def wire_band(
    subject: Subject, split: Split, pair: tuple[int, int], by: Literal["number", "capacity"]
) -> Band:
    """As many random wires cut, or wires of as much capacity, in every layer."""
    labels = torch.as_tensor(subject.labels)
    kept = inside_modules(subject.model, subject.units, labels, pair)

    def draw(rng: np.random.Generator) -> Tensor:
        drawn: Wires = {}
        for name, keep in kept.items():
            weight = subject.model.get_parameter(parameter_of(name)).detach()
            crossing = ~keep.reshape(*keep.shape[:2], -1).all(2)
            strength = weight.abs().reshape(*weight.shape[:2], -1).sum(2)
            stays = ~_cut_like(crossing, strength, by, rng)
            drawn[name] = stays.reshape(*stays.shape, *[1] * (weight.dim() - 2))
        return subject.losses_with_wires(split, drawn)

    return subject.once(("wires", split, pair, by), lambda: _band(subject, split, draw))


def _cut_like(
    crossing: Tensor, strength: Tensor, by: Literal["number", "capacity"], rng: np.random.Generator
) -> Tensor:
    """Random wires of a layer: as many as cross, or as much as they carry."""
    order = torch.as_tensor(rng.permutation(crossing.numel()))
    if by == "number":
        count = int(crossing.sum())
    else:
        carried = strength.flatten()[order].cumsum(0)
        count = int(torch.searchsorted(carried, strength[crossing].sum()))
    cut = torch.zeros(crossing.numel(), dtype=torch.bool)
    cut[order[:count]] = True
    return cut.reshape(crossing.shape)


def _another(
    draw: Callable[[np.random.Generator], NDArray[Any]],
    own: NDArray[Any],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """A draw that is not `own` itself, if there is one to be had."""
    for _ in range(TRIES):
        found = draw(rng)
        if not np.array_equal(found, own):
            break
    return found


def givers(count: int, rounds: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """`rounds` ways to give every sample another one, each as often as any other."""
    if count < 2:
        return [np.zeros(count, np.int64)]
    order = rng.permutation(count)
    back = np.argsort(order)
    steps = rng.permutation(np.arange(1, count))[:rounds]
    return [order[(back + step) % count] for step in steps]


def _band(subject: Subject, split: Split, draw: Callable[[np.random.Generator], Tensor]) -> Band:
    rng, before = np.random.default_rng((subject.seed, 40)), subject.losses(split)
    added = [(draw(rng) - before).mean(0).double().numpy() for _ in range(RANDOM)]
    high = np.quantile(np.stack(added), 1 - OUTER, axis=0)
    return Band(high, np.quantile(np.abs(np.stack(added)), OUTER, axis=0))
