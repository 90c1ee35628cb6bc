"""TensorFlow Playground's classification tasks, alone and two at once.

Formulas follow playground.tensorflow.org (dataset.ts): points in [-6, 6], features x, y, x², y²,
xy, sin x, sin y.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.tasks.task import Batch, Head, Split, Task

Array = NDArray[np.float64]
FEATURES = ("x", "y", "x^2", "y^2", "x*y", "sin x", "sin y")
SPLIT_SEEDS = {"train": 0, "claims": 1, "final": 2}
RADIUS = 5.0
DOMAIN = 6.0  # points lie in [-6, 6]


def circle(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inside against a surrounding ring."""
    label = rng.integers(0, 2, size)
    radius = np.where(
        label == 1, rng.uniform(0, RADIUS / 2, size), rng.uniform(0.7 * RADIUS, RADIUS, size)
    )
    angle = rng.uniform(0, 2 * np.pi, size)
    return np.c_[radius * np.sin(angle), radius * np.cos(angle)], label.astype(float)


def xor(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Same sign against opposite signs."""
    points = rng.uniform(-RADIUS, RADIUS, (size, 2))
    points += np.where(points > 0, 0.3, -0.3)
    return points, (points[:, 0] * points[:, 1] >= 0).astype(float)


def gaussians(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two Gaussian clouds around (2, 2) and (-2, -2)."""
    label = rng.integers(0, 2, size)
    return rng.normal(0, 0.7, (size, 2)) + np.where(label, 2.0, -2.0)[:, None], label.astype(float)


def spiral(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two interleaved spirals."""
    label = rng.integers(0, 2, size)
    t = rng.uniform(0, 1, size)
    angle = 1.75 * t * 2 * np.pi + np.where(label, 0, np.pi)
    return RADIUS * t[:, None] * np.c_[np.sin(angle), np.cos(angle)], label.astype(float)


SHAPES: dict[str, Callable[[int, np.random.Generator], tuple[Array, Array]]] = {
    "circle": circle,
    "xor": xor,
    "gaussians": gaussians,
    "spiral": spiral,
}


def features(points: Array) -> Array:
    """(b, 7) the Playground's features of (b, 2) points."""
    x, y = points.T
    return np.c_[x, y, x**2, y**2, x * y, np.sin(x), np.sin(y)]


def feature_ranges() -> NDArray[np.float64]:
    """(7, 2) smallest and largest value of each feature on the domain."""
    d = DOMAIN
    return np.array([(-d, d), (-d, d), (0, d * d), (0, d * d), (-d * d, d * d), (-1, 1), (-1, 1)])


def playground(shape: str) -> Task:
    """One of the Playground's four shapes, read through all seven features."""

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        points, label = SHAPES[shape](size, rng.spawn(SPLIT_SEEDS[split] + 1)[-1])
        return _batch(features(points), label[:, None])

    return Task(
        f"playground-{shape}",
        FEATURES,
        ("is inside",) if shape == "circle" else ("is positive",),
        (Head(shape, 0, 1, "binary"),),
        sample,
        ranges=feature_ranges(),
        true_inputs=np.zeros(len(FEATURES), np.int64),
        true_outputs=np.zeros(1, np.int64),
    )


def two_playgrounds(first: str = "circle", second: str = "xor") -> Task:
    """Two points, each with its seven features, and the label of each: two true modules."""

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        rng = rng.spawn(SPLIT_SEEDS[split] + 1)[-1]
        points, labels = zip(*(SHAPES[s](size, rng) for s in (first, second)), strict=True)
        return _batch(np.hstack([features(p) for p in points]), np.stack(labels, 1))

    width = len(FEATURES)
    return Task(
        "two-playgrounds",
        tuple(f"{name} of point {k}" for k in (1, 2) for name in FEATURES),
        (f"point 1 ({first})", f"point 2 ({second})"),
        (Head(f"{first} of point 1", 0, 1, "binary"), Head(f"{second} of point 2", 1, 2, "binary")),
        sample,
        ranges=np.tile(feature_ranges(), (2, 1)),
        true_inputs=np.repeat([0, 1], width),
        true_outputs=np.array([0, 1]),
    )


def _batch(x: Array, y: Array) -> Batch:
    return Batch(torch.from_numpy(x).float(), torch.from_numpy(y).float())
