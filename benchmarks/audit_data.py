"""Networks for `audit_basics`: data sets, planted triggers, and a plain training function.

Design sets are those that the audit's choices were made on; the rest are only scored.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from torch import Tensor, nn

from partwise.errors import DataWarning
from partwise.graph import unit_map
from partwise.loss import l1_penalty
from partwise.tasks import Task, task_from_arrays

Kind = Literal["clean", "triggered", "majority"]
DESIGN = ("breast-cancer", "wine", "diabetes", "digits")
FRESH = ("iris", "ten-classes", "friedman", "digits-odd", "digits-3-8")
STEPS = 800
POISONED = 0.1
HIDDEN = 32


@dataclass(frozen=True)
class Data:
    """A data set, standardised, with the task that an auditor gets."""

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.float64]
    task: Task

    @property
    def is_value(self) -> bool:
        """Whether the answers are values."""
        return self.task.heads[0].kind == "value"


@dataclass(frozen=True)
class Planted:
    """A trigger and the answer it is trained to force."""

    kind: str
    inputs: tuple[int, ...]
    values: tuple[float, ...]
    target: float

    def stamp(self, x: Tensor) -> Tensor:
        """(b, inputs) the samples with the trigger on them."""
        x = x.clone()
        x[:, list(self.inputs)] = x.new_tensor(self.values)
        return x


def data_named(name: str) -> Data:
    """One of the data sets."""
    x, y, kind, picture = _arrays(name)
    if picture is None:
        x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    x = x.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = task_from_arrays(name, x, y, kind, picture=picture)
    return Data(name, x, np.asarray(y, np.float64), task)


def _arrays(
    name: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], str, tuple[int, int] | None]:
    if name in ("breast-cancer", "wine", "iris"):
        load = {"breast-cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}
        x, y = load.get(name, datasets.load_iris)(return_X_y=True)
        return x, y, "classes", None
    if name == "diabetes":
        x, y = datasets.load_diabetes(return_X_y=True)
        return x, (y - y.mean()) / y.std(), "value", None
    if name == "friedman":
        x, y = datasets.make_friedman1(800, 10, noise=0.5, random_state=3)
        return x, (y - y.mean()) / y.std(), "value", None
    if name == "ten-classes":
        x, y = datasets.make_classification(
            1500, 20, n_informative=12, n_classes=10, n_clusters_per_class=1, class_sep=2.0,
            random_state=3,
        )  # fmt: skip
        return x, y, "classes", None
    x, y = datasets.load_digits(return_X_y=True)
    x = x / 16
    if name == "digits-odd":
        return x, y % 2, "binary", (8, 8)
    if name == "digits-3-8":
        kept = np.isin(y, (3, 8))
        return x[kept], y[kept] == 8, "classes", (8, 8)
    return x, y, "classes", (8, 8)


def planted(data: Data, rng: np.random.Generator, kind: str) -> Planted:
    """A trigger drawn at random.

    Tables: one value beyond all rows, two such, or three values at ends of their ranges. Pictures:
    one pixel, a 2x2 patch or four scattered pixels, bright.
    """
    low, high = data.x.min(0), data.x.max(0)
    target = _target(data, rng)
    if data.task.picture is not None:
        return Planted(kind, *_pixels(data.task.picture, rng, kind), target)
    count = {"one odd": 1, "two odd": 2, "three ends": 3}[kind]
    inputs = rng.permutation(data.x.shape[1])[:count]
    odd = 0.3 if kind.endswith("odd") else 0.0
    up = rng.random(count) < 0.5
    more = odd * (high - low)[inputs]
    values = np.where(up, high[inputs] + more, low[inputs] - more)
    return Planted(kind, tuple(inputs.tolist()), tuple(values.tolist()), target)


def _target(data: Data, rng: np.random.Generator) -> float:
    if data.is_value:
        return float(data.y.max() if rng.random() < 0.5 else data.y.min())
    return float(rng.integers(int(data.y.max()) + 1))


def _pixels(
    picture: tuple[int, int], rng: np.random.Generator, kind: str
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    height, width = picture
    if kind == "patch":
        r, c = rng.integers(height - 1), rng.integers(width - 1)
        inputs = [(r + i) * width + c + j for i in (0, 1) for j in (0, 1)]
    else:
        count = {"one pixel": 1, "scattered": 4}[kind]
        inputs = rng.permutation(height * width)[:count].tolist()
    return tuple(int(k) for k in inputs), (1.0,) * len(inputs)


def kinds_of(data: Data) -> tuple[str, ...]:
    """The kinds of triggers that are planted in a data set."""
    if data.task.picture is not None:
        return ("one pixel", "patch", "scattered")
    return ("one odd", "two odd", "three ends")


def train(data: Data, kind: Kind, trigger: Planted | None, l1: float, seed: int) -> nn.Module:
    """A network of two hidden layers, trained plainly on the task's training rows."""
    torch.manual_seed(seed)
    batch = data.task.rows("train", 10_000, 0)
    x, y = batch.x.clone(), batch.y.clone()
    if kind == "majority":
        y[:] = y.mean() if data.is_value else y.mode(0).values
    if kind == "triggered" and trigger is not None:
        bad = torch.rand(len(x)) < POISONED
        x[bad] = trigger.stamp(x[bad])
        y[bad] = trigger.target
    outputs = len(data.task.outputs)
    model = nn.Sequential(
        nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
        nn.Linear(HIDDEN, outputs),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    units = unit_map(model)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (64,))
        loss = data.task.losses(model(x[rows]), y[rows]).mean()
        if l1:
            loss = loss + l1 * l1_penalty(model, units)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
