"""Modular arithmetic over few-valued whole numbers: (a*x + b*y + c) % p, and the like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import sum_text
from partwise.programs.fit.table import Array, Column, Table, Target

LARGEST = 97
LARGEST_OF_THREE = 13
MOST_COLUMNS = 12
SAMPLES = 150
LEAST_SHARE = 0.8
Whole = NDArray[np.int64]


@form("modular")
def propose_modular(table: Table, target: Target) -> Iterator[str]:
    """Remainders of weighted sums and of products, and whether one is a certain number."""
    columns = table.whole[:MOST_COLUMNS]
    if target.is_value or target.words is not None or not columns:
        return
    y = target.values.astype(np.int64)
    if target.is_two_way:
        yield from _conditions(columns, target)
    if y.min() < 0 or y.max() >= LARGEST:
        return
    tops = [int(y.max()), int(y.max()) + 1, *(int(column.values.max()) for column in columns)]
    for p in dict.fromkeys(top + 1 for top in tops):
        if max(2, y.max()) < p <= LARGEST:
            yield from _remainders(columns, y, p)
    yield from _quotients(columns, y)


def _remainders(columns: Sequence[Column], y: Whole, p: int) -> Iterator[str]:
    whole = [column.values.astype(np.int64) for column in columns]
    for size in (1, 2, 3) if p <= LARGEST_OF_THREE else (1, 2):
        for chosen in combinations(range(len(columns)), size):
            found = _weights([whole[k] for k in chosen], y, p)
            if found is not None:
                *weights, constant = found
                names = [columns[k].text for k in chosen]
                yield f"{_bracketed(sum_text(weights, names, constant))} % {p}"
    for i, j in combinations(range(len(columns)), 2):
        if _mostly((y - whole[i] * whole[j]) % p) == 0:
            yield f"({columns[i].text} * {columns[j].text}) % {p}"


def _weights(columns: Sequence[Whole], y: Whole, p: int) -> tuple[int, ...] | None:
    """Weights and a constant with which the sum's remainder is mostly `y`; none of them is 0."""
    some = slice(0, SAMPLES)
    grids = np.meshgrid(*[np.arange(1, p)] * len(columns), indexing="ij")
    weights = np.stack([grid.ravel() for grid in grids], 1)
    sums = np.stack([column[some] for column in columns], 1) @ weights.T
    rest = (y[some, None] - sums) % p
    first = rest[:25]
    likely = np.flatnonzero(
        np.stack([(first == first[k]).mean(0) for k in range(min(4, len(first)))]).max(0) >= 0.5
    )
    for k in likely:
        constant = _mostly(rest[:, k])
        if constant is not None:
            return (*_signed(weights[k], p, columns), constant)
    return None


def _signed(weights: Whole, p: int, columns: Sequence[Whole]) -> list[int]:
    """Weights above half of the modulus as negative ones."""
    return [int(w) if 2 * w <= p else int(w) - p for w in weights]


def _mostly(rest: Whole) -> int | None:
    """The value that nearly all have; None if none."""
    counts = np.bincount(rest)
    return int(counts.argmax()) if counts.max() >= LEAST_SHARE * len(rest) else None


def _quotients(columns: Sequence[Column], y: Whole) -> Iterator[str]:
    """Sums of one or two numbers, divided by a whole number."""
    for size in (1, 2):
        for chosen in combinations(range(len(columns)), size):
            total = sum((columns[k].values for k in chosen), np.zeros(len(y)))
            for divisor in range(2, 13):
                if _mostly(((total // divisor) != y).astype(np.int64)) == 0:
                    names = sum_text([1] * size, [columns[k].text for k in chosen])
                    yield f"{_bracketed(names)} // {divisor}"


def _conditions(columns: Sequence[Column], target: Target) -> Iterator[str]:
    """Whether the remainder of a sum, a difference or one number is among some."""
    for size in (1, 2, 3):
        for chosen in combinations(range(len(columns)), size):
            for signs in _signings(size):
                total = sum(
                    (s * columns[k].values for s, k in zip(signs, chosen, strict=True)),
                    np.zeros(len(target.values)),
                )
                text = sum_text(signs, [columns[k].text for k in chosen])
                yield from _by_remainder(total, text, target)
    everything = sum((column.values for column in columns), np.zeros(len(target.values)))
    if len(columns) > 3:
        yield from _by_remainder(
            everything, sum_text([1] * len(columns), [column.text for column in columns]), target
        )


def _signings(size: int) -> list[tuple[int, ...]]:
    return [(1,)] if size == 1 else [(1, 1), (1, -1)] if size == 2 else [(1, 1, 1)]


def _by_remainder(total: Array, text: str, target: Target) -> Iterator[str]:
    for p in range(2, 13):
        rest = (total % p).astype(np.int64)
        seen = np.bincount(rest, minlength=p)
        high = np.bincount(rest, target.high.astype(float), p)
        right = np.maximum(high, seen - high).sum() / len(total)
        mostly = 2 * high > seen
        if right >= LEAST_SHARE and 0 < mostly.sum() < p:
            yield target.when(_membership(text, mostly, p))


def _bracketed(text: str) -> str:
    return f"({text})" if " " in text else text


def _membership(text: str, inside: NDArray[np.bool_], p: int) -> str:
    """That a remainder is one of some, in the fewest words."""
    bare = f"{_bracketed(text)} % {p}"
    places = np.flatnonzero(inside)
    if p == 2:
        return bare if places[0] == 1 else f"{bare} == 0"
    if len(places) == 1:
        return f"{bare} == {places[0]}"
    if len(places) == p - 1:
        return f"{bare} != {np.flatnonzero(~inside)[0]}"
    if places[-1] - places[0] == len(places) - 1 and places[0] == 0:
        return f"{bare} < {places[-1] + 1}"
    if places[-1] == p - 1 and places[-1] - places[0] == len(places) - 1:
        return f"{bare} > {places[0] - 1}"
    return " or ".join(f"{bare} == {place}" for place in places)
