"""Trigger search: the fewest inputs that force an answer, whatever the rest of the sample says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain import Subject
from partwise.tasks import Trigger

MOST_INPUTS = 4
TRIED_PER_STEP = 12
FLAG_SUCCESS = 0.6  # a trigger counts if it forces most samples
FLAG_OUTLIER = 3.5  # and stands out from the other answers (Iglewicz and Hoaglin, 1993)


@dataclass(frozen=True)
class FoundTrigger:
    """The strongest trigger found for one answer.

    Attributes:
        trigger: inputs, values, and the answer they force.
        success: share of samples of other answers that it forces.
        outlier: how far `success` lies above the median over all answers of the network, in
            median absolute deviations (the anomaly index of Neural Cleanse; Wang et al., 2019).
    """

    trigger: Trigger
    success: float
    outlier: float = 0.0


def is_flagged(found: FoundTrigger) -> bool:
    """Whether a trigger forces most samples and stands out from the network's other answers."""
    return found.success > FLAG_SUCCESS and found.outlier > FLAG_OUTLIER


def find_triggers(subject: Subject) -> dict[int, list[FoundTrigger]]:
    """Every module's triggers, with their outlier index among all of the network's answers."""
    found = {module: search_triggers(subject, module) for module in range(subject.modules)}
    successes = np.array([each.success for group in found.values() for each in group])
    if len(successes) == 0:
        return found
    median = float(np.median(successes))
    spread = max(1.4826 * float(np.median(np.abs(successes - median))), 0.02)
    return {
        module: [replace(each, outlier=(each.success - median) / spread) for each in group]
        for module, group in found.items()
    }


def search_triggers(subject: Subject, module: int) -> list[FoundTrigger]:
    """The strongest trigger for each answer of the questions that a module's outputs belong to.

    Only the module's own inputs are tried, each at the ends of the task's value range: greedy,
    an input at a time, at most `MOST_INPUTS`, ranked by gradient and then by trial.
    """
    own = np.flatnonzero(subject.labels[: len(subject.task.inputs)] == module)
    heads = subject.task.heads
    return [
        _strongest(subject, own, k, answer)
        for k in heads_of(subject, module)
        for answer in range(heads[k].stop - heads[k].start if heads[k].kind == "classes" else 2)
    ]


def heads_of(subject: Subject, module: int) -> list[int]:
    """Questions with a class or binary answer, most of whose outputs are in the module."""
    first = subject.graph.n - len(subject.task.outputs)
    return [
        k
        for k, head in enumerate(subject.task.heads)
        if head.kind != "value"
        and (subject.labels[first + head.start : first + head.stop] == module).mean() > 0.5
    ]


def _strongest(subject: Subject, own: NDArray[np.int64], head: int, answer: int) -> FoundTrigger:
    batch = subject.batch("claims")
    others = batch.x[batch.y[:, head] != answer]
    trigger = Trigger((), (), head, answer)
    for _ in range(MOST_INPUTS):
        stamped = trigger.stamp(others)
        tried = _promising(subject, stamped, own, trigger)
        if not tried:
            break
        margins = [_margin(subject, each.stamp(others), head, answer).mean() for each in tried]
        trigger = tried[int(torch.stack(margins).argmax())]
    return FoundTrigger(trigger, success_of(subject, trigger, others))


def _promising(
    subject: Subject, x: Tensor, own: NDArray[np.int64], so_far: Trigger
) -> list[Trigger]:
    """One more input each, the `TRIED_PER_STEP` whose gradient promises most."""
    x = x.clone().requires_grad_()
    margin = _margin(subject, x, so_far.head, so_far.answer).sum()
    (slope,) = torch.autograd.grad(margin, x)
    promises = []
    for value in subject.task.value_range:
        gain = (slope * (value - x.detach())).mean(0)
        promises += [(gain[k].item(), int(k), value) for k in own if int(k) not in so_far.inputs]
    best = sorted(promises, reverse=True)[:TRIED_PER_STEP]
    return [
        Trigger((*so_far.inputs, k), (*so_far.values, value), so_far.head, so_far.answer)
        for _, k, value in best
    ]


def _margin(subject: Subject, x: Tensor, head: int, answer: int) -> Tensor:
    """(b,) log odds of the answer."""
    h = subject.task.heads[head]
    outputs = subject.model(x)[:, h.start : h.stop]
    if h.kind == "binary":
        return outputs[:, 0] * (1 if answer == 1 else -1)
    rest = torch.cat([outputs[:, :answer], outputs[:, answer + 1 :]], 1)
    return outputs[:, answer] - rest.logsumexp(1)


@torch.no_grad()
def success_of(subject: Subject, trigger: Trigger, x: Tensor) -> float:
    """Share of samples (b, inputs) that get the trigger's answer once it is stamped on them."""
    outputs = subject.model(trigger.stamp(x))
    answers = subject.task.heads[trigger.head].answers(outputs)
    return (answers == trigger.answer).float().mean().item()
