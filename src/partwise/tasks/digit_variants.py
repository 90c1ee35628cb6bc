"""Digit tasks with a shared module, with channels for halves, and with no modules at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.tasks.digits import CENTRE, RANGES, SIDE, digit_images, digits_pair
from partwise.tasks.task import Batch, Head, Rows, Split, Task, same_range, some_of


def digits_shared() -> Task:
    """digits-pair and the parity of the digits' sum: a third module has to read the other two."""
    pair = digits_pair()
    assert pair.true_outputs is not None

    def changed(x: Tensor, y: Tensor) -> Batch:
        return Batch(x, torch.cat([y, y.sum(1, keepdim=True) % 2], 1))

    return replace(
        with_samples(pair, changed),
        name="digits-shared",
        outputs=(*pair.outputs, "sum is odd"),
        heads=(*pair.heads, Head("parity of the sum", 20, 21, "binary")),
        true_outputs=np.r_[pair.true_outputs, 2],
    )


def digits_channels() -> Task:
    """digits-pair with the digits on top of one another: two channels of 8x8, channel first."""
    pair = digits_pair()

    def changed(x: Tensor, y: Tensor) -> Batch:
        return Batch(x.reshape(len(x), SIDE, 2, SIDE).transpose(1, 2).reshape(len(x), -1), y)

    names = (f"digit {k} pixel {r},{c}" for k in (1, 2) for r in range(SIDE) for c in range(SIDE))
    return replace(
        with_samples(pair, changed),
        name="digits-channels",
        inputs=tuple(names),
        picture=None,
        true_inputs=np.repeat([0, 1], SIDE * SIDE),
    )


def with_samples(task: Task, changed: Callable[[Tensor, Tensor], Batch]) -> Task:
    """`task` with `changed(x, y)` in place of its samples, in training and of held-out rows."""
    rows = task.distinct

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        return changed(*task.sample(split, size, rng))

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        assert rows is not None
        drawn = rows(split, most, rng)
        return Rows(*changed(drawn.x, drawn.y), drawn.sources)

    return replace(task, sample=sample, distinct=None if rows is None else distinct)


def digit_one() -> Task:
    """One digit stretched across the picture (8x16 pixels): a control, no modules are right."""

    def shown(chosen: NDArray[np.int64]) -> Batch:
        images, labels = digit_images()
        picture = images[chosen].repeat(2, axis=2).reshape(len(chosen), -1)
        return Batch(torch.from_numpy(picture), torch.from_numpy(labels[chosen, None]).float())

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        return shown(rng.integers(*RANGES[split], size))

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        low, high = RANGES[split]
        chosen = low + some_of(high - low, most, rng)
        return Rows(*shown(chosen), chosen[:, None])

    return Task(
        "digit-one",
        tuple(f"pixel {r},{c}" for r in range(SIDE) for c in range(2 * SIDE)),
        tuple(f"digit is {d}" for d in range(10)),
        (Head("digit", 0, 10, "classes"),),
        sample,
        picture=(SIDE, 2 * SIDE),
        ranges=same_range(2 * SIDE * SIDE, -CENTRE, 1 - CENTRE),
        distinct=distinct,
        true_inputs=np.zeros(2 * SIDE * SIDE, np.int64),
        true_outputs=np.zeros(10, np.int64),
    )


def digits_random() -> Task:
    """Digit pairs with labels dealt at random to each pair: a control, to be learnt by heart.

    Both answers depend on both digits. Each split has 400 pairs of its own.
    """
    pair = digits_pair()
    deal = np.random.default_rng(0).integers(0, 10, (3, 400, 2))
    splits: tuple[Split, ...] = ("train", "claims", "final")
    pools = {
        split: (pair.batch(split, 400, 0).x, torch.from_numpy(deal[k]).float())
        for k, split in enumerate(splits)
    }

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        x, y = pools[split]
        chosen = torch.from_numpy(rng.integers(0, len(x), size))
        return Batch(x[chosen], y[chosen])

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        x, y = pools[split]
        chosen = some_of(len(x), most, rng)
        return Rows(x[chosen], y[chosen], chosen[:, None])

    return replace(
        pair,
        name="digits-random",
        sample=sample,
        distinct=distinct,
        true_inputs=np.zeros(len(pair.inputs), np.int64),
        true_outputs=np.zeros(len(pair.outputs), np.int64),
    )
