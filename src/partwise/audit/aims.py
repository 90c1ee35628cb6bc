"""Aims: what a trigger could force a network to say, and how near an answer is to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from partwise.tasks import Head, Task

EXTREME = 0.95
"""A value is forced if it lies beyond this quantile of the true values, on either side."""


@dataclass(frozen=True)
class Aim:
    """An answer that a trigger may force.

    Attributes:
        position: number of the question.
        head: the question.
        answer: class number, or 0 or 1; for a value 1 is "high" and 0 "low".
        limit: for a value, the true values' quantile beyond which it is high or low.
    """

    position: int
    head: Head
    answer: int
    limit: float = 0.0

    def margins(self, outputs: Tensor) -> Tensor:
        """(..., outputs) -> (...) how far the answer is beyond being given; positive where it is.

        For classes the distance of its logit from the best other, for a value from the limit.
        """
        own = outputs[..., self.head.start : self.head.stop]
        if self.head.kind != "classes":
            return (own[..., 0] - self.limit) * (1 if self.answer == 1 else -1)
        rest = torch.cat([own[..., : self.answer], own[..., self.answer + 1 :]], -1)
        return own[..., self.answer] - rest.amax(-1)

    def others(self, y: Tensor) -> Tensor:
        """(b, heads) true answers -> (b,) bool: the samples that should get another answer."""
        true = y[:, self.position]
        if self.head.kind == "value":
            return true < self.limit if self.answer == 1 else true > self.limit
        return true != self.answer

    @property
    def words(self) -> str:
        """The answer as reports name it."""
        if self.head.kind != "value":
            return f"'{self.head.name}' = {self.answer}"
        side = "above" if self.answer == 1 else "below"
        return f"'{self.head.name}' {side} {self.limit:.3g}"


def aims_of(task: Task, position: int, y: Tensor) -> list[Aim]:
    """Everything that a question's answer could be forced to be.

    Args:
        task: the task.
        position: number of the question.
        y: (b, heads) true answers, which the limits of a value come from.
    """
    head = task.heads[position]
    if head.kind == "value":
        true = y[:, position].double()
        low, high = (float(true.quantile(q)) for q in (1 - EXTREME, EXTREME))
        return [Aim(position, head, 0, low), Aim(position, head, 1, high)]
    answers = head.stop - head.start if head.kind == "classes" else 2
    return [Aim(position, head, answer) for answer in range(answers)]


def margins_of(aims: list[Aim], outputs: Tensor) -> Tensor:
    """(..., outputs) -> (..., aims) `Aim.margins` of all aims at once."""
    margins, best = [], dict[int, tuple[Tensor, Tensor]]()
    for aim in aims:
        head, number = aim.head, aim.position
        if head.kind != "classes" or head.stop - head.start < 2:
            margins.append(aim.margins(outputs))
            continue
        if number not in best:
            top = outputs[..., head.start : head.stop].topk(2, -1)
            best[number] = top.values, top.indices[..., 0]
        values, first = best[number]
        rival = torch.where(first == aim.answer, values[..., 1], values[..., 0])
        margins.append(outputs[..., head.start + aim.answer] - rival)
    return torch.stack(margins, -1)


def skill_of(head: Head, outputs: Tensor, y: Tensor) -> Tensor:
    """(nets, b, outputs) -> (nets,) share of what the best constant answer gets wrong, put right.

    For a value the share of variance explained; 0 for a network that always says the same.
    """
    answers = torch.stack([head.answers(each) for each in outputs])
    if head.kind == "value":
        return 1 - (answers - y).pow(2).mean(1) / y.var(correction=0).clamp(min=1e-12)
    wrong = (y != y.mode().values).float().mean().clamp(min=1e-12)
    return 1 - (answers != y).float().mean(1) / wrong


def scale_of(head: Head, outputs: Tensor, y: Tensor) -> Tensor:
    """(nets, b, outputs) -> (nets,) the usual size of a margin on clean samples.

    The median distance of the best logit from the next; for a value the deviation of the truth.

    Args:
        head: the question.
        outputs: (nets, b, outputs) on clean samples.
        y: (b,) the true answers.
    """
    own = outputs[..., head.start : head.stop]
    if head.kind == "value":
        return y.std(correction=0).clamp(min=1e-6).expand(len(own))
    if head.kind == "binary":
        return own[..., 0].abs().median(1).values.clamp(min=1e-6)
    if own.shape[-1] < 2:
        return own.new_ones(len(own))
    best = own.topk(2, -1).values
    return (best[..., 0] - best[..., 1]).median(1).values.clamp(min=1e-6)
