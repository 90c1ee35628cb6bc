"""Programs without a task: random operations on random operations.

No catalogue has a name for what they compute, and no check was written with one in mind.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from partwise.zoo.language import (
    Fetch,
    Map,
    Positions,
    Program,
    Tokens,
    Values,
    counted,
    where,
)
from partwise.zoo.relations import EQUAL, back

LONGEST = 7
OPERATIONS = 6


def made_up(seed: int) -> Program:
    """A program of some six random operations, the same for the same seed."""
    rng = np.random.default_rng(seed)
    tokens, positions = Tokens(tuple("abc")), Positions(tuple(range(LONGEST)))
    known: list[Values] = [tokens, positions]
    for _ in range(OPERATIONS):
        known.append(_drawn(rng, known, positions))
    output = _looked_up(rng, (known[-1], known[int(rng.integers(len(known)))]), 4)
    return Program(f"made up {seed}", "made up", output, tokens, LONGEST, is_causal=True)


def _drawn(rng: np.random.Generator, known: list[Values], positions: Positions) -> Values:
    kind = rng.choice(["fetch", "count", "one", "two"])
    first, second = (known[int(i)] for i in rng.integers(len(known), size=2))
    if kind == "fetch":
        there = where((positions, back(int(rng.integers(1, 4))), positions))
        return Fetch(there, first, first.domain[0])
    if kind == "count":
        return counted(where((first, EQUAL, first)), LONGEST)
    inputs = (first,) if kind == "one" else (first, second)
    return _looked_up(rng, inputs, int(rng.integers(2, 5)))


def _looked_up(rng: np.random.Generator, inputs: tuple[Values, ...], outcomes: int) -> Map:
    keys = list(product(*(each.domain for each in inputs)))
    drawn = dict(zip(keys, rng.integers(0, outcomes, len(keys)).tolist(), strict=True))
    return Map(lambda *values: drawn[values], inputs, "table")
