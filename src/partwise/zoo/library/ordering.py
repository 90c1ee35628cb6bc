"""Tasks about which of two digits is larger."""

from __future__ import annotations

from collections.abc import Iterator

from partwise.zoo.language import (
    Fetch,
    Positions,
    Program,
    Share,
    Tokens,
    Values,
    counted,
    mapped,
    split_at,
    where,
)
from partwise.zoo.relations import EQUAL, LARGER, SMALLER, back, highest, lowest

LONGEST = 8
DIGITS = tuple("0123")


def programs() -> Iterator[Program]:
    """All of them."""
    yield from (sort(is_ascending=True), sort(is_ascending=False), rank())
    yield from (largest(is_causal=True), largest(is_causal=False))
    yield from (smallest(is_causal=True), smallest(is_causal=False))
    yield from (spread(), is_sorted(), direction(), peak())


def given() -> tuple[Tokens, Positions]:
    """Digits and positions."""
    return Tokens(DIGITS), Positions(tuple(range(LONGEST)))


def program(name: str, output: Values, tokens: Tokens, *, is_causal: bool) -> Program:
    """A program of this family."""
    return Program(name, "ordering", output, tokens, LONGEST, is_causal)


def sort(is_ascending: bool) -> Program:
    """The digits in order: each position takes the digit with as many before it."""
    tokens, positions = given()
    relation = SMALLER if is_ascending else LARGER
    beyond = counted(where((tokens, relation, tokens)), LONGEST)
    ties = counted(where((tokens, EQUAL, tokens), (positions, SMALLER, positions)), LONGEST)
    place = mapped(lambda a, b: a + b, beyond, ties, role="sum")
    output = Fetch(where((positions, EQUAL, place)), tokens)
    name = "sort ascending" if is_ascending else "sort descending"
    return program(name, output, tokens, is_causal=False)


def rank() -> Program:
    """How many digits are smaller."""
    tokens, _ = given()
    output = counted(where((tokens, SMALLER, tokens)), LONGEST)
    return program("number of smaller tokens", output, tokens, is_causal=False)


def largest(is_causal: bool) -> Program:
    """The largest digit, so far or in all."""
    tokens, _ = given()
    output = Fetch(where(prefer=highest(tokens)), tokens)
    name = "running maximum" if is_causal else "maximum"
    return program(name, output, tokens, is_causal=is_causal)


def smallest(is_causal: bool) -> Program:
    """The smallest digit, so far or in all."""
    tokens, _ = given()
    output = Fetch(where(prefer=lowest(tokens, 3)), tokens)
    name = "running minimum" if is_causal else "minimum"
    return program(name, output, tokens, is_causal=is_causal)


def spread() -> Program:
    """The largest digit less the smallest."""
    tokens, _ = given()
    high = Fetch(where(prefer=highest(tokens)), tokens)
    low = Fetch(where(prefer=lowest(tokens, 3)), tokens)
    output = mapped(lambda a, b: max(int(a) - int(b), 0), high, low, role="difference")
    return program("maximum less minimum", output, tokens, is_causal=False)


def previous(tokens: Tokens, positions: Positions) -> Fetch:
    """The digit before, or a mark."""
    return Fetch(where((positions, back(1), positions)), tokens, "-")


def is_sorted() -> Program:
    """Whether no digit so far is smaller than the one before it."""
    tokens, positions = given()
    falls = mapped(
        lambda a, b: a != "-" and a > b, previous(tokens, positions), tokens, role="order"
    )
    output = split_at([(1, Share(where(), falls))], 0.05, "y", "n")
    return program("ascending so far", output, tokens, is_causal=True)


def direction() -> Program:
    """Whether the digit is larger or smaller than the one before, or the same."""
    tokens, positions = given()
    before = previous(tokens, positions)
    output = mapped(_sign, before, tokens, role="order")
    return program("up or down", output, tokens, is_causal=True)


def _sign(before: str, now: str) -> str:
    if before in ("-", now):
        return "="
    return "<" if before < now else ">"


def peak() -> Program:
    """Whether the digit is larger than the one before and the one before larger than its own."""
    tokens, positions = given()
    rises = mapped(
        lambda a, b: a != "-" and a < b, previous(tokens, positions), tokens, role="order"
    )
    rose = Fetch(where((positions, back(1), positions)), rises, False)
    output = mapped(lambda a, b: "y" if a and b else "n", rises, rose, role="and")
    return program("second rise", output, tokens, is_causal=True)
