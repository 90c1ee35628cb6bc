"""What a task is: where samples come from, how outputs are judged, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from partwise.tasks.words import Words

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


class Rows(NamedTuple):
    """Distinct samples of a split, and what they share.

    Samples that share a source are not independent: two pictures with the same digit in them, two
    tokens of one document. Intervals resample sources, not samples.

    Attributes:
        x: (b, inputs) float32.
        y: (b, heads) float32, as in `Batch`.
        sources: (b, s) int64, the s sources that each sample is made of.
    """

    x: Tensor
    y: Tensor
    sources: NDArray[np.int64]

    @property
    def independent(self) -> int:
        """Number of distinct sources: what an interval can rest on."""
        return len(np.unique(self.sources))


Draw = Callable[[Split, int, np.random.Generator], Batch]
DrawRows = Callable[[Split, int, np.random.Generator], Rows]


SQUARED = "of squared error"


def loss_unit(kind: str) -> str:
    """The unit of a head's losses, in words."""
    return SQUARED if kind == "value" else "nats"


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

    @property
    def unit(self) -> str:
        """The unit of `losses`, in words."""
        return loss_unit(self.kind)

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
        sample: `(split, size, rng) -> Batch`, for training; samples may repeat.
        picture: (height, width) if the inputs are a picture's pixels in row order.
        ranges: (inputs, 2) smallest and largest value that each input can take; -1 to 1 if None.
        distinct: `(split, most, rng) -> Rows`, each held-out row once; None where every sample is
            drawn afresh, so that all are independent.
        true_inputs: (inputs,) the true module of each input; for scoring only.
        true_outputs: (outputs,) likewise of each output.
        value_range: smallest and largest value of every input, in place of `ranges`.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    heads: tuple[Head, ...]
    sample: Draw
    picture: tuple[int, int] | None = None
    ranges: NDArray[np.float64] | None = None
    distinct: DrawRows | None = None
    true_inputs: NDArray[np.int64] | None = None
    true_outputs: NDArray[np.int64] | None = None
    value_range: InitVar[tuple[float, float] | None] = None

    def __post_init__(self, value_range: tuple[float, float] | None) -> None:
        if value_range is not None:
            object.__setattr__(self, "ranges", same_range(len(self.inputs), *value_range))

    def batch(self, split: Split, size: int, seed: int | tuple[int, ...]) -> Batch:
        """`size` samples of a split; the same seed gives the same samples."""
        return self.sample(split, size, np.random.default_rng(seed))

    def rows(self, split: Split, most: int, seed: int | tuple[int, ...]) -> Rows:
        """At most `most` samples of a split, none of them twice.

        Fewer where the split holds fewer; the same seed gives the same ones.
        """
        rng = np.random.default_rng(seed)
        if self.distinct is not None:
            return self.distinct(split, most, rng)
        return Rows(*self.sample(split, most, rng), np.arange(most)[:, None])

    @property
    def input_ranges(self) -> NDArray[np.float64]:
        """(inputs, 2) smallest and largest value of each input."""
        return same_range(len(self.inputs), -1, 1) if self.ranges is None else self.ranges

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(b, heads) loss of each sample at each head."""
        return torch.stack([h.losses(outputs, y[:, i]) for i, h in enumerate(self.heads)], 1)

    def losses_of(self, run: Callable[[Tensor], Tensor], rows: Rows) -> Tensor:
        """(b, heads) loss of whatever runs the network."""
        return self.losses(run(rows.x), rows.y)

    def answers_of(self, run: Callable[[Tensor], Tensor], rows: Rows, head: int = 0) -> Tensor:
        """(b,) answers to a head of whatever runs the network."""
        return self.heads[head].answers(run(rows.x))

    def variables(self, rows: Rows) -> dict[str, Tensor | Words]:
        """What a program may read of samples: `x{k}` and `answer{k}`, each (b,)."""
        named: dict[str, Tensor | Words] = {f"x{k}": rows.x[:, k] for k in range(rows.x.shape[1])}
        return named | {f"answer{k}": rows.y[:, k] for k in range(rows.y.shape[1])}

    def correct(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(b, heads) float; 1 where the answer is right; for a value, where it is within 0.1."""
        answers = torch.stack([head.answers(outputs) for head in self.heads], 1)
        return ((answers - y).abs() < 0.1).float()


def same_range(inputs: int, low: float, high: float) -> NDArray[np.float64]:
    """(inputs, 2) the same range for every input."""
    return np.tile(np.array([low, high], np.float64), (inputs, 1))


def some_of(count: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions of at most `most` of `count` rows, in random order, none twice."""
    return rng.permutation(count)[:most]
