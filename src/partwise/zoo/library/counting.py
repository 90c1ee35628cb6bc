"""Tasks that count tokens."""

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
    counted,
    mapped,
    split_at,
    where,
)
from partwise.zoo.relations import EQUAL, SMALLER, among, highest

LONGEST = 9
LETTERS = tuple("abc")
BITS = tuple("01")


def programs() -> Iterator[Program]:
    """All of them."""
    yield from (histogram(), running_count(), total_count(), length(), distinct())
    yield from (remainder(2), remainder(3), majority(is_causal=False), majority(is_causal=True))
    yield from (most_frequent(), more_of_one(), contains(), seen(), all_equal())


def program(name: str, output: Values, tokens: Tokens, *, is_causal: bool) -> Program:
    """A program of this family."""
    return Program(name, "counting", output, tokens, LONGEST, is_causal)


def histogram() -> Program:
    """How often the token is in the sequence."""
    tokens = Tokens(LETTERS)
    output = counted(where((tokens, EQUAL, tokens)), LONGEST)
    return program("histogram", output, tokens, is_causal=False)


def number_of(token: str, tokens: Tokens) -> Digitise:
    """How often a token is among those seen."""
    return counted(where((tokens, among({token}), tokens)), LONGEST)


def running_count() -> Program:
    """How often the letter a came so far."""
    tokens = Tokens(LETTERS)
    return program("running count of a", number_of("a", tokens), tokens, is_causal=True)


def total_count() -> Program:
    """How often the letter b is in the sequence."""
    tokens = Tokens(LETTERS)
    return program("count of b", number_of("b", tokens), tokens, is_causal=False)


def length() -> Program:
    """The sequence's length."""
    tokens = Tokens(LETTERS)
    return program("length", counted(where(), LONGEST), tokens, is_causal=False)


def distinct() -> Program:
    """How many different tokens the sequence has."""
    tokens, positions = Tokens(LETTERS), Positions(tuple(range(LONGEST)))
    before = counted(where((tokens, EQUAL, tokens), (positions, SMALLER, positions)), LONGEST)
    is_new = mapped(lambda n: n == 0, before, role="threshold")
    output = counted(where((is_new, among({True}), is_new)), LONGEST)
    return program("number of different tokens", output, tokens, is_causal=False)


def remainder(modulus: int) -> Program:
    """How many ones came so far, modulo a number."""
    tokens = Tokens(BITS)
    output = mapped(lambda n: n % modulus, number_of("1", tokens), role="remainder")
    return program(f"count of 1 mod {modulus}", output, tokens, is_causal=True)


def majority(is_causal: bool) -> Program:
    """Whether more than half of the tokens, so far or in all, are ones."""
    tokens = Tokens(BITS)
    share = Share(where(), tokens)
    name = "running majority" if is_causal else "majority"
    return program(name, split_at([(1, share)], 0.525, "n", "y"), tokens, is_causal=is_causal)


def most_frequent() -> Program:
    """The most frequent token; of several the first in the alphabet."""
    tokens = Tokens(LETTERS)
    number = counted(where((tokens, EQUAL, tokens)), LONGEST)
    pair = mapped(lambda n, token: (n, token), number, tokens, role="pairs")
    preference = highest(pair, lambda p: 3 * p[0] + 2 - LETTERS.index(p[1]))
    output = Fetch(where(prefer=preference), tokens)
    return program("most frequent token", output, tokens, is_causal=False)


def more_of_one() -> Program:
    """Whether there are more of the letter a than of b."""
    tokens = Tokens(LETTERS)
    shares = [Share(where(), tokens, lambda t, of=of: float(t == of)) for of in "ab"]
    output = split_at([(1, shares[0]), (-1, shares[1])], 0.05, "n", "y")
    return program("more a than b", output, tokens, is_causal=False)


def contains() -> Program:
    """Whether the letter a is in the sequence."""
    tokens = Tokens(LETTERS)
    share = Share(where(), tokens, lambda t: float(t == "a"))
    output = split_at([(1, share)], 0.05, "n", "y")
    return program("contains a", output, tokens, is_causal=False)


def seen() -> Program:
    """Whether the letter c came so far."""
    tokens = Tokens(LETTERS)
    share = Share(where(), tokens, lambda t: float(t == "c"))
    output = split_at([(1, share)], 0.05, "n", "y")
    return program("c so far", output, tokens, is_causal=True)


def all_equal() -> Program:
    """Whether all tokens so far are the same."""
    tokens, positions = Tokens(LETTERS), Positions(tuple(range(LONGEST)))
    first = Fetch(where((positions, among({0}), positions)), tokens)
    differs = mapped(lambda a, b: a != b, first, tokens, role="equality")
    output = split_at([(1, Share(where(), differs))], 0.05, "y", "n")
    return program("all equal so far", output, tokens, is_causal=True)
