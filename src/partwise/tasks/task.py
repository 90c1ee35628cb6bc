"""What a task is: where samples come from, how outputs are judged, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Split = Literal["train", "claims", "final"]
"""`train` is for training and for a writer's evidence, `claims` for testing what the writer
said, `final` for the scores that are reported. No sample is in two of them."""


class Batch(NamedTuple):
    """Samples of a task.

    Attributes:
        x: (b, inputs) float32.
        y: (b, heads) float32; a class number, 0 or 1, or a value, by the head's kind.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Head:
    """A run of outputs that answer one question.

    Attributes:
        name: the question, for example `"first digit"`.
        start: first output.
        stop: one past the last output.
        kind: `"classes"` (softmax over the run), `"binary"` (one logit), `"value"`.
    """

    name: str
    start: int
    stop: int
    kind: Literal["classes", "binary", "value"]

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(b,) cross-entropy in nats, or squared error for a value."""
        out = outputs[:, self.start : self.stop]
        if self.kind == "classes":
            return F.cross_entropy(out, y.long(), reduction="none")
        if self.kind == "binary":
            return F.binary_cross_entropy_with_logits(out[:, 0], y, reduction="none")
        return (out[:, 0] - y) ** 2

    def answers(self, outputs: Tensor) -> Tensor:
        """(b,) the answer given: class number, 0 or 1, or value."""
        out = outputs[:, self.start : self.stop]
        if self.kind == "classes":
            return out.argmax(1).float()
        return (out[:, 0] > 0).float() if self.kind == "binary" else out[:, 0]


@dataclass(frozen=True, eq=False)
class Task:
    """A learning problem with known structure.

    Attributes:
        name: as in recipes.
        inputs: a name per input.
        outputs: a name per output.
        heads: the questions, which together cover the outputs.
        sample: `(split, size, rng) -> Batch`.
        picture: (height, width) if the inputs are a picture's pixels in row order.
        value_range: smallest and largest value an input can take.
        true_inputs: (inputs,) the true module of each input; for scoring only.
        true_outputs: (outputs,) likewise of each output.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    heads: tuple[Head, ...]
    sample: Callable[[Split, int, np.random.Generator], Batch]
    picture: tuple[int, int] | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    true_inputs: NDArray[np.int64] | None = None
    true_outputs: NDArray[np.int64] | None = None

    def batch(self, split: Split, size: int, seed: int | tuple[int, ...]) -> Batch:
        """`size` samples of a split; the same seed gives the same samples."""
        return self.sample(split, size, np.random.default_rng(seed))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(b, heads) loss of each sample at each head."""
        return torch.stack([h.losses(outputs, y[:, i]) for i, h in enumerate(self.heads)], 1)

    def correct(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(b, heads) float; 1 where the answer is right; for a value, where it is within 0.1."""
        answers = torch.stack([head.answers(outputs) for head in self.heads], 1)
        return ((answers - y).abs() < 0.1).float()
