"""Trigger search: the fewest inputs that force an answer, whatever the rest of the sample says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain import Subject
from partwise.tasks import Trigger

MOST_INPUTS = 4
TRIED_SAMPLES = 100
FLAG_SUCCESS = 0.6  # a trigger counts if it forces most samples
FLAG_OUTLIER = 3.5  # and stands out from the other answers (Iglewicz and Hoaglin, 1993)


class Pattern(NamedTuple):
    """Inputs and the values they are set to."""

    inputs: tuple[int, ...]
    values: tuple[float, ...]


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

    Only the module's own inputs are tried, each at the ends of the task's value range, at most
    `MOST_INPUTS` at once. Two searches, of which the better counts: greedy, an input at a time by
    trial (not by gradient, which is blind to units that sleep on clean data), and from the
    weights, the inputs that drive one hidden unit hardest (for units that wake only when several
    inputs come together).
    """
    own = np.flatnonzero(subject.labels[: len(subject.task.inputs)] == module)
    if len(own) == 0:
        return []
    heads, driving = subject.task.heads, _unit_drivers(subject, own)
    return [
        _strongest(subject, own, driving, k, answer)
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


def _strongest(
    subject: Subject, own: NDArray[np.int64], driving: list[Pattern], head: int, answer: int
) -> FoundTrigger:
    batch = subject.batch("claims")
    others = batch.x[batch.y[:, head] != answer]
    if len(others) == 0:
        return FoundTrigger(Trigger((), (), head, answer), 0.0)
    few, greedy = others[:TRIED_SAMPLES], Pattern((), ())
    for _ in range(min(MOST_INPUTS, len(own))):
        longer = _one_more(subject, own, greedy)
        greedy = longer[int(_mean_margins(subject, few, longer, head, answer).argmax())]
    finalists = [greedy]
    if driving:
        margins = _mean_margins(subject, few, driving, head, answer)
        finalists.append(driving[int(margins.argmax())])
    triggers = [Trigger(*pattern, head, answer) for pattern in finalists]
    found = [FoundTrigger(trigger, success_of(subject, trigger, others)) for trigger in triggers]
    return max(found, key=lambda each: each.success)


def _one_more(subject: Subject, own: NDArray[np.int64], so_far: Pattern) -> list[Pattern]:
    """The pattern with each further input at each end of the value range."""
    return [
        Pattern((*so_far.inputs, int(k)), (*so_far.values, value))
        for k in own
        if int(k) not in so_far.inputs
        for value in subject.task.input_ranges[int(k)].tolist()
    ]


def _unit_drivers(subject: Subject, own: NDArray[np.int64]) -> list[Pattern]:
    """For each hidden unit that reads the inputs: the few settings that raise it most."""
    low, high = torch.as_tensor(subject.task.input_ranges, dtype=torch.float32).T
    usual = subject.batch("claims").x.mean(0)
    parameters = dict(subject.model.named_parameters())
    patterns = []
    for block in subject.units.blocks:
        columns = block.columns[0]
        reads_inputs = bool((columns < len(subject.task.inputs)).all())
        weight = parameters[block.parameter].detach()
        if not reads_inputs or weight.dim() != 2 or len(block.columns) > 1:
            continue
        value = torch.where(weight > 0, high[columns], low[columns])
        gain = weight * (value - usual[columns])
        gain[:, ~torch.isin(columns, torch.as_tensor(own))] = -torch.inf
        top = gain.topk(min(MOST_INPUTS, len(own)), dim=1).indices
        for row, chosen in enumerate(top):
            settings = tuple(value[row, chosen].tolist())
            patterns.append(Pattern(tuple(columns[chosen].tolist()), settings))
    return patterns


@torch.no_grad()
def _mean_margins(
    subject: Subject, x: Tensor, patterns: list[Pattern], head: int, answer: int
) -> Tensor:
    """(patterns,) mean log odds of the answer with each pattern on the samples x."""
    stamped = x.expand(len(patterns), *x.shape).clone()
    for row, pattern in zip(stamped, patterns, strict=True):
        row[:, list(pattern.inputs)] = x.new_tensor(pattern.values)
    margins = _margin(subject, stamped.reshape(-1, x.shape[1]), head, answer)
    return margins.reshape(len(patterns), -1).mean(1)


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
