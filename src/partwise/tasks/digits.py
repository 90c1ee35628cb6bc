"""Real 8x8 digits side by side, each to be named at once: the halves are the true modules."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.tasks.task import Batch, Head, Rows, Split, Task, same_range

SIDE = 8
CENTRE = 0.3  # subtracted from pixels in [0, 1]; about their mean
RANGES = {"train": (0, 1200), "claims": (1200, 1400), "final": (1400, 1797)}
ORDINALS = ("first", "second", "third", "fourth")


@cache
def digit_images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits: (1797, 8, 8) pixels, centred, and (1797,) labels.

    The last 397 were written by other people than the first 1,400 (Kaynak, 1995).
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, SIDE, SIDE) / 16 - CENTRE
    return pixels.astype(np.float32), labels.astype(np.int64)


def digits_pair() -> Task:
    """Two digits side by side (8x16 pixels), 20 outputs."""
    return _digits("digits-pair", across=2, down=1)


def digits_four() -> Task:
    """Four digits in a 2x2 picture (16x16 pixels), 40 outputs."""
    return _digits("digits-four", across=2, down=2)


def _digits(name: str, across: int, down: int) -> Task:
    count = across * down
    quarter = np.arange(count).reshape(down, across)
    true_inputs = quarter.repeat(SIDE, 0).repeat(SIDE, 1).ravel()
    heads = tuple(
        Head(f"{ORDINALS[k]} digit", 10 * k, 10 * k + 10, "classes") for k in range(count)
    )

    def shown(chosen: NDArray[np.int64]) -> Batch:
        images, labels = digit_images()
        tiles = images[chosen].reshape(len(chosen), down, across, SIDE, SIDE)
        picture = tiles.transpose(0, 1, 3, 2, 4).reshape(len(chosen), -1)
        return Batch(torch.from_numpy(picture), torch.from_numpy(labels[chosen]).float())

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        return shown(rng.integers(*RANGES[split], (size, count)))

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        chosen = tuples_of(RANGES[split], most, count, rng)
        return Rows(*shown(chosen), chosen)

    return Task(
        name,
        tuple(f"pixel {r},{c}" for r in range(down * SIDE) for c in range(across * SIDE)),
        tuple(f"{head.name} is {d}" for head in heads for d in range(10)),
        heads,
        sample,
        picture=(down * SIDE, across * SIDE),
        ranges=same_range(len(true_inputs), -CENTRE, 1 - CENTRE),
        distinct=distinct,
        true_inputs=true_inputs,
        true_outputs=np.repeat(np.arange(count), 10),
    )


def tuples_of(
    span: tuple[int, int], rows: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(rows, count) numbers from `span`, each used as often as any other, up to one."""
    low, high = span
    rounds = -(-rows // (high - low))
    columns = [
        np.concatenate([rng.permutation(np.arange(low, high)) for _ in range(rounds)])[:rows]
        for _ in range(count)
    ]
    return np.stack(columns, 1)
