"""Piecewise linear functions: sums of few hinges (Friedman, 1991)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.sparse import Term, sums_of
from partwise.programs.fit.table import Array, Table, Target

KNOTS = 15
MOST_COLUMNS = 24
MOST_PAIRED = 8
MOST_TERMS = 6
BENT = ("relu", "abs", "max", "min")


@form("piecewise linear")
def propose_hinges(table: Table, target: Target) -> Iterator[str]:
    """Sums of inputs, of hinges in one input, and of hinges where two inputs cross."""
    if not target.is_value or not table.numbers:
        return
    terms = hinge_terms(table.matrix, target.values)
    alone = [term for term in terms if len(term.columns) == 1]
    for dictionary in (alone, terms):
        for text in sums_of(table, target, dictionary, MOST_TERMS):
            if any(f"{kind}(" in text for kind in BENT):
                yield text


def hinge_terms(x: Array, y: Array) -> list[Term]:
    """Hinges at quantiles of the inputs that go with the values most, and between pairs."""
    order = _by_relation(x, y)[:MOST_COLUMNS]
    terms = [Term("product", (int(k),)) for k in order]
    for k in map(int, order):
        values = np.unique(x[:, k])
        knots = np.unique(np.quantile(x[:, k], np.linspace(0, 1, KNOTS + 2)[1:-1]))
        knots = knots[(knots > values[0]) & (knots < values[-1])] if len(values) > 2 else knots[:0]
        terms += [Term(kind, (k,), float(knot)) for knot in knots for kind in ("relu", "abs")]
    few = sorted(int(k) for k in order[:MOST_PAIRED])
    pairs = list(combinations(few, 2))
    terms += [Term("abs", pair, None, (1, -1)) for pair in pairs]
    terms += [Term("relu", pair, None, (1, -1)) for pair in pairs]
    terms += [Term("max", pair) for pair in pairs] + [Term("min", pair) for pair in pairs]
    return terms + [Term(kind, tuple(few)) for kind in ("max", "min") if len(few) > 2]


def _by_relation(x: Array, y: Array) -> NDArray[np.int64]:
    """Columns in the order of how much a cubic in each says of the values."""
    shares = []
    for column in x.T:
        scaled = (column - column.mean()) / (column.std() + 1e-12)
        powers = np.stack([np.ones(len(y)), scaled, scaled**2, np.abs(scaled)], 1)
        left = y - powers @ np.linalg.lstsq(powers, y, rcond=None)[0]
        shares.append(float(left @ left))
    return np.argsort(shares, kind="stable")
