"""Which positions a head selects, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from partwise.zoo.language import Preference, Relation, Value, Values

EQUAL = Relation("equal", lambda query, key: query == key)
SMALLER = Relation("smaller", lambda query, key: key < query)
LARGER = Relation("larger", lambda query, key: key > query)


def back(steps: int) -> Relation:
    """Positions so many steps before."""
    return Relation(f"{steps} back", lambda query, key: key == query - steps)


def ahead(steps: int) -> Relation:
    """Positions so many steps after."""
    return Relation(f"{steps} ahead", lambda query, key: key == query + steps)


def among(values: Iterable[Value]) -> Relation:
    """Keys of a set, whatever the query."""
    chosen = frozenset(values)
    return Relation("among", lambda _, key: key in chosen)


def highest(keys: Values, number: Callable[[Any], int] = int) -> Preference:
    """Of the selected positions, those with the largest number."""
    return Preference("highest", keys, number)


def lowest(keys: Values, most: int, number: Callable[[Any], int] = int) -> Preference:
    """Of the selected positions, those with the smallest number, which is `most` or less."""
    return Preference("lowest", keys, lambda value: most - number(value))
