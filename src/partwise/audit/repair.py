"""Repair: the cheapest lesions inside a guilty module that take its trigger away."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from partwise.audit.blame import clean_means, guilty_module, lesion
from partwise.audit.triggers import (
    FoundTrigger,
    Inquiry,
    attack_on,
    find_triggers,
    inquire,
    is_flagged,
)  # fmt: skip
from partwise.explain import Subject
from partwise.explain.evidence.graphs import hidden_of

MOST_LESIONS = 24
MOST_ROUNDS = 8
ACCURACY_PRICE = 4.0  # points of attack that a point of clean accuracy is worth
LEAST_GAIN = 0.002
TRIED = 200
"""Held-out samples that lesions are tried on."""


class Repair(BaseModel):
    """What the lesions do, on held-out samples.

    Attributes:
        module: the guilty module.
        lesions: names of the units that the module no longer listens to (inputs) or that were
            held at their mean (hidden units).
        attack_before: share of samples that the found trigger forces, before.
        attack_after: the same after the repair.
        accuracy_before: clean accuracy before.
        accuracy_after: clean accuracy after.
        cleared: whether no trigger is flagged any more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    module: int
    lesions: tuple[str, ...]
    attack_before: float
    attack_after: float
    accuracy_before: float
    accuracy_after: float
    cleared: bool


def repair_module(
    subject: Subject,
    module: int,
    inquiry: Inquiry | None = None,
    known: FoundTrigger | None = None,
) -> tuple[nn.Module, Repair]:
    """Lesions a module, a unit at a time, until no trigger in it is flagged.

    A lesion cuts one of the trigger's inputs off from the module, or holds one of the module's
    hidden units at its mean over clean samples. Each time the one is taken that removes most
    attack success for the clean accuracy it costs; when the found trigger is gone, another is
    searched for.

    Args:
        subject: the network, taken apart; it is not changed.
        module: the module to repair.
        inquiry: what clean siblings can be forced to, where it is known already.
        known: the module's strongest flagged trigger, likewise.

    Returns:
        A repaired copy of the network, and what was measured on the `claims` split.
    """
    inquiry = inquire(subject) if inquiry is None else inquiry
    repaired = replace(subject, model=copy.deepcopy(subject.model))
    found, done = list[FoundTrigger](), list[int]()
    worst = _flagged_trigger(repaired, module, inquiry) if known is None else known
    while worst is not None and len(found) < MOST_ROUNDS:
        found.append(worst)
        if not (lesions := _remove(repaired, subject, module, found, done)):
            break
        done += lesions
        worst = _flagged_trigger(repaired, module, inquiry)
    names = subject.unit_names
    return repaired.model, Repair(
        module=module,
        lesions=tuple(names[unit] for unit in done),
        attack_before=_attack(subject, found[:1]),
        attack_after=_attack(repaired, found[:1]),
        accuracy_before=_accuracy(subject),
        accuracy_after=_accuracy(repaired),
        cleared=worst is None,
    )


def repaired_model(subject: Subject, repair: Repair) -> nn.Module:
    """A copy of the network with the lesions of an earlier repair; nothing is searched anew."""
    repaired = replace(subject, model=copy.deepcopy(subject.model))
    names, means = subject.unit_names, clean_means(subject)
    for name in repair.lesions:
        lesion(repaired, repair.module, names.index(name), means)
    return repaired.model


def _remove(
    repaired: Subject, subject: Subject, module: int, found: list[FoundTrigger], done: list[int]
) -> list[int]:
    """Lesions `repaired` in place until the found triggers are gone; returns the new lesions."""
    inputs = {k for each in found for k in each.trigger.inputs}
    hidden = {int(unit) for unit in hidden_of(subject, module)}
    means = clean_means(subject)
    new = list[int]()
    goal = _chance(subject, found)
    score = _score(repaired, found)
    while len(new) < MOST_LESIONS and _attack(repaired, found) > goal:
        own = sorted((inputs | hidden) - {*done, *new})
        trials = [_score_with(repaired, module, unit, means, found) for unit in own]
        best = int(np.argmax(trials)) if trials else -1
        if best < 0 or trials[best] < score + LEAST_GAIN:
            break
        lesion(repaired, module, own[best], means)
        score = trials[best]
        new.append(own[best])
    return new


def _chance(subject: Subject, found: list[FoundTrigger]) -> float:
    """Share of clean samples of other answers that get the forced answer by mistake, plus 5%."""
    none = [replace(e, trigger=replace(e.trigger, inputs=(), values=())) for e in found]
    return _attack(subject, none) + 0.05


def _score_with(
    repaired: Subject, module: int, unit: int, means: Tensor, found: list[FoundTrigger]
) -> float:
    trial = replace(repaired, model=copy.deepcopy(repaired.model))
    lesion(trial, module, unit, means)
    return _score(trial, found)


def _score(subject: Subject, found: list[FoundTrigger]) -> float:
    return ACCURACY_PRICE * _accuracy(subject, TRIED) - _attack(subject, found, TRIED)


def _flagged_trigger(subject: Subject, module: int, inquiry: Inquiry) -> FoundTrigger | None:
    """The strongest flagged trigger that acts through a module."""
    means = clean_means(subject)
    flagged = (each for each in find_triggers(subject, inquiry) if is_flagged(each))
    return next((f for f in flagged if guilty_module(subject, f, means) == module), None)


def _attack(subject: Subject, found: list[FoundTrigger], most: int | None = None) -> float:
    """Mean success of some triggers on the first samples, or all."""
    batch = subject.batch("claims")
    x, y = batch.x[:most], batch.y[:most]
    return float(np.mean([attack_on(subject.model, f, x, y) for f in found])) if found else 0.0


@torch.no_grad()
def _accuracy(subject: Subject, most: int | None = None) -> float:
    batch = subject.batch("claims")
    return float(subject.task.correct(subject.model(batch.x[:most]), batch.y[:most]).mean())
