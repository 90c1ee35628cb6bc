"""Sums of few waves in one input, or in the sum or difference of two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

from partwise.programs.fit.forms import form
from partwise.programs.fit.sparse import Term, sums_of
from partwise.programs.fit.table import Table, Target

FREQUENCIES = (*(0.5 * k for k in range(1, 17)), *(0.5 * math.pi * k for k in range(1, 7)))
MODULI = range(3, 14)
MOST_COLUMNS = 24
MOST_PAIRED = 4


@form("waves")
def propose_waves(table: Table, target: Target) -> Iterator[str]:
    """Sums of sines and cosines; of whole numbers, those of period 3 to 13 as well."""
    if not target.is_value or not 0 < len(table.numbers) <= MOST_COLUMNS:
        return
    whole = {column.text for column in table.whole}
    are_whole = all(column.text in whole for column in table.numbers)
    terms = [Term("product", (k,)) for k in range(len(table.numbers))]
    terms += wave_terms(len(table.numbers))
    if are_whole:
        terms += wave_terms(
            len(table.numbers), [2 * math.pi * k / p for p in MODULI for k in range(1, p // 2 + 1)]
        )
    for text in sums_of(table, target, terms):
        if "sin(" in text or "cos(" in text:
            yield text


def wave_terms(
    columns: int, frequencies: tuple[float, ...] | list[float] = FREQUENCIES
) -> list[Term]:
    """Sines and cosines of inputs, and of sums and differences of two."""
    read = [((k,), (1,)) for k in range(columns)]
    pairs = list(combinations(range(columns), 2)) if columns <= MOST_PAIRED else []
    both = [(pair, signs) for pair in pairs for signs in ((1, 1), (1, -1))]
    return [
        Term(kind, chosen, frequency, signs)
        for chosen, signs in [*read, *both]
        for frequency in frequencies
        for kind in ("sin", "cos")
    ]
