"""Digit tasks with a shared module, with channels for halves, and with no modules at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from partwise.tasks.digits import CENTRE, RANGES, SIDE, digit_images, digits_pair
from partwise.tasks.task import Batch, Head, Split, Task


def digits_shared() -> Task:
    """digits-pair and the parity of the digits' sum: a third module has to read the other two."""
    pair = digits_pair()
    assert pair.true_outputs is not None

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        x, y = pair.sample(split, size, rng)
        return Batch(x, torch.cat([y, y.sum(1, keepdim=True) % 2], 1))

    return replace(
        pair,
        name="digits-shared",
        outputs=(*pair.outputs, "sum is odd"),
        heads=(*pair.heads, Head("parity of the sum", 20, 21, "binary")),
        sample=sample,
        true_outputs=np.r_[pair.true_outputs, 2],
    )


def digits_channels() -> Task:
    """digits-pair with the digits on top of one another: two channels of 8x8, channel first."""
    pair = digits_pair()

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        x, y = pair.sample(split, size, rng)
        return Batch(x.reshape(size, SIDE, 2, SIDE).transpose(1, 2).reshape(size, -1), y)

    names = (f"digit {k} pixel {r},{c}" for k in (1, 2) for r in range(SIDE) for c in range(SIDE))
    return replace(
        pair,
        name="digits-channels",
        inputs=tuple(names),
        sample=sample,
        picture=None,
        true_inputs=np.repeat([0, 1], SIDE * SIDE),
    )


def digit_one() -> Task:
    """One digit stretched across the picture (8x16 pixels): a control, no modules are right."""

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        images, labels = digit_images()
        chosen = rng.integers(*RANGES[split], size)
        picture = images[chosen].repeat(2, axis=2).reshape(size, -1)
        return Batch(torch.from_numpy(picture), torch.from_numpy(labels[chosen, None]).float())

    return Task(
        "digit-one",
        tuple(f"pixel {r},{c}" for r in range(SIDE) for c in range(2 * SIDE)),
        tuple(f"digit is {d}" for d in range(10)),
        (Head("digit", 0, 10, "classes"),),
        sample,
        picture=(SIDE, 2 * SIDE),
        value_range=(-CENTRE, 1 - CENTRE),
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

    return replace(
        pair,
        name="digits-random",
        sample=sample,
        true_inputs=np.zeros(len(pair.inputs), np.int64),
        true_outputs=np.zeros(len(pair.outputs), np.int64),
    )
