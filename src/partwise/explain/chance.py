"""What a claim's measure comes to by chance: the level that a claim must leave behind.

| claim | by chance |
|---|---|
| effect, no effect | lesions of as many random live units in each layer |
| effect on a slice | what the lesion adds elsewhere, and what random ones add beyond that |
| ignores | as many random inputs, taken from other samples |
| interface, at most | as many random wires cut in each layer |
| interface, at least | random wires of as much capacity cut in each layer; of a slice, likewise |
| activation | a unit that is always on: F1 = 2s / (1 + s), s the share where the condition holds |
| program | always the network's most frequent answer |
| next token | the network without the module, which must change these answers beyond others |
| attends | attention to all earlier tokens alike |
| promotes | what as many random live units in each layer write |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain.subject import Subject, Wires
from partwise.graph.unit_map import parameter_of
from partwise.tasks import Split

RANDOM = 40
RANDOM_OF_TEXT = 20
TRIES = 20
OUTER = 0.05  # share of the random lesions that a claim may be no better than
MANY_WIRES = 2**20
"""Matrices with more entries lose random wires one by one, with the same expectation."""
Array = NDArray[np.float64]
Among = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Band:
    """What random interventions of the same size add to each sample's loss.

    Attributes:
        added: (draws, b, heads).
    """

    added: NDArray[np.float32]

    def high(self, head: int, among: Among | None = None) -> float:
        """All but `OUTER` of them add less to a head's mean loss, over the samples that count."""
        return float(np.quantile(self._means(head, among), 1 - OUTER))

    def low(self, head: int, among: Among | None = None) -> float:
        """All but `OUTER` of them move it by more, up or down."""
        return float(np.quantile(np.abs(self._means(head, among)), OUTER))

    def beyond_elsewhere(self, head: int, among: Among | None, added: Tensor) -> float:
        """What an effect on a slice must leave behind to be one on the slice.

        All but `OUTER` of the random interventions harm the slice by less beyond the rest than an
        intervention does that adds this to the slice. `high` where all samples count: then there
        is no rest.

        Args:
            head: the question.
            among: (b,) bool, the slice.
            added: (b, heads) what the intervention adds to each sample's loss.
        """
        if among is None or among.all():
            return self.high(head, among)
        beyond = self._means(head, among) - self._means(head, ~among)
        elsewhere = float(added[torch.from_numpy(~among), head].mean())
        return max(elsewhere, 0.0) + float(np.quantile(beyond, 1 - OUTER))

    def _means(self, head: int, among: Among | None) -> Array:
        added = self.added[:, :, head] if among is None else self.added[:, among, head]
        return added.mean(1, dtype=np.float64)


def lesion_band(subject: Subject, split: Split, module: int) -> Band:
    """Lesions of as many live units, drawn in every layer."""

    def draw(rng: np.random.Generator) -> Tensor:
        held = torch.as_tensor(random_members(subject, module, rng))
        return subject.losses_without_units(split, held)

    return subject.once(("lesions", split, module), lambda: _band(subject, split, draw))


def random_members(subject: Subject, module: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,) bool: as many live units as a module has, drawn in every layer, and not its own."""
    own = subject.members(module).numpy()

    def drawn(rng: np.random.Generator) -> NDArray[np.bool_]:
        held = np.zeros(subject.units.n, bool)
        for group in subject.units.groups:
            live = group.start + np.flatnonzero(subject.live[group.start : group.stop])
            held[rng.choice(live, int(own[live].sum()), replace=False)] = True
        return held

    return _another(drawn, own & subject.live, rng)


def is_its_own(subject: Subject, module: int, ids: Tensor, where: str) -> tuple[float, float]:
    """How much more a lesion changes some predictions than others, and what random ones do.

    Of the evidence, the tokens of the slice that the network predicts so are set against all
    others: the share of the former whose likeliest token changes, less that of the latter.

    Args:
        subject: a language model, taken apart.
        module: held at its means; as many random live units for the comparison.
        ids: (tokens,) the predictions that are claimed.
        where: the slice; all tokens if empty.

    Returns:
        The module's difference, and what all but `OUTER` of the random lesions stay below.
    """

    def drawn() -> Tensor:
        rng, found = np.random.default_rng((subject.seed, 42)), []
        for _ in range(RANDOM_OF_TEXT):
            held = torch.as_tensor(random_members(subject, module, rng))
            with subject.holding("train", held) as model:
                found.append(subject.answers("train", 0, model))
        return torch.stack(found)

    answers, among = subject.answers("train", 0), subject.slice("train", where)
    chosen = answers == ids
    if among is not None:
        chosen &= torch.from_numpy(among)
    if not chosen.any() or chosen.all():
        return 0.0, 1.0  # nothing is singled out

    def difference(without: Tensor) -> Tensor:
        changed = (without != answers).float()
        return changed[..., chosen].mean(-1) - changed[..., ~chosen].mean(-1)

    own = difference(subject.answers_without_module("train", module, 0))
    random = difference(subject.once(("random answers", module), drawn))
    return float(own), float(np.quantile(random.numpy(), 1 - OUTER))


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
    subject: Subject,
    split: Split,
    pair: tuple[int, int],
    by: Literal["number", "capacity"],
    reader: int | None = None,
) -> Band:
    """As many random wires cut, or wires of as much capacity, in every layer.

    Args:
        subject: the network, taken apart.
        split: which rows.
        pair: the modules whose wires are counted.
        by: what is as much.
        reader: count only what this module reads of the other.
    """
    kept = subject.without_wires(pair, reader)

    def draw(rng: np.random.Generator) -> Tensor:
        drawn: Wires = {}
        for name, keep in kept.items():
            weight = subject.model.get_parameter(parameter_of(name)).detach()
            crossing = ~keep.reshape(*keep.shape[:2], -1).all(2)
            crossing = crossing.expand(weight.shape[:2])
            strength = weight.abs().reshape(*weight.shape[:2], -1).sum(2)
            stays = ~_cut_like(crossing, strength, by, rng)
            drawn[name] = stays.reshape(*stays.shape, *[1] * (weight.dim() - 2))
        return subject.losses_with_wires(split, drawn)

    return subject.once(("wires", split, pair, by, reader), lambda: _band(subject, split, draw))


def _cut_like(
    crossing: Tensor, strength: Tensor, by: Literal["number", "capacity"], rng: np.random.Generator
) -> Tensor:
    """Random wires of a layer: as many as cross, or as much as they carry."""
    if crossing.numel() > MANY_WIRES:
        share = crossing.float().mean()
        if by == "capacity":
            share = strength[crossing].sum() / strength.sum().clamp_min(1e-30)
        seed = int(rng.integers(2**31))
        return torch.rand(crossing.shape, generator=torch.Generator().manual_seed(seed)) < share
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
    draws = RANDOM_OF_TEXT if subject.of_text else RANDOM
    return Band(np.stack([(draw(rng) - before).numpy() for _ in range(draws)]))
