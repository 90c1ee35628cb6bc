"""Exact boolean minimisation over few two-valued inputs (Quine, 1952, and McCluskey, 1956).

All products are held in one array with three places per input: false, true, and either. A product
is an implicant if no sample of its speaks against it; it is prime if no wider one is.
Combinations that never occur are don't-cares; a combination's answer is its majority.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.table import Column, Table, Target

MOST_INPUTS = 10
LIKELIEST = 8
"""Where there are more inputs, the products are over these few that tell most of the answer."""
MOST_PRODUCTS = 24
Bits = NDArray[np.bool_]
FALSE, TRUE, EITHER = 0, 1, 2


@form("boolean")
def propose_boolean(table: Table, target: Target) -> Iterator[str]:
    """The minimal sum of products, and the minimal product of sums."""
    columns = table.two_valued
    if not columns or not target.is_two_way:
        return
    for chosen in _choices(columns, target.high):
        ones, cares = truth_table(chosen, target.high)
        for wanted, negated in ((ones, False), (cares & ~ones, True)):
            products = cover(wanted, cares)
            if len(products) <= MOST_PRODUCTS:
                yield target.when(_text(products, chosen, negated))


def _choices(columns: Sequence[Column], high: Bits) -> Iterator[Sequence[Column]]:
    if len(columns) <= MOST_INPUTS:
        yield columns
        return
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=32, random_state=0)
    tree.fit(np.stack([column.values for column in columns], 1), high)
    order = np.argsort(-tree.feature_importances_, kind="stable")
    for count in (2, 4, LIKELIEST):
        yield [columns[k] for k in sorted(order[:count])]


def truth_table(columns: Sequence[Column], high: Bits) -> tuple[Bits, Bits]:
    """(2, ..., 2) where the answer is mostly true, and which combinations occur."""
    place = np.zeros(len(high), np.int64)
    for column in columns:
        place = 2 * place + (column.values > middle(column))
    cells = 2 ** len(columns)
    seen = np.bincount(place, minlength=cells)
    true = np.bincount(place, high.astype(float), cells)
    shape = (2,) * len(columns)
    return (2 * true > seen).reshape(shape), (seen > 0).reshape(shape)


def middle(column: Column) -> float:
    """The number between a column's two values."""
    return float(column.values.min() + column.values.max()) / 2


def cover(ones: Bits, cares: Bits) -> list[tuple[int, ...]]:
    """Few prime implicants that cover all of `ones` and nothing else that is cared for.

    Each is one of `FALSE`, `TRUE`, `EITHER` per input. Essential ones first, then by greed, and
    none that the others make superfluous.
    """
    primes = np.argwhere(_primes(ones | ~cares))
    wanted = np.argwhere(ones)
    if not len(wanted):
        return []
    literals = (primes != EITHER).sum(1)
    primes = primes[np.argsort(literals, kind="stable")]
    covers = ((primes[:, None] == EITHER) | (primes[:, None] == wanted[None])).all(2)
    chosen = {int(covers[:, k].argmax()) for k in np.flatnonzero(covers.sum(0) == 1)}
    left = ~covers[sorted(chosen)].any(0) if chosen else np.ones(len(wanted), bool)
    while left.any():
        best = int((covers[:, left].sum(1)).argmax())
        chosen.add(best)
        left &= ~covers[best]
    for each in sorted(chosen, reverse=True):
        if covers[sorted(chosen - {each})].any(0).all():
            chosen.discard(each)
    return [tuple(map(int, primes[k])) for k in sorted(chosen)]


def _primes(allowed: Bits) -> Bits:
    """(3, ..., 3) which products are prime implicants of what is allowed."""
    found = allowed
    for axis in range(allowed.ndim):
        either = found.all(axis, keepdims=True)
        found = np.concatenate([found, either], axis)
    prime = found.copy()
    for axis in range(allowed.ndim):
        wider = found.take([EITHER], axis)
        narrow = np.ones(3, bool)
        narrow[EITHER] = False
        shape = [1] * allowed.ndim
        shape[axis] = 3
        prime &= ~(wider & narrow.reshape(shape))
    return prime


def _text(products: Sequence[tuple[int, ...]], columns: Sequence[Column], negated: bool) -> str:
    """A sum of products; of what is not so, the product of sums."""
    inner, outer = (" or ", " and ") if negated else (" and ", " or ")
    parts = [
        inner.join(
            _literal(column, (sign == TRUE) != negated)
            for column, sign in zip(columns, product, strict=True)
            if sign != EITHER
        )
        for product in products
    ]
    parts = [part for part in parts if part]
    if not parts:
        return "1" if bool(products) != negated else "0"
    return outer.join(parts if len(parts) == 1 else map(_bracketed, parts))


def _bracketed(text: str) -> str:
    return f"({text})" if " or " in text else text


def _literal(column: Column, is_high: bool) -> str:
    if is_bit(column):
        return column.text if is_high else f"not {column.text}"
    return f"{column.text} {'>' if is_high else '<='} {middle(column):.3g}"


def is_bit(column: Column) -> bool:
    """Whether a column's two values are 0 and 1."""
    return (column.values.min(), column.values.max()) == (0, 1)
