"""Parities, and sparse sums of products modulo two (Zhegalkin, 1927), by elimination over GF(2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.boolean import is_bit, middle
from partwise.programs.fit.forms import form
from partwise.programs.fit.table import Column, Table, Target

MOST_TERMS = 12
SPARE = 10
"""Equations beyond the unknowns that must agree, or a solution says nothing."""
LEAST_MARGIN = 0.3
Bits = NDArray[np.bool_]


@form("parity")
def propose_parity(table: Table, target: Target) -> Iterator[str]:
    """Sums modulo two of inputs, and of products of two of them."""
    columns = table.two_valued
    if len(columns) < 2 or not target.is_two_way:
        return
    inputs = np.stack([column.values > middle(column) for column in columns], 1)
    singles = [(k,) for k in range(len(columns))]
    pairs = list(combinations(range(len(columns)), 2))
    for terms in (singles, singles + pairs):
        if len(terms) + 1 + SPARE > len(inputs):
            break
        values = np.stack([inputs[:, list(term)].all(1) for term in terms], 1)
        solution = solved(np.c_[values, np.ones(len(inputs), bool)], target.high)
        if solution is not None and solution[:-1].sum() <= MOST_TERMS:
            chosen = [terms[k] for k in np.flatnonzero(solution[:-1])]
            yield target.when(_text(columns, chosen, bool(solution[-1])))
            return
    yield from _noisy(columns, inputs, target)


def _noisy(columns: Sequence[Column], inputs: Bits, target: Target) -> Iterator[str]:
    """Parities of two or three inputs that hold mostly, by their correlation with the answer."""
    signs, answer = 1.0 - 2 * inputs, 1.0 - 2 * target.high
    most = 3 if len(columns) <= 24 else 2
    for size in range(2, most + 1):
        sets = np.array(list(combinations(range(len(columns)), size)))
        if not len(sets):
            return
        products = signs[:, sets[:, 0]]
        for column in sets.T[1:]:
            products = products * signs[:, column]
        margins = answer @ products / len(answer)
        best = int(np.abs(margins).argmax())
        if abs(margins[best]) >= LEAST_MARGIN:
            yield target.when(_text(columns, [(k,) for k in sets[best]], margins[best] < 0))


def solved(equations: Bits, right: Bits) -> Bits | None:
    """A solution of equations modulo two; None where there is none.

    Args:
        equations: (equations, unknowns).
        right: (equations,) what each sum should be.
    """
    rows = np.c_[equations, right].astype(bool)
    pivots, row = list[int](), 0
    for column in range(equations.shape[1]):
        candidates = np.flatnonzero(rows[row:, column])
        if not len(candidates):
            continue
        rows[[row, row + candidates[0]]] = rows[[row + candidates[0], row]]
        others = rows[:, column].copy()
        others[row] = False
        rows[others] ^= rows[row]
        pivots.append(column)
        row += 1
        if row == len(rows):
            break
    if rows[row:, -1].any():
        return None
    solution = np.zeros(equations.shape[1], bool)
    solution[pivots] = rows[: len(pivots), -1]
    return solution


def _text(columns: Sequence[Column], terms: Sequence[tuple[int, ...]], flipped: bool) -> str:
    parts = [" * ".join(_bit(columns[k]) for k in term) for term in terms]
    if not parts:
        return "1" if flipped else "0"
    parts += ["1"] if flipped else []
    total = f"sum({', '.join(parts)})" if len(parts) > 8 else f"({' + '.join(parts)})"
    return f"{total} % 2"


def _bit(column: Column) -> str:
    return column.text if is_bit(column) else f"({column.text} > {middle(column):.3g})"
