"""Blame: the module that a trigger acts through."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from partwise.audit.triggers import FoundTrigger, attack_on
from partwise.explain import Subject


def clean_means(subject: Subject) -> Tensor:
    """(n,) mean of every unit over clean samples."""
    return subject.once(
        "clean means", lambda: subject.lesions.activations(subject.batch("train").x).mean(0)
    )


def guilty_module(subject: Subject, found: FoundTrigger, means: Tensor) -> int:
    """The module without whose ear for the trigger's inputs least of the attack is left.

    Of modules alike, the one with most of the trigger's inputs, then the forced output's.
    """
    if subject.modules == 1:
        return 0
    batch = subject.batch("claims")
    first = subject.graph.n - len(subject.task.outputs)
    asked = found.aim.head
    own = first + asked.start + (found.aim.answer if asked.kind == "classes" else 0)

    def innocence(module: int) -> tuple[float, int, bool]:
        trial = replace(subject, model=copy.deepcopy(subject.model))
        for unit in found.trigger.inputs:
            lesion(trial, module, unit, means)
        inputs = int((subject.labels[list(found.trigger.inputs)] == module).sum())
        left = attack_on(trial.model, found, batch.x, batch.y)
        return round(left, 2), -inputs, bool(subject.labels[own] != module)

    return min(range(subject.modules), key=innocence)


@torch.no_grad()
def lesion(subject: Subject, module: int, unit: int, means: Tensor) -> None:
    """Takes a unit away from a module's units, in place.

    What its readers got from it on average goes to their biases, where they have one. A pixel
    that convolutions read takes its whole map along.
    """
    parameters = dict(subject.model.named_parameters())
    member = torch.as_tensor(subject.labels == module)
    for heard, block in product(_heard_as(subject, unit), subject.units.blocks):
        weight = parameters[block.parameter]
        gone = member[block.rows][:, None] & (block.columns == heard)
        gone = gone.expand(weight.shape[:2])
        bias = parameters.get(block.parameter.removesuffix("weight") + "bias")
        if bias is not None:
            bias.add_((weight.reshape(*gone.shape, -1).sum(2) * gone).sum(1) * means[heard])
        weight[gone] = 0


def _heard_as(subject: Subject, unit: int) -> list[int]:
    """What layers read of a unit: itself, or the maps that it is a pixel of."""
    if any(bool((block.columns == unit).any()) for block in subject.units.blocks):
        return [unit]
    wires = subject.units.wires
    return [int(k) for wire in wires for k in wire.rows[(wire.columns == unit).any(1)]]
