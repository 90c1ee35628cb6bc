"""Tasks that move tokens."""

from __future__ import annotations

from collections.abc import Iterator

from partwise.zoo.language import (
    Fetch,
    Map,
    Positions,
    Program,
    Tokens,
    Values,
    counted,
    mapped,
    where,
)
from partwise.zoo.relations import EQUAL, ahead, among, back, highest

LETTERS = tuple("abcd")
NOTHING = "-"
LONGEST = 9


def programs() -> Iterator[Program]:
    """All of them."""
    for steps in (1, 2, 3):
        yield copy_back(steps)
    yield from (copy_ahead(), reverse(), rotate(), first(), last(), swap())


def given() -> tuple[Tokens, Positions]:
    """Letters and positions."""
    return Tokens(LETTERS), Positions(tuple(range(LONGEST)))


def program(name: str, output: Values, tokens: Tokens, *, is_causal: bool) -> Program:
    """A program of this family."""
    return Program(name, "moving", output, tokens, LONGEST, is_causal)


def copy_back(steps: int) -> Program:
    """The token some steps before."""
    tokens, positions = given()
    there = where((positions, back(steps), positions))
    output = Fetch(there, tokens, NOTHING)
    return program(f"copy {steps} back", output, tokens, is_causal=True)


def copy_ahead() -> Program:
    """The next token."""
    tokens, positions = given()
    output = Fetch(where((positions, ahead(1), positions)), tokens, NOTHING)
    return program("copy 1 ahead", output, tokens, is_causal=False)


def reverse() -> Program:
    """The sequence from its end."""
    tokens, positions = given()
    length = counted(where(), LONGEST)
    mirror = mapped(lambda n, i: max(n - 1 - i, 0), length, positions, role="difference")
    output = Fetch(where((mirror, EQUAL, positions)), tokens)
    return program("reverse", output, tokens, is_causal=False)


def rotate() -> Program:
    """The token before, and the last one at the start."""
    tokens, positions = given()
    before = Fetch(where((positions, back(1), positions)), tokens, NOTHING)
    final = Fetch(where(prefer=highest(positions)), tokens)
    output = mapped(lambda a, b: b if a == NOTHING else a, before, final, role="table")
    return program("rotate", output, tokens, is_causal=False)


def first() -> Program:
    """The first token, everywhere."""
    tokens, positions = given()
    output = Fetch(where((positions, among({0}), positions)), tokens)
    return program("first token", output, tokens, is_causal=True)


def last() -> Program:
    """The last token, everywhere."""
    tokens, positions = given()
    output = Fetch(where(prefer=highest(positions)), tokens)
    return program("last token", output, tokens, is_causal=False)


def swap() -> Program:
    """Neighbours in pairs change places; one without a partner becomes nothing."""
    tokens, positions = given()
    partner = Map(lambda i: i ^ 1, (positions,), "relabels")
    output = Fetch(where((partner, EQUAL, positions)), tokens, NOTHING)
    return program("swap pairs", output, tokens, is_causal=False)
