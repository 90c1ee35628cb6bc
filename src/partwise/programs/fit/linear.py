"""Weighted sums of few inputs; of classes that are whole numbers, sums with whole weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import sum_text
from partwise.programs.fit.sparse import Term, greedy, sums_of
from partwise.programs.fit.table import Table, Target

MOST_TERMS = 16


@form("linear")
def propose_linear(table: Table, target: Target) -> Iterator[str]:
    """Sums of one input, two inputs, and so on."""
    terms = [Term("product", (k,)) for k in range(len(table.numbers))]
    yield from sums_of(table, target, terms, MOST_TERMS)


@form("whole sum")
def propose_whole_sums(table: Table, target: Target) -> Iterator[str]:
    """Sums of few-valued whole numbers with whole weights, that give a class's number."""
    columns = table.whole
    if target.is_value or target.is_two_way or target.words is not None or not columns:
        return
    x = np.stack([column.values for column in columns], 1)
    for taken in map(sorted, greedy(x, target.values, 6)):
        matrix = np.c_[x[:, taken], np.ones(len(x))]
        weights = np.round(np.linalg.lstsq(matrix, target.values, rcond=None)[0])
        constant = float(np.round((target.values - x[:, taken] @ weights[:-1]).mean()))
        yield sum_text(weights[:-1].tolist(), [columns[k].text for k in taken], constant)
