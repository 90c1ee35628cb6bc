"""Numbers and sums as programs write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MARGIN = 0.2
MOST_ADDED = 8
"""Longer sums are written `sum(a, b, ...)`, which nests less deep."""


def short_between(low: float, high: float) -> float:
    """The shortest number well between two others.

    >>> short_between(3, 4), short_between(0.21, 0.39), short_between(110, 290)
    (3.5, 0.3, 200.0)
    """
    middle, room = (low + high) / 2, (high - low) * (0.5 - MARGIN)
    if not room > 0:
        return low
    first = -math.ceil(math.log10(max(abs(middle), room, 1e-12)))
    for decimals in range(first, first + 9):
        found = round(middle, decimals)
        if abs(found - middle) <= room:
            return float(found) or 0.0
    return middle


def rounded(value: float, digits: int) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def gap_below(values: Array, threshold: float) -> float:
    """The shortest number in the gap between values that a threshold lies in."""
    below, above = values[values <= threshold], values[values > threshold]
    if not len(below) or not len(above):
        return rounded(threshold, 3)
    return short_between(float(below.max()), float(above.min()))


def sum_text(weights: Sequence[float], terms: Sequence[str], constant: float = 0.0) -> str:
    """A weighted sum as a program.

    >>> sum_text([1, -1, 2.5], ["x0", "x1", "x2"], -3)
    'x0 + 2.5*x2 - x1 - 3'
    """
    parts = [
        (float(weight), _scaled(abs(weight), term))
        for weight, term in zip(weights, terms, strict=True)
        if weight
    ]
    if constant or not parts:
        parts.append((float(constant), f"{abs(constant):.6g}"))
    parts.sort(key=lambda part: part[0] < 0)
    if len(parts) > MOST_ADDED:
        return f"sum({', '.join('-' * (weight < 0) + text for weight, text in parts)})"
    first, *rest = parts
    text = "-" * (first[0] < 0) + first[1]
    return text + "".join(f" {'-' if weight < 0 else '+'} {each}" for weight, each in rest)


def _scaled(weight: float, term: str) -> str:
    return term if weight == 1 else f"{weight:.6g}*{term}"


def whole_weights(weights: Array, largest: int) -> Array:
    """Weights as whole numbers of at most a size; see `Threshold`."""
    top = np.abs(weights).max()
    return np.round(weights / top * largest) if top > 0 else np.round(weights)
