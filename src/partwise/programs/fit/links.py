"""Functions of a sum: its root, its exponential, its reciprocal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from partwise.programs.fit.forms import form
from partwise.programs.fit.polynomials import product_terms
from partwise.programs.fit.sparse import Term, sums_of
from partwise.programs.fit.table import Array, Table, Target

MOST_COLUMNS = 8
MOSTLY = 0.95
"""Share of the values that must be positive."""
LINKS: dict[str, Callable[[Array], Array]] = {
    "sqrt(relu({}))": np.square,
    "exp({})": np.log,
    "1 / ({})": np.reciprocal,
}
"""A function of a sum as a program -> what the sum must then come to, of the values."""


@form("function of a sum")
def propose_links(table: Table, target: Target) -> Iterator[str]:
    """Roots, exponentials and reciprocals of sparse polynomials and distances."""
    y = target.values
    if not target.is_value or not 0 < len(table.numbers) <= MOST_COLUMNS:
        return
    if (y > 0).mean() < MOSTLY:
        return
    least = float(np.quantile(y[y > 0], 0.01))
    products = product_terms(len(table.numbers)) + _absolute(len(table.numbers))
    for most in (2, 4):
        terms = [term for term in products if len(term.columns) <= most]
        for link, inverse in LINKS.items():
            wanted = inverse(y.clip(0 if link.startswith("sqrt") else least))
            for text in sums_of(table, Target(wanted, "value"), terms):
                yield link.format(text)


def _absolute(columns: int) -> list[Term]:
    return [Term("abs", (k,), 0.0) for k in range(columns)]
