"""Runs of texts per sample, and the small automata that read them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Symbol = str | float


@dataclass(frozen=True, eq=False)
class Sequences:
    """A run of texts per sample.

    Attributes:
        ids: (b, t) int64, position of each text in `vocabulary`; -1 where a run has ended.
        vocabulary: the texts that there are.
    """

    ids: Tensor
    vocabulary: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def count(self, chosen: Callable[[str], bool]) -> Tensor:
        """(b,) float, how many texts of each run are chosen."""
        table = torch.tensor([*map(chosen, self.vocabulary), False])
        return table[self.ids].sum(1).float()

    def symbols(self, alphabet: Sequence[Symbol]) -> Tensor:
        """(b, t) position of each text in an alphabet; -1 where that lacks it."""
        place = {text: k for k, text in enumerate(alphabet)}
        table = torch.tensor([*(place.get(text, -1) for text in self.vocabulary), -1])
        return table[self.ids]


class Automaton(NamedTuple):
    """A call of `automaton`, read from its syntax tree.

    Attributes:
        read: the variable that holds a run, or the variables that make one, in their order.
        alphabet: the symbols that move it; others leave it where it is.
        next: per state, the state after each symbol. It begins in state 0.
        constants: every constant of the call.
        is_run: whether `read` is a tuple of variables.
    """

    read: tuple[ast.Name, ...]
    alphabet: tuple[Symbol, ...]
    next: tuple[tuple[int, ...], ...]
    constants: tuple[ast.expr, ...]
    is_run: bool


def automaton_of(call: ast.Call) -> Automaton | None:
    """The automaton that a call names; None if it is none.

    It is written `automaton(tokens, ('a', 'b'), (0, 1), (1, 0))`: the run, its symbols, and a
    tuple per state, or `automaton((x0, x1, x2), (0, 1), ...)`.
    """
    if len(call.args) < 3 or not all(isinstance(each, ast.Tuple) for each in call.args[1:]):
        return None
    first, *tables = call.args
    read = first.elts if isinstance(first, ast.Tuple) else [first]
    constants = [each for table in tables for each in table.elts]  # type: ignore[attr-defined]
    names = tuple(each for each in read if isinstance(each, ast.Name))
    if not names or len(names) < len(read):
        return None
    if not all(isinstance(each, ast.Constant) for each in constants):
        return None
    alphabet, *rows = [
        tuple(each.value for each in table.elts)  # type: ignore[attr-defined]
        for table in tables
    ]
    if not _is_alphabet(alphabet) or not all(
        _is_row(row, len(alphabet), len(rows)) for row in rows
    ):
        return None
    return Automaton(names, alphabet, tuple(rows), tuple(constants), isinstance(first, ast.Tuple))


def _is_alphabet(symbols: tuple[object, ...]) -> bool:
    if not symbols or len({type(each) is str for each in symbols}) > 1:
        return False
    return len(set(symbols)) == len(symbols) and all(
        type(each) in (str, int, float) and (type(each) is str or abs(each) <= 1e30)  # type: ignore[arg-type]
        for each in symbols
    )


def _is_row(row: tuple[object, ...], symbols: int, states: int) -> bool:
    return len(row) == symbols and all(type(each) is int and 0 <= each < states for each in row)


def run_automaton(automaton: Automaton, symbols: Tensor) -> Tensor:
    """(b,) float, the state after the last of (b, t) symbols, of which -1 are skipped."""
    table = torch.tensor(automaton.next)
    state = torch.zeros(len(symbols), dtype=torch.long)
    for symbol in symbols.T:
        state = torch.where(symbol >= 0, table[state, symbol.clamp(min=0)], state)
    return state.float()


def symbols_of_numbers(columns: Sequence[Tensor], alphabet: Sequence[Symbol]) -> Tensor:
    """(b, t) the symbols that columns of numbers hold."""
    run = torch.stack(torch.broadcast_tensors(*columns), 1)
    found = torch.full(run.shape, -1)
    for place, symbol in enumerate(alphabet):
        found[run == symbol] = place
    return found
