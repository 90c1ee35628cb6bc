"""What a program answers, worked out from its operations and without any network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partwise.errors import DataError
from partwise.zoo.language import (
    Digitise,
    Fetch,
    Map,
    Operation,
    Positions,
    Program,
    Selector,
    Share,
    Tokens,
    Values,
)

Codes = NDArray[np.int64]
Held = dict[int, NDArray[np.generic]]


def answers(program: Program, tokens: Codes) -> NDArray[np.str_]:
    """(b, t) text of the answer at every position of (b, t) positions in `program.texts`."""
    codes = run(program, tokens)[id(program.output)]
    return np.array([str(value) for value in program.output.domain])[codes]


def run(program: Program, tokens: Codes) -> Held:
    """What every operation has at every position, by the operation's `id`.

    Args:
        program: any.
        tokens: (b, t) positions in `program.texts`.

    Returns:
        (b, t) positions in an operation's domain; floats of a `Share`.

    Raises:
        DataError: if a `Fetch` selects nothing and has no default, or unlike values.
    """
    machine = _Machine(tokens, program.is_causal)
    for operation in program.operations:
        machine.held[id(operation)] = machine.value(operation)
    return machine.held


class _Machine:
    def __init__(self, tokens: Codes, is_causal: bool):
        self.tokens = tokens
        self.held: Held = {}
        length = tokens.shape[1]
        ones = np.ones((length, length), np.bool_)
        self.seen = np.tril(ones) if is_causal else ones

    def value(self, operation: Operation) -> NDArray[np.generic]:
        if isinstance(operation, Tokens):
            return self.tokens
        if isinstance(operation, Positions):
            return np.broadcast_to(np.arange(self.tokens.shape[1]), self.tokens.shape)
        if isinstance(operation, Fetch):
            return self.fetched(operation)
        if isinstance(operation, Share):
            return self.shared(operation)
        if isinstance(operation, Map):
            return self.mapped(operation)
        assert isinstance(operation, Digitise)
        return self.digitised(operation)

    def codes(self, values: Values) -> Codes:
        return self.held[id(values)].astype(np.int64)

    def selected(self, selector: Selector) -> NDArray[np.bool_]:
        """(b, queries, keys)."""
        chosen = np.broadcast_to(self.seen, (len(self.tokens), *self.seen.shape))
        for term in selector.terms:
            queries, keys = self.codes(term.queries), self.codes(term.keys)
            chosen = chosen & term.table[queries[:, :, None], keys[:, None, :]]
        if selector.preference is None:
            return chosen
        numbers = selector.preference.numbers[self.codes(selector.preference.keys)][:, None]
        scores = np.where(chosen, numbers, -np.inf)
        return chosen & (scores == scores.max(2, keepdims=True))

    def fetched(self, operation: Fetch) -> Codes:
        chosen = self.selected(operation.selector)
        place = {value: i for i, value in enumerate(operation.domain)}
        translated = np.array([place[value] for value in operation.values.domain])
        there = translated[self.codes(operation.values)][:, None]
        largest = np.where(chosen, there, -1).max(2)
        smallest = np.where(chosen, there, len(place)).min(2)
        if operation.default is None and (largest < 0).any():
            raise DataError(f"a head that {operation.role} selects nothing and has no default")
        if (smallest < largest).any():
            raise DataError(f"a head that {operation.role} selects unlike values")
        return np.where(largest < 0, place.get(operation.default, 0), largest)

    def shared(self, operation: Share) -> NDArray[np.float64]:
        chosen = self.selected(operation.selector)
        numbers = np.zeros(self.tokens.shape)
        if operation.values is not None:
            numbers = operation.numbers[self.codes(operation.values)]
        total, count = (chosen * numbers[:, None]).sum(2), chosen.sum(2)
        if operation.start is None:
            return np.where(count, total / np.maximum(count, 1), 0.0)
        return (total + operation.start) / (count + 1)

    def mapped(self, operation: Map) -> Codes:
        place = {value: i for i, value in enumerate(operation.domain)}
        flat = np.array([place[value] for value in operation.table.values()])
        table = flat.reshape([len(each.domain) for each in operation.inputs])
        return table[tuple(self.codes(each) for each in operation.inputs)]

    def digitised(self, operation: Digitise) -> Codes:
        number = sum(
            (
                factor * self.held[id(share)].astype(np.float64)
                for factor, share in operation.numbers
            ),
            start=np.zeros(self.tokens.shape),
        )
        place = {value: i for i, value in enumerate(operation.domain)}
        gate = 0 if operation.gate is None else self.codes(operation.gate)
        found = np.zeros(self.tokens.shape, np.int64)
        for i, (cuts, outcomes) in enumerate(zip(operation.cuts, operation.outcomes, strict=True)):
            coded = np.array([place[value] for value in outcomes])
            found = np.where(gate == i, coded[np.searchsorted(np.array(cuts), number)], found)
        return found
