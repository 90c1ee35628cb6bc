"""Tasks over bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from partwise.zoo.language import (
    Fetch,
    Positions,
    Program,
    Share,
    Tokens,
    Values,
    mapped,
    split_at,
    where,
)
from partwise.zoo.relations import ahead, back

HALF = 4
BITS = tuple("01")


def programs() -> Iterator[Program]:
    """All of them."""
    yield halves("and", lambda a, b: a & b)
    yield halves("or", lambda a, b: a | b)
    yield halves("xor", lambda a, b: a ^ b)
    yield from (equal_halves(), flip(), change(), majority_of_three())


def given() -> tuple[Tokens, Positions]:
    """Bits and positions."""
    return Tokens(BITS), Positions(tuple(range(2 * HALF)))


def program(name: str, output: Values, tokens: Tokens, shortest: int = 2) -> Program:
    """A program of this family."""
    return Program(name, "logic", output, tokens, 2 * HALF, is_causal=False, shortest=shortest)


def halves(name: str, function: Callable[[int, int], int]) -> Program:
    """A function of each bit of the first half and its partner in the second, 0 beyond."""
    tokens, positions = given()
    partner = Fetch(where((positions, ahead(HALF), positions)), tokens, "0")
    role = "xor" if name == "xor" else "and"
    output = mapped(lambda a, b: str(function(int(a), int(b))), tokens, partner, role=role)
    return program(f"halves: {name}", output, tokens, shortest=2 * HALF)


def equal_halves() -> Program:
    """Whether the second half is the first again."""
    tokens, positions = given()
    partner = Fetch(where((positions, ahead(HALF), positions)), tokens, "-")
    differs = mapped(lambda a, b: b not in ("-", a), tokens, partner, role="xor")
    output = split_at([(1, Share(where(), differs))], 0.05, "y", "n")
    return replace(program("halves: equal", output, tokens, 2 * HALF), draw=_nearly_repeated)


def _nearly_repeated(rng: np.random.Generator, count: int, length: int) -> NDArray[np.int64]:
    """Sequences whose second half is as likely the first again as not."""
    drawn = rng.integers(0, 2, (count, length))
    again = np.where(np.arange(length) < HALF, drawn, np.roll(drawn, HALF, 1))
    return np.where(rng.random((count, 1)) < 0.5, again, drawn)


def flip() -> Program:
    """The other bit."""
    tokens, _ = given()
    output = mapped(lambda a: str(1 - int(a)), tokens, role="relabels")
    return program("flip", output, tokens)


def change() -> Program:
    """Exclusive or with the bit before, 0 at the start."""
    tokens, positions = given()
    before = Fetch(where((positions, back(1), positions)), tokens, "0")
    output = mapped(lambda a, b: str(int(a) ^ int(b)), tokens, before, role="xor")
    return program("xor with the bit before", output, tokens)


def majority_of_three() -> Program:
    """The commonest of a bit and its neighbours, which are 0 beyond the ends."""
    tokens, positions = given()
    before = Fetch(where((positions, back(1), positions)), tokens, "0")
    after = Fetch(where((positions, ahead(1), positions)), tokens, "0")
    output = mapped(
        lambda *bits: str(int(sum(map(int, bits)) > 1)), tokens, before, after, role="table"
    )
    return program("majority of three", output, tokens)
