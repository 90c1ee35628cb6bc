"""Tasks about brackets."""

from __future__ import annotations

from collections.abc import Iterator

from partwise.zoo.language import (
    Map,
    Program,
    Share,
    Tokens,
    Values,
    counted,
    mapped,
    split_at,
    where,
)
from partwise.zoo.relations import among

LONGEST = 8


def programs() -> Iterator[Program]:
    """All of them."""
    yield from (depth(), never_below(), balanced(), balanced_of_two_kinds())


def program(name: str, output: Values, tokens: Tokens) -> Program:
    """A program of this family."""
    return Program(name, "brackets", output, tokens, LONGEST, is_causal=True)


def excess(tokens: Tokens, opening: str, closing: str) -> Map:
    """How many more opening than closing brackets came so far."""
    opened = counted(where((tokens, among({opening}), tokens)), LONGEST)
    closed = counted(where((tokens, among({closing}), tokens)), LONGEST)
    return mapped(lambda a, b: a - b, opened, closed, role="difference")


def depth() -> Program:
    """How many brackets are open; a mark below 0."""
    tokens = Tokens(("(", ")"))
    output = mapped(lambda n: str(n) if n >= 0 else "-", excess(tokens, "(", ")"), role="table")
    return program("bracket depth", output, tokens)


def never_below() -> Program:
    """Whether no bracket so far closed what was not open."""
    tokens = Tokens(("(", ")"))
    below = mapped(lambda n: n < 0, excess(tokens, "(", ")"), role="threshold")
    output = split_at([(1, Share(where(), below))], 0.05, "y", "n")
    return program("never below 0", output, tokens)


def is_balanced(tokens: Tokens, opening: str, closing: str) -> Map:
    """Whether the brackets so far are balanced."""
    more = excess(tokens, opening, closing)
    below = mapped(lambda n: n < 0, more, role="threshold")
    was_below = split_at([(1, Share(where(), below))], 0.05, False, True)
    is_zero = mapped(lambda n: n == 0, more, role="membership")
    return mapped(
        lambda bad, zero: "y" if zero and not bad else "n", was_below, is_zero, role="and"
    )


def balanced() -> Program:
    """Whether the brackets so far are balanced."""
    tokens = Tokens(("(", ")"))
    return program("balanced", is_balanced(tokens, "(", ")"), tokens)


def balanced_of_two_kinds() -> Program:
    """Whether both kinds of brackets are balanced, each by itself."""
    tokens = Tokens(("(", ")", "[", "]"))
    round_ones, square = is_balanced(tokens, "(", ")"), is_balanced(tokens, "[", "]")
    both = mapped(lambda a, b: "y" if a == b == "y" else "n", round_ones, square, role="and")
    return program("balanced of two kinds", both, tokens)
