"""Weighted sums of few terms from a large choice, found by orthogonal least squares.

Terms are taken one by one, each the one that leaves the least error together with those taken
before (Chen, Billings and Luo, 1989). Then the terms' own parameters, such as where a hinge bends,
are fitted together with the weights, and all numbers are rounded to few digits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from partwise.programs.fit.numbers import rounded, sum_text
from partwise.programs.fit.table import Array, Table, Target

MOST_TERMS = 8
MOST_TAKEN = 12
"""Terms that are taken before some are given up again."""
DIGITS = (1, 2, 3, 5)
ENOUGH = 1e-8
"""Share of variance from which on nothing is left to explain."""
NO_BETTER = 1e-3
LEAST_KEPT = 0.2
"""A parameter that shrinks further than to this share of itself makes another term of its term."""


class Term(NamedTuple):
    """A term of a sum.

    Attributes:
        kind: a product of columns, the largest or smallest of them, `relu(x - p)`, `relu(x - y)`,
            `abs(x - p)`, `sin(p * x)` or `cos(p * x)`.
        columns: the columns that it reads.
        parameter: where it bends, or the frequency.
        signs: of the columns, where it reads a sum of them.
    """

    kind: Literal["product", "max", "min", "relu", "abs", "sin", "cos"]
    columns: tuple[int, ...]
    parameter: float | None = None
    signs: tuple[int, ...] = (1,)

    def values(self, x: Array, parameter: float | None = None) -> Array:
        """(b,) its value, with another parameter if one is given."""
        p = self.parameter if parameter is None else parameter
        if self.kind == "product":
            return x[:, self.columns].prod(1)
        if self.kind in ("max", "min"):
            return getattr(x[:, self.columns], self.kind)(1)
        read = x[:, self.columns] @ np.array(self.signs, float)
        if self.kind == "relu":
            return np.maximum(read - (p or 0.0), 0)
        if self.kind == "abs":
            return np.abs(read - (p or 0.0))
        return (np.sin if self.kind == "sin" else np.cos)((p or 0.0) * read)

    def text(self, names: Sequence[str]) -> str:
        """The term as a program."""
        if self.kind == "product":
            return _product([names[k] for k in self.columns])
        read = [names[k] for k in self.columns]
        if self.kind in ("max", "min"):
            return f"{self.kind}({', '.join(read)})"
        if self.kind in ("relu", "abs"):
            return f"{self.kind}({sum_text(self.signs, read, -(self.parameter or 0.0))})"
        inner = sum_text(self.signs, read)
        inner = inner if len(read) == 1 and self.signs == (1,) else f"({inner})"
        return f"{self.kind}({_times(self.parameter or 0.0, inner)})"


def _times(factor: float, text: str) -> str:
    return text if factor == 1 else f"{factor:.6g}*{text}"


def _product(names: Sequence[str]) -> str:
    powers = {name: names.count(name) for name in names}
    return "*".join(name if n == 1 else f"{name}**{n}" for name, n in powers.items())


def sums_of(
    table: Table, target: Target, terms: Sequence[Term], most: int = MOST_TERMS
) -> Iterator[str]:
    """Sums of one term, of two, and so on, as programs; each with few and with more digits."""
    if not target.is_value or not terms or target.spread == 0:
        return
    x, y = table.matrix, target.values
    names = [column.text for column in table.numbers]
    dictionary = np.stack([term.values(x) for term in terms], 1)
    for taken in _choices(dictionary, y, most):
        chosen = [terms[k] for k in taken]
        refined = _refined(chosen, x, y)
        for digits in DIGITS:
            yield _written(refined, x, y, names, digits)


def _choices(dictionary: Array, y: Array, most: int) -> Iterator[list[int]]:
    """Terms taken one by one, then taken away again where they are missed least."""
    taken = list[int]()
    for taken in greedy(dictionary, y, MOST_TAKEN):
        if len(taken) <= most:
            yield sorted(taken)
    left = list(taken)
    while len(left) > 2:
        left = min(
            (left[:k] + left[k + 1 :] for k in range(len(left))), key=_error_of(dictionary, y)
        )
        if len(left) <= most and sorted(left) != sorted(taken[: len(left)]):
            yield sorted(left)


def _error_of(dictionary: Array, y: Array) -> Callable[[list[int]], float]:
    """What a choice of terms leaves of the values, from their products with each other."""
    centred, wanted = dictionary - dictionary.mean(0), y - y.mean()

    def error(chosen: list[int]) -> float:
        matrix = centred[:, chosen]
        weights = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
        return float(np.square(matrix @ weights - wanted).sum())

    return error


def greedy(dictionary: Array, y: Array, most: int) -> Iterator[list[int]]:
    """The terms that are taken: after one step, after two, and so on."""
    rest = dictionary - dictionary.mean(0)
    scale = np.sqrt(np.square(rest).sum(0))
    left = y - y.mean()
    total, taken = float(left @ left), list[int]()
    for _ in range(min(most, len(y) // 4)):
        norms = np.sqrt(np.square(rest).sum(0))
        usable = norms > 1e-6 * np.maximum(scale, 1e-12)
        gains = np.where(usable, np.square(left @ rest) / np.maximum(norms, 1e-30) ** 2, 0)
        best = int(gains.argmax())
        if gains[best] < NO_BETTER * float(left @ left) or gains[best] <= 0:
            return
        direction = rest[:, best] / norms[best]
        left = left - direction * float(direction @ left)
        rest = rest - np.outer(direction, direction @ rest)
        taken.append(best)
        yield list(taken)
        if float(left @ left) < ENOUGH * total:
            return


def _refined(terms: Sequence[Term], x: Array, y: Array) -> list[Term]:
    """Terms whose parameters are fitted together with the weights."""
    from scipy.optimize import least_squares

    free = [k for k, term in enumerate(terms) if term.parameter is not None]
    if not free:
        return list(terms)

    def with_parameters(parameters: Array) -> list[Term]:
        new = list(terms)
        for k, value in zip(free, parameters, strict=True):
            new[k] = terms[k]._replace(parameter=float(value))
        return new

    def errors(parameters: Array) -> Array:
        moved = with_parameters(parameters)
        return np.asarray(_weighed(moved, x, y)[1])

    start = np.array([terms[k].parameter for k in free], float)
    before = errors(start)
    if float(before @ before) < ENOUGH * float(np.square(y - y.mean()).sum()):
        return list(terms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = least_squares(errors, start, max_nfev=12)
    moved_far = (np.abs(found.x) < LEAST_KEPT * np.abs(start)).any()
    return list(terms) if moved_far else with_parameters(found.x)


def _weighed(terms: Sequence[Term], x: Array, y: Array) -> tuple[Array, Array]:
    """The weights that fit best, the constant last, and the (b,) errors that they leave."""
    columns = [*(term.values(x) for term in terms), np.ones(len(y))]
    matrix = np.nan_to_num(np.stack(columns, 1))
    weights = np.linalg.lstsq(matrix, y, rcond=None)[0]
    return weights, matrix @ weights - y


def _written(terms: Sequence[Term], x: Array, y: Array, names: Sequence[str], digits: int) -> str:
    """The sum with all numbers rounded to a share of what they are about."""
    spread = float(y.std())
    short = [
        term if term.parameter is None else term._replace(parameter=_near(term, x, digits))
        for term in terms
    ]
    weights, _ = _weighed(short, x, y)
    reach = [max(float(term.values(x).std()), 1e-12) for term in short]
    kept = [
        _to_step(float(weight), spread / size, digits)
        for weight, size in zip(weights, reach, strict=False)
    ]
    fitted = sum(
        (w * term.values(x) for w, term in zip(kept, short, strict=True)), np.zeros(len(y))
    )
    constant = _to_step(float((y - fitted).mean()), spread, digits)
    return sum_text(kept, [term.text(names) for term in short], constant)


def _near(term: Term, x: Array, digits: int) -> float:
    parameter = term.parameter or 0.0
    if term.kind in ("sin", "cos"):
        return rounded(parameter, digits + 1)
    return _to_step(parameter, float(x[:, term.columns].std()) or 1.0, digits)


def _to_step(value: float, unit: float, digits: int) -> float:
    """A number rounded to a power of ten that is small beside a unit."""
    decimals = digits - 1 - math.floor(math.log10(max(unit, 1e-12)))
    found = round(value, min(max(decimals, -12), 12))
    return rounded(found, 7)
