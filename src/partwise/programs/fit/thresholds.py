"""Thresholds on one number, or on a weighted sum or quadratic form with few terms."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.comparators import best_cut
from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import rounded, sum_text, whole_weights
from partwise.programs.fit.table import Column, Table, Target

Array = NDArray[np.float64]
STRENGTHS = (0.02, 0.2, 5.0)
"""Of the L1 penalty: C of logistic regression."""
WHOLE = (1, 2, 3, 5, 10)
MOST_TERMS = 24
MOST_SQUARED = 8


@form("threshold")
def propose_thresholds(table: Table, target: Target) -> Iterator[str]:
    """A cut on one number, on a weighted sum, and on a quadratic form."""
    columns = list(table.numbers)
    if not columns or not target.is_two_way:
        return
    yield from _single(columns, target)
    yield from _weighted(columns, target)
    if len(table.two_valued) < len(columns) <= MOST_SQUARED:
        yield from _weighted(_quadratic(columns), target)


def _single(columns: Sequence[Column], target: Target) -> Iterator[str]:
    high = target.high
    scores = [abs(np.corrcoef(c.values, high)[0, 1]) if np.ptp(c.values) else 0 for c in columns]
    for k in np.argsort(scores)[::-1][:3]:
        yield target.when(best_cut(columns[k].values, high, columns[k].text))


def _quadratic(columns: Sequence[Column]) -> list[Column]:
    pairs = combinations_with_replacement(columns, 2)
    products = [
        Column(f"{a.text}**2" if a is b else f"{a.text}*{b.text}", a.values * b.values)
        for a, b in pairs
    ]
    return [*columns, *(each for each in products if np.ptp(each.values))]


def _weighted(columns: Sequence[Column], target: Target) -> Iterator[str]:
    from sklearn.linear_model import LogisticRegression

    x = np.stack([column.values for column in columns], 1)
    scale = x.std(0) + 1e-9
    for strength in STRENGTHS:
        fitted = LogisticRegression(
            l1_ratio=1, solver="liblinear", C=strength, random_state=0, max_iter=200
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it may go on converging does not matter here
            fitted.fit((x - x.mean(0)) / scale, target.high)
        weights = fitted.coef_[0] / scale
        kept = np.argsort(-np.abs(fitted.coef_[0]))[:MOST_TERMS]
        kept = np.sort(kept[np.abs(fitted.coef_[0][kept]) > 1e-3])
        if len(kept):
            yield from _written(x[:, kept], weights[kept], [columns[k].text for k in kept], target)


def _written(x: Array, weights: Array, names: Sequence[str], target: Target) -> Iterator[str]:
    """Cuts on a sum whose weights are whole numbers, or rounded."""
    weights = weights * np.sign(weights.sum() or 1.0)
    unit = np.abs(weights).max()
    versions = [whole_weights(weights, largest) for largest in WHOLE]
    versions += [np.array([rounded(w / unit, digits) for w in weights]) for digits in (2, 3)]
    for version in versions:
        text = sum_text(version.tolist(), names)
        yield target.when(best_cut(x @ version, target.high, text))
