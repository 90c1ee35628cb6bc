"""Sparse polynomials, and sums of everything that a value may be made of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement

from partwise.programs.fit.forms import form
from partwise.programs.fit.fourier import wave_terms
from partwise.programs.fit.hinges import hinge_terms
from partwise.programs.fit.sparse import Term, sums_of
from partwise.programs.fit.table import Table, Target

DEGREES = ((4, 5), (3, 12), (2, 40))
"""Highest degree, and of how many inputs at most."""


@form("polynomial")
def propose_polynomials(table: Table, target: Target) -> Iterator[str]:
    """Sums of few products of inputs."""
    terms = product_terms(len(table.numbers))
    for degree in sorted({len(term.columns) for term in terms} - {1}):
        yield from sums_of(table, target, [term for term in terms if len(term.columns) <= degree])


@form("mixed sum")
def propose_mixed(table: Table, target: Target) -> Iterator[str]:
    """Sums of products, hinges and waves."""
    if target.is_value and 0 < len(table.numbers) <= 12:
        terms = product_terms(len(table.numbers))
        terms += hinge_terms(table.matrix, target.values) + wave_terms(len(table.numbers))
        yield from sums_of(table, target, list(dict.fromkeys(terms)))


def product_terms(columns: int) -> list[Term]:
    """Products of inputs up to the degree that so many inputs allow."""
    degree = next((degree for degree, most in DEGREES if columns <= most), 1)
    return [
        Term("product", chosen)
        for size in range(1, degree + 1)
        for chosen in combinations_with_replacement(range(columns), size)
    ]
