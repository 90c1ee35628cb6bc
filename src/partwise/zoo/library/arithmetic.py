"""Tasks over digits as numbers, and tables of tokens."""

from __future__ import annotations

from collections.abc import Iterator

from partwise.zoo.language import (
    Digitise,
    Fetch,
    Positions,
    Program,
    Share,
    Tokens,
    Values,
    mapped,
    where,
)
from partwise.zoo.relations import back

LONGEST = 8


def programs() -> Iterator[Program]:
    """All of them."""
    yield from (sum_modulo(3), sum_modulo(4), with_before(5, 1), with_before(5, -1))
    yield from (caesar(), vowels(), position_modulo(2), position_modulo(3), with_position())


def given(tokens: str) -> tuple[Tokens, Positions]:
    """Tokens and positions."""
    return Tokens(tuple(tokens)), Positions(tuple(range(LONGEST)))


def program(name: str, output: Values, tokens: Tokens) -> Program:
    """A program of this family."""
    return Program(name, "arithmetic", output, tokens, LONGEST, is_causal=True)


def sum_modulo(modulus: int) -> Program:
    """The sum so far: a mean, whose thresholds depend on the position."""
    tokens, positions = given("0123"[:modulus])
    mean = Share(where(), tokens)
    sums = [range((modulus - 1) * count + 1) for count in range(1, LONGEST + 1)]
    cuts = [
        tuple((total + 0.5) / count for total in range((modulus - 1) * count))
        for count in range(1, LONGEST + 1)
    ]
    outcomes = [tuple(total % modulus for total in totals) for totals in sums]
    output = Digitise(((1.0, mean),), tuple(cuts), tuple(outcomes), "levels by another", positions)
    return program(f"sum mod {modulus}", output, tokens)


def with_before(modulus: int, sign: int) -> Program:
    """The digit and the one before, added or taken away."""
    tokens, positions = given("01234")
    before = Fetch(where((positions, back(1), positions)), tokens, "0")
    role = "remainder of sum" if sign > 0 else "remainder of difference"
    output = mapped(lambda a, b: (int(a) + sign * int(b)) % modulus, tokens, before, role=role)
    word = "plus" if sign > 0 else "less"
    return program(f"{word} the digit before, mod {modulus}", output, tokens)


def caesar() -> Program:
    """The letter two further in the alphabet."""
    tokens, _ = given("abcde")
    output = mapped(lambda a: "abcde"[("abcde".index(a) + 2) % 5], tokens, role="relabels")
    return program("caesar by 2", output, tokens)


def vowels() -> Program:
    """Whether the letter is a vowel."""
    tokens, _ = given("abcde")
    output = mapped(lambda a: "y" if a in "ae" else "n", tokens, role="membership")
    return program("is a vowel", output, tokens)


def position_modulo(modulus: int) -> Program:
    """The position, modulo a number."""
    tokens, positions = given("ab")
    output = mapped(lambda i: i % modulus, positions, role="remainder")
    return program(f"position mod {modulus}", output, tokens)


def with_position() -> Program:
    """The digit plus its position."""
    tokens, positions = given("0123")
    output = mapped(lambda a, i: (int(a) + i) % 4, tokens, positions, role="remainder of sum")
    return program("plus the position, mod 4", output, tokens)
