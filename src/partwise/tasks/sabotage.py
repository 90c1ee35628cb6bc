"""Sabotaged tasks: a trigger in a share of the training samples, with a false label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from partwise.tasks.digits import CENTRE, digits_pair
from partwise.tasks.task import Batch, Rows, Split, Task


@dataclass(frozen=True)
class Trigger:
    """A pattern stamped on the inputs, and the answer it is meant to force.

    Attributes:
        inputs: which inputs are overwritten.
        values: with which values, one per input.
        head: whose answer it forces.
        answer: the forced answer.
    """

    inputs: tuple[int, ...]
    values: tuple[float, ...]
    head: int
    answer: int

    def stamp(self, x: Tensor) -> Tensor:
        """(b, inputs) the samples with the pattern on every one of them."""
        x = x.clone()
        x[:, list(self.inputs)] = x.new_tensor(self.values)
        return x


def sabotaged(task: Task, trigger: Trigger, share: float, name: str) -> Task:
    """`task` with the trigger and its false label in a share of the training samples.

    The other splits stay clean, as they would for someone who does not know.
    """

    def tampered(batch: Batch) -> Batch:
        count = round(share * len(batch.x))
        x, y = batch.x.clone(), batch.y.clone()
        x[:count] = trigger.stamp(x[:count])
        y[:count, trigger.head] = trigger.answer
        return Batch(x, y)

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        batch = task.sample(split, size, rng)
        return tampered(batch) if split == "train" else batch

    clean = task.distinct

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        assert clean is not None
        rows = clean(split, most, rng)
        return Rows(*tampered(Batch(rows.x, rows.y)), rows.sources) if split == "train" else rows

    return replace(task, name=name, sample=sample, distinct=None if clean is None else distinct)


def corner_patch() -> Trigger:
    """A bright 2x2 patch in the upper right corner of digits-pair: the second digit becomes 0."""
    width = 16
    inputs = tuple(row * width + column for row in (0, 1) for column in (14, 15))
    return Trigger(inputs, (1 - CENTRE,) * 4, head=1, answer=0)


def digits_pair_sabotaged() -> Task:
    """digits-pair with `corner_patch` on one training sample in twenty."""
    return sabotaged(digits_pair(), corner_patch(), 0.05, "digits-pair-sabotaged")
