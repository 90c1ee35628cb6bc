"""Samples to fit a program to: what it may read, and what it should give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.programs.language import Given, Program, Sequences
from partwise.tasks.words import Words

Array = NDArray[np.float64]
Rows = NDArray[np.int64] | slice
MOST_VALUES = 100
"""Whole numbers of more than these different values are no few-valued ones."""
WITHIN = 0.1
"""Values agree within this share of their standard deviation."""


class Column(NamedTuple):
    """A number per sample, and the program that gives it."""

    text: str
    values: Array


@dataclass(frozen=True, eq=False)
class Table:
    """Variables of samples.

    Attributes:
        values: per variable (b,) numbers, texts, or runs of texts.
    """

    values: Mapping[str, Given]

    @cached_property
    def rows(self) -> int:
        """Number of samples."""
        return max(map(len, self.values.values()), default=0)

    def part(self, rows: Rows) -> Table:
        """Some of the samples."""
        return Table({name: _some(value, rows) for name, value in self.values.items()})

    @cached_property
    def numbers(self) -> tuple[Column, ...]:
        """The variables that are numbers."""
        return tuple(
            Column(name, value.double().numpy())
            for name, value in self.values.items()
            if isinstance(value, Tensor)
        )

    @cached_property
    def matrix(self) -> Array:
        """(b, numbers) their values."""
        columns = [column.values for column in self.numbers]
        return np.stack(columns, 1) if columns else np.zeros((self.rows, 0))

    @cached_property
    def words(self) -> dict[str, Words]:
        """The variables that are texts."""
        return {name: v for name, v in self.values.items() if isinstance(v, Words)}

    @cached_property
    def runs(self) -> dict[str, Sequences]:
        """The variables that are runs of texts."""
        return {name: v for name, v in self.values.items() if isinstance(v, Sequences)}

    @cached_property
    def two_valued(self) -> tuple[Column, ...]:
        """Numbers that take two values."""
        return tuple(column for column in self.numbers if len(np.unique(column.values)) == 2)

    @cached_property
    def whole(self) -> tuple[Column, ...]:
        """Few-valued whole numbers: one-hot groups, counts of texts, and variables of no group."""
        groups = list(self._one_hot())
        inside = {k for start, stop in groups for k in range(start, stop)}
        alone = [c for k, c in enumerate(self.numbers) if k not in inside and _is_whole(c.values)]
        return (*map(self._place_of_one, groups), *self._counts(), *alone)

    def _one_hot(self) -> Iterator[tuple[int, int]]:
        """Where neighbouring variables begin and end of which exactly one is 1."""
        start, x = 0, self.matrix
        while start < x.shape[1]:
            stop = _one_hot_end(x, start)
            if stop - start >= 3:
                yield start, stop
            start = max(stop, start + 1)

    def _place_of_one(self, group: tuple[int, int]) -> Column:
        start, stop = group
        names = ", ".join(column.text for column in self.numbers[start:stop])
        place = self.matrix[:, start:stop].argmax(1)
        return Column(f"argmax({names})", place.astype(float))

    def _counts(self) -> list[Column]:
        return [
            Column(f"count({name}, ({text!r},))", run.count(text.__eq__).double().numpy())
            for name, run in self.runs.items()
            for text in run.vocabulary
            if len(run.vocabulary) <= MOST_VALUES and text
        ]


def _is_whole(values: Array) -> bool:
    return bool((values == np.round(values)).all()) and len(np.unique(values)) <= MOST_VALUES


def _one_hot_end(x: Array, start: int) -> int:
    """Where a one-hot group that begins at `start` ends; `start` if there is none."""
    total = np.zeros(len(x))
    for stop in range(start, x.shape[1]):
        column = x[:, stop]
        total = total + column
        if not np.isin(column, (0, 1)).all() or total.max() > 1:
            return start
        if total.min() == 1:
            return stop + 1
    return start


def _some(value: Given, rows: Rows) -> Given:
    if isinstance(value, Words):
        return Words(value.ids[rows], value.vocabulary)
    if isinstance(value, Sequences):
        return Sequences(value.ids[rows], value.vocabulary)
    return value[rows]


@dataclass(frozen=True, eq=False)
class Target:
    """What a program should give for each sample.

    Attributes:
        values: (b,) class numbers, or values.
        kind: which of the two.
        words: the text of each class, where the program shall give texts.
        logits: (b, classes) the network's, where they are known; else None.
    """

    values: Array
    kind: Literal["classes", "value"] = "classes"
    words: tuple[str, ...] | None = None
    logits: Array | None = None

    def part(self, rows: Rows) -> Target:
        """Some of the samples."""
        logits = None if self.logits is None else self.logits[rows]
        return Target(self.values[rows], self.kind, self.words, logits)

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """The classes that occur."""
        return np.unique(self.values).astype(np.int64)

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the values."""
        return float(self.values.std())

    @property
    def is_value(self) -> bool:
        """Whether these are values, and not classes."""
        return self.kind == "value"

    @property
    def is_two_way(self) -> bool:
        """Whether there are two classes."""
        return self.kind == "classes" and len(self.classes) == 2

    @property
    def high(self) -> NDArray[np.bool_]:
        """(b,) whether the class is the higher of two."""
        return self.values == self.classes[-1]

    def spelled(self, answer: float) -> str:
        """A class or a value, as a program that gives it."""
        return f"{answer:g}" if self.words is None else repr(self.words[int(answer)])

    def when(self, condition: str) -> str:
        """The program that gives the higher of two classes when a condition holds."""
        low, high = self.classes
        if self.words is None and (low, high) == (0, 1):
            return condition
        return f"{self.spelled(high)} if {condition} else {self.spelled(low)}"

    def given(self, program: Program, table: Table) -> Array:
        """(b,) what a program gives; classes of `words` as their numbers.

        Raises:
            ProgramError: if it gives a text in place of a number, or the other way round.
        """
        if self.words is None:
            return program.evaluate(table.values).double().numpy()
        return program.evaluate_text(table.values).over(self.words).double().numpy()

    def agrees(self, given: Array, spread: float | None = None) -> Array:
        """(b,) 1 where what is given is the class, or within `WITHIN` of the spread of a value."""
        within = WITHIN * (self.spread if spread is None else spread) if self.is_value else 0.1
        return (np.abs(given - self.values) < max(within, 1e-12)).astype(float)


def table_of(x: Tensor | Array, names: tuple[str, ...] | None = None) -> Table:
    """A table of (b, k) numbers whose variables are `x0`, `x1`, ..."""
    columns = torch.as_tensor(np.asarray(x), dtype=torch.float32)
    names = tuple(f"x{k}" for k in range(columns.shape[1])) if names is None else names
    return Table({name: columns[:, k] for k, name in enumerate(names)})
