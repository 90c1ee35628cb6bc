"""Tasks that mark tokens by what else there is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
from partwise.zoo.relations import EQUAL, LARGER, SMALLER, among, back, highest

LONGEST = 9
LETTERS = tuple("abc")


def programs() -> Iterator[Program]:
    """All of them."""
    yield from (first_of_kind(), last_of_kind(), repeated(), same_as_before(), run())
    yield from (induction(), since(), palindrome(), last_other())


def given() -> tuple[Tokens, Positions]:
    """Letters and positions."""
    return Tokens(LETTERS), Positions(tuple(range(LONGEST)))


def program(name: str, output: Values, tokens: Tokens, *, is_causal: bool) -> Program:
    """A program of this family."""
    return Program(name, "marking", output, tokens, LONGEST, is_causal)


def first_of_kind() -> Program:
    """Whether the token is the first of its kind."""
    tokens, positions = given()
    before = counted(where((tokens, EQUAL, tokens), (positions, SMALLER, positions)), LONGEST)
    output = mapped(lambda n: "y" if n == 0 else "n", before, role="threshold")
    return program("first of its kind", output, tokens, is_causal=True)


def last_of_kind() -> Program:
    """Whether the token is the last of its kind."""
    tokens, positions = given()
    after = counted(where((tokens, EQUAL, tokens), (positions, LARGER, positions)), LONGEST)
    output = mapped(lambda n: "y" if n == 0 else "n", after, role="threshold")
    return program("last of its kind", output, tokens, is_causal=False)


def repeated() -> Program:
    """Whether the token is there more than once."""
    tokens, _ = given()
    number = counted(where((tokens, EQUAL, tokens)), LONGEST)
    output = mapped(lambda n: "y" if n > 1 else "n", number, role="threshold")
    return program("more than once", output, tokens, is_causal=False)


def before_of(tokens: Tokens, positions: Positions) -> Fetch:
    """The token before, or a mark."""
    return Fetch(where((positions, back(1), positions)), tokens, "-")


def same_as_before() -> Program:
    """Whether the token is the one before again."""
    tokens, positions = given()
    output = mapped(
        lambda a, b: "y" if a == b else "n", before_of(tokens, positions), tokens, role="equality"
    )
    return program("same as before", output, tokens, is_causal=True)


def run() -> Program:
    """How long the run of equal tokens is that ends here, 3 at most."""
    tokens, positions = given()
    goes_on = mapped(lambda a, b: a == b, before_of(tokens, positions), tokens, role="equality")
    went_on = Fetch(where((positions, back(1), positions)), goes_on, False)
    output = mapped(lambda a, b: 1 + a + (a and b), goes_on, went_on, role="table")
    return program("run length up to 3", output, tokens, is_causal=True)


def induction() -> Program:
    """What came after the token when it was last there; a mark where it is new."""
    tokens, positions = given()
    before = before_of(tokens, positions)
    output = Fetch(where((tokens, EQUAL, before), prefer=highest(positions)), tokens, "-")
    return program("induction", output, tokens, is_causal=True)


def since() -> Program:
    """How many tokens ago the letter a was last there; a mark where it never was."""
    tokens, positions = given()
    last = Fetch(where((tokens, among({"a"}), tokens), prefer=highest(positions)), positions, "-")
    output = mapped(
        lambda i, j: "-" if j == "-" else max(i - j, 0), positions, last, role="difference"
    )
    return program("steps since a", output, tokens, is_causal=True)


def palindrome() -> Program:
    """Whether the sequence is the same from its end."""
    tokens, positions = given()
    mirror = mapped(
        lambda n, i: max(n - 1 - i, 0), counted(where(), LONGEST), positions, role="difference"
    )
    opposite = Fetch(where((mirror, EQUAL, positions)), tokens)
    differs = mapped(lambda a, b: a != b, opposite, tokens, role="equality")
    output = split_at([(1, Share(where(), differs))], 0.05, "y", "n")
    return Program("palindrome", "marking", output, tokens, LONGEST, False, draw=_nearly_mirrored)


def _nearly_mirrored(rng: np.random.Generator, count: int, length: int) -> NDArray[np.int64]:
    """Sequences of which each end is as likely the other's mirror image as not."""
    drawn = rng.integers(0, len(LETTERS), (count, length))
    mirrored = np.where(np.arange(length) < length / 2, drawn, drawn[:, ::-1])
    return np.where(rng.random((count, 1)) < 0.5, mirrored, drawn)


def last_other() -> Program:
    """The last letter so far that is not c; a mark where there is none."""
    tokens, positions = given()
    there = where((tokens, among({"a", "b"}), tokens), prefer=highest(positions))
    return program("last other than c", Fetch(there, tokens, "-"), tokens, is_causal=True)
