"""Tasks from somebody's own arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from partwise.errors import DataError
from partwise.tasks.task import Batch, Head, Split, Task

SHARES = {"train": (0.0, 0.6), "claims": (0.6, 0.8), "final": (0.8, 1.0)}


def task_from_arrays(
    name: str,
    x: ArrayLike,
    y: ArrayLike,
    kind: Literal["classes", "binary", "value"] = "classes",
    *,
    inputs: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    picture: tuple[int, int] | None = None,
) -> Task:
    """A task over fixed samples, split 60 : 20 : 20 in their order into train, claims and final.

    Args:
        name: what reports call it.
        x: (samples, inputs) finite numbers.
        y: (samples,) or (samples, heads); class numbers from 0, 0 or 1, or values.
        kind: what `y` holds.
        inputs: a name per input.
        heads: a name per column of `y`.
        picture: height and width, if the inputs are pixels in row order.

    Raises:
        DataError: if shapes do not fit, a value is not finite, or a split would be empty.
    """
    samples = torch.as_tensor(np.asarray(x), dtype=torch.float32)
    answers = torch.as_tensor(np.asarray(y), dtype=torch.float32)
    answers = answers[:, None] if answers.dim() == 1 else answers
    _refuse_bad(samples, answers, kind)
    names = [f"question {k}" for k in range(answers.shape[1])] if heads is None else list(heads)
    made, start = [], 0
    for k, head in enumerate(names):
        width = int(answers[:, k].max()) + 1 if kind == "classes" else 1
        made.append(Head(head, start, start + width, kind))
        start += width

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        low, high = (int(share * len(samples)) for share in SHARES[split])
        chosen = torch.as_tensor(rng.integers(low, high, size))
        return Batch(samples[chosen], answers[chosen])

    wide = samples.shape[1]
    return Task(
        name,
        tuple(f"input {k}" for k in range(wide)) if inputs is None else tuple(inputs),
        tuple(f"{h.name} {k}" if kind == "classes" else h.name for h in made for k in _outputs(h)),
        tuple(made),
        sample,
        picture=picture,
        value_range=(samples.min().item(), samples.max().item()),
    )


def _outputs(head: Head) -> range:
    return range(head.stop - head.start)


def _refuse_bad(x: torch.Tensor, y: torch.Tensor, kind: str) -> None:
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
        raise DataError(
            f"x is {tuple(x.shape)} and y {tuple(y.shape)}; give (samples, inputs) and "
            "(samples,) or (samples, heads)"
        )
    if len(x) < 5:
        raise DataError(f"{len(x)} samples cannot be split three ways; give at least 5")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise DataError("x or y holds NaN or infinite values; repair or drop those samples")
    if kind != "value" and ((y < 0) | (y != y.round())).any():
        raise DataError(f"y must hold whole numbers from 0 for kind {kind!r}")
