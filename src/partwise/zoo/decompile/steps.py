"""Steps over symbols: what a network does, without the network.

At every position each step holds a symbol, or numbers where what it writes is a mean. The start
token has none; what heads find there is part of their tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Held = NDArray[np.generic]
ATTENDED = 8.0
"""A position is attended to where its score is at most this much below the highest."""
SAME = 2e-3
"""Two vectors are the same where they are no further apart."""

FAINT = 0.02
"""What is smaller beside what it stands with is nothing."""
CLEAR = 3.0
"""Distances on both sides of a gap that is clear: one is so many times the other."""
MOST_COMPARED = 300


@dataclass(frozen=True)
class Written:
    """What a step can add to the residual.

    Attributes:
        vectors: (symbols, width), one for each symbol. Where the step holds numbers: what it adds
            at 0 for all of them.
        directions: (numbers, width), what each number adds; None where it holds symbols.
        lowest, highest: (numbers,) the numbers' range.
    """

    vectors: Array
    directions: Array | None = None
    lowest: Array = field(default_factory=lambda: np.zeros(0))
    highest: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def is_numeric(self) -> bool:
        """Whether the step holds numbers."""
        return self.directions is not None


@dataclass(frozen=True)
class EmbeddingStep:
    """The token, or the number of tokens before.

    Attributes:
        kind: `"tokens"` or `"positions"`.
        symbols: the token ids that sequences have, or the positions; ascending.
        written: what the embedding adds for each.
    """

    kind: str
    symbols: Codes
    written: Written

    @property
    def reads(self) -> tuple[int, ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class HeadStep:
    """A head: a score for each pair of positions, and what is taken from the highest.

    Attributes:
        pairs: (step of the query, step of the key) -> (symbols, symbols) scores.
        keys: step of the key -> (symbols,) scores.
        start: step of the query -> (symbols,) score of the start token.
        start_score: score of the start token, whatever the query.
        values: step -> (symbols, width) what is taken.
        start_value: (width,) what is taken from the start token.
        base: (width,) what is taken from every other position beside.
        written: what comes out.
        is_causal: whether later positions are out of sight.
    """

    pairs: dict[tuple[int, int], Array]
    keys: dict[int, Array]
    start: dict[int, Array]
    start_score: float
    values: dict[int, Array]
    start_value: Array
    base: Array
    written: Written
    is_causal: bool

    @property
    def reads(self) -> tuple[int, ...]:
        """The steps that it reads."""
        both = {step for pair in self.pairs for step in pair}
        return tuple(sorted(both | set(self.keys) | set(self.start) | set(self.values)))

    def attended(self, held: dict[int, Held], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(b, t, 1 + t) which positions each attends to, the start token first."""
        b, t = shape
        scores = np.zeros((b, t, t))
        for (q, k), table in self.pairs.items():
            scores += table[codes(held[q])[:, :, None], codes(held[k])[:, None, :]]
        for k, row in self.keys.items():
            scores += row[codes(held[k])][:, None]
        if self.is_causal:
            scores = np.where(np.tril(np.ones((t, t), np.bool_)), scores, -np.inf)
        first = np.full((b, t, 1), self.start_score)
        for q, row in self.start.items():
            first[:, :, 0] += row[codes(held[q])]
        scores = np.concatenate([first, scores], 2)
        return scores >= scores.max(2, keepdims=True) - ATTENDED

    def taken(self, held: dict[int, Held], shape: tuple[int, int]) -> Array:
        """(b, t, width) the mean of what the attended positions give."""
        there = np.broadcast_to(self.base, (*shape, len(self.base)))
        for step, table in self.values.items():
            there = there + table[codes(held[step])]
        seen = self.attended(held, shape)
        total = np.einsum("bqk,bkd->bqd", seen[:, :, 1:].astype(float), there)
        total += seen[:, :, :1] * self.start_value
        return total / seen.sum(2, keepdims=True)

    def run(self, held: dict[int, Held], shape: tuple[int, int]) -> Held:
        """(b, t) symbols, or (b, t, numbers)."""
        taken = self.taken(held, shape)
        if self.written.directions is None:
            return nearest(taken, self.written.vectors)
        return coordinates(taken - self.written.vectors[0], self.written.directions)


@dataclass(frozen=True)
class LookupStep:
    """Neurons that look up symbols.

    Attributes:
        inputs: the steps that it reads.
        table: (symbols of the first, ..., of the last) the symbol that comes out.
        written: what comes out.
    """

    inputs: tuple[int, ...]
    table: Codes
    written: Written

    @property
    def reads(self) -> tuple[int, ...]:
        """The steps that it reads."""
        return self.inputs

    def run(self, held: dict[int, Held], shape: tuple[int, int]) -> Held:
        """(b, t) symbols."""
        if not self.inputs:
            return np.full(shape, self.table[()])
        return self.table[tuple(codes(held[step]) for step in self.inputs)]


@dataclass(frozen=True)
class IntervalStep:
    """Neurons that tell in which interval a sum of numbers is.

    Attributes:
        numbers: step -> (numbers,) factors.
        gates: the steps whose symbols choose the thresholds.
        cuts: by the gates' symbols, the ascending thresholds.
        outcomes: likewise, the symbol of each interval.
        written: what comes out.
    """

    numbers: dict[int, Array]
    gates: tuple[int, ...]
    cuts: dict[tuple[int, ...], Array]
    outcomes: dict[tuple[int, ...], Codes]
    written: Written

    @property
    def reads(self) -> tuple[int, ...]:
        """The steps that it reads."""
        return tuple(sorted({*self.numbers, *self.gates}))

    def run(self, held: dict[int, Held], shape: tuple[int, int]) -> Held:
        """(b, t) symbols."""
        number = np.zeros(shape)
        for step, factors in self.numbers.items():
            number += held[step].astype(np.float64) @ factors
        found = np.zeros(shape, np.int64)
        for chosen, cuts in self.cuts.items():
            here = np.ones(shape, np.bool_)
            for gate, symbol in zip(self.gates, chosen, strict=True):
                here &= codes(held[gate]) == symbol
            found[here] = self.outcomes[chosen][np.searchsorted(cuts, number[here])]
        return found


Step = EmbeddingStep | HeadStep | LookupStep | IntervalStep


@dataclass(frozen=True)
class Decompiled:
    """A network as steps.

    Attributes:
        steps: in order.
        outputs: step -> (symbols, vocabulary) what it adds to the logits.
        base: (vocabulary,) logits beside.
    """

    steps: tuple[Step, ...]
    outputs: dict[int, Array]
    base: Array

    def answers(self, ids: Codes) -> Codes:
        """(b, t) the likeliest token at each position of (b, 1 + t) ids, the start's left out."""
        held = self.held(ids)
        logits = np.broadcast_to(self.base, (len(ids), ids.shape[1] - 1, len(self.base)))
        for step, table in self.outputs.items():
            logits = logits + table[codes(held[step])]
        return logits.argmax(2)

    def held(self, ids: Codes) -> dict[int, Held]:
        """What every step holds at every position but the start's."""
        held: dict[int, Held] = {}
        for i, step in enumerate(self.steps):
            held[i] = hold(step, ids, held)
        return held

    @property
    def entries(self) -> int:
        """Numbers in all tables: the size of the description."""
        return sum(_entries(step) for step in self.steps)


def hold(step: Step, ids: Codes, held: dict[int, Held]) -> Held:
    """What a step holds, given what the earlier ones do."""
    shape = (len(ids), ids.shape[1] - 1)
    if isinstance(step, EmbeddingStep):
        given = ids[:, 1:] if step.kind == "tokens" else np.broadcast_to(np.arange(shape[1]), shape)
        return np.searchsorted(step.symbols, given)
    return step.run(held, shape)


def _entries(step: Step) -> int:
    if isinstance(step, HeadStep):
        tables = [*step.pairs.values(), *step.keys.values(), *step.start.values()]
        return sum(table.size for table in tables) + sum(len(each) for each in step.values.values())
    if isinstance(step, LookupStep):
        return step.table.size
    if isinstance(step, IntervalStep):
        return sum(len(cuts) for cuts in step.cuts.values())
    return 0


def codes(held: Held) -> Codes:
    """Symbols as what indexes a table."""
    return held.astype(np.int64)


def nearest(vectors: Array, symbols: Array) -> Codes:
    """(...,) the symbol nearest to each (..., width) vector."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    distance = ((flat**2).sum(1)[:, None] - 2 * flat @ symbols.T) + (symbols**2).sum(1)
    return distance.argmin(1).reshape(vectors.shape[:-1])


def coordinates(vectors: Array, directions: Array) -> Array:
    """(..., numbers) of (..., width) vectors in the span of (numbers, width) directions."""
    return vectors @ np.linalg.pinv(directions)


def spread(vectors: Array) -> float:
    """How far (n, width) vectors are apart: the diagonal of the box that holds them."""
    return float(np.linalg.norm(np.ptp(vectors, axis=0)))


def tolerance_of(vectors: Array) -> float:
    """A distance that tells vectors that are alike from those that are not: in the widest gap.

    Distances between any two are put in order, none counted as less than a faint share of the
    largest; the gap is that between two neighbours of which one is most times the other. Without
    a clear gap all are told apart.
    """
    some = vectors[:: max(1, len(vectors) // MOST_COMPARED)]
    squares = (some**2).sum(1)
    squared = squares[:, None] + squares - 2 * some @ some.T
    distances = np.sqrt(np.maximum(squared[np.triu_indices(len(some), 1)], 0))
    least = max(SAME, FAINT * spread(vectors))
    ordered = np.sort(np.concatenate([[least], np.maximum(distances, least)]))
    ratios = ordered[1:] / ordered[:-1]
    if not len(ratios) or ratios.max() < CLEAR:
        return least
    place = int(ratios.argmax())
    return float(np.sqrt(ordered[place] * ordered[place + 1]))


def distinct(vectors: Array, tolerance: float = SAME) -> tuple[Array, Codes]:
    """The distinct ones of (n, width) vectors in order of appearance, and (n,) which each is.

    Vectors no further apart than the tolerance are one, which is the first of them.
    """
    _, first, place = np.unique(
        np.round(vectors, 6), axis=0, return_index=True, return_inverse=True
    )
    kept = np.zeros((0, vectors.shape[1]))
    symbol_of = np.zeros(len(first), np.int64)
    for i in np.argsort(first):
        vector = vectors[first[i]]
        distance = np.linalg.norm(kept - vector, axis=1)
        if len(kept) and distance.min() <= tolerance:
            symbol_of[i] = distance.argmin()
        else:
            symbol_of[i] = len(kept)
            kept = np.concatenate([kept, vector[None]])
    return kept, symbol_of[place.reshape(-1)]
