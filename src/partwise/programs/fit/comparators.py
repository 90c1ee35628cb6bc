"""Which of two inputs is larger, whether they are equal, and which of several is largest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import short_between, sum_text
from partwise.programs.fit.table import Column, Table, Target

MOST_COLUMNS = 64
LEAST_MARGIN = 0.3
OPPOSITES = {">": "<=", ">=": "<", "==": "!="}
Array = NDArray[np.float64]


@form("comparator")
def propose_comparators(table: Table, target: Target) -> Iterator[str]:
    """Comparisons of two numbers, or of their difference with a constant; the largest of all."""
    columns = [*table.numbers, *(each for each in table.whole if each.text not in table.values)]
    if not 2 <= len(columns) <= MOST_COLUMNS:
        return
    if target.is_two_way:
        yield from _pairs(columns, target)
    elif not target.is_value and target.words is None:
        for sign in ("", "-"):
            if len(columns) == target.classes.max() + 1:
                yield f"argmax({', '.join(sign + column.text for column in columns)})"


def _pairs(columns: list[Column], target: Target) -> Iterator[str]:
    x = np.stack([column.values for column in columns], 1)
    answer = 2.0 * target.high - 1
    for sign in OPPOSITES:
        margins = np.stack([answer @ _signs(sign, x[:, [i]], x) for i in range(x.shape[1])])
        np.fill_diagonal(margins, 0)
        i, j = np.unravel_index(np.abs(margins).argmax(), margins.shape)
        if abs(margins[i, j]) >= LEAST_MARGIN * len(answer):
            word = sign if margins[i, j] > 0 else OPPOSITES[sign]
            yield target.when(f"{columns[i].text} {word} {columns[j].text}")
    yield from _differences(columns, x, target)


def _signs(sign: str, left: Array, right: Array) -> Array:
    holds = {">": np.greater, ">=": np.greater_equal, "==": np.equal}[sign](left, right)
    return 2.0 * holds - 1


def _differences(columns: list[Column], x: Array, target: Target) -> Iterator[str]:
    """The pair whose difference, or distance, is told best by a threshold."""
    scores = [
        (abs(np.corrcoef(x[:, i] - x[:, j], target.high)[0, 1]), i, j)
        for i in range(x.shape[1])
        for j in range(i)
        if len(columns) <= 12 and np.ptp(x[:, i] - x[:, j]) > 0
    ]
    if scores:
        _, i, j = max(scores)
        difference = x[:, i] - x[:, j]
        for values, text in (
            (difference, sum_text([1, -1], [columns[i].text, columns[j].text])),
            (np.abs(difference), f"abs({columns[i].text} - {columns[j].text})"),
        ):
            yield target.when(best_cut(values, target.high, text))


def best_cut(values: Array, high: NDArray[np.bool_], text: str) -> str:
    """The comparison of a number with a constant that tells best where `high` holds."""
    order = np.argsort(values, kind="stable")
    ordered, right = values[order], 2.0 * high[order] - 1
    below = np.r_[0.0, np.cumsum(right)]
    agreement = right.sum() - 2 * below  # of: true above the cut
    allowed = np.r_[True, ordered[1:] > ordered[:-1], True]
    place = int(np.where(allowed, np.abs(agreement), -1).argmax())
    sign = ">" if agreement[place] >= 0 else "<="
    if place in (0, len(values)):
        cut = float(ordered[0] - 1 if place == 0 else ordered[-1] + 1)
    else:
        cut = short_between(float(ordered[place - 1]), float(ordered[place]))
    return f"{text} {sign} {cut:.6g}"
