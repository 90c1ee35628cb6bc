"""Small automata over runs of texts, learned by merging states.

A tree of all runs' beginnings is folded: two states are one where no answer speaks against it, the
pair with most answers that agree first (the blue-fringe algorithm of Lang, Pearlmutter and Price,
1998). Answers belong to the ends of runs, so states give classes and not only yes or no.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.table import Column, Table, Target

MOST_SYMBOLS = 8
MOST_STATES = 12
MOST_NODES = 6000
MOST_COLUMNS = 40
MOST_TRIED = 4
Whole = NDArray[np.int64]


@form("automaton")
def propose_automata(table: Table, target: Target) -> Iterator[str]:
    """The automaton that gives the answers, over each run of texts, or over all whole numbers."""
    if target.is_value or target.words is not None:
        return
    answers = target.values.astype(np.int64)
    for name, run in table.runs.items():
        kept = [k for k in np.unique(run.ids.numpy()).tolist() if k >= 0]
        if 2 <= len(kept) <= MOST_SYMBOLS:
            place = {k: i for i, k in enumerate(kept)} | {-1: -1}
            symbols = np.vectorize(place.__getitem__)(run.ids.numpy())
            yield from _written(
                name, [repr(run.vocabulary[k]) for k in kept], symbols, answers, target
            )
    yield from _over_columns(table.numbers, answers, target)


def _over_columns(columns: tuple[Column, ...], answers: Whole, target: Target) -> Iterator[str]:
    if not 4 <= len(columns) <= MOST_COLUMNS:
        return
    x = np.stack([column.values for column in columns], 1)
    alphabet = np.unique(x)
    if len(alphabet) > MOST_SYMBOLS or (alphabet != np.round(alphabet)).any():
        return
    read = f"({', '.join(column.text for column in columns)})"
    symbols = np.searchsorted(alphabet, x)
    yield from _written(read, [f"{value:g}" for value in alphabet], symbols, answers, target)


def _written(
    read: str, alphabet: list[str], symbols: Whole, answers: Whole, target: Target
) -> Iterator[str]:
    learned = learned_automaton(symbols, answers, len(alphabet))
    if learned is None or not 2 <= len(learned.next) <= MOST_STATES:
        return
    rows = ", ".join(_tuple([str(k) for k in row]) for row in learned.next)
    call = f"automaton({read}, {_tuple(alphabet)}, {rows})"
    by_answer: dict[int, list[int]] = {}
    for state, answer in enumerate(learned.answers):
        by_answer.setdefault(answer, []).append(state)
    if all(states == [answer] for answer, states in by_answer.items()):
        yield call
        return
    *rules, (last, _) = sorted(by_answer.items(), key=lambda each: len(each[1]))
    if target.is_two_way and len(rules) == 1:
        answer, states = rules[0]
        condition = " or ".join(f"{call} == {state}" for state in states)
        yield target.when(condition if answer == target.classes[-1] else f"not ({condition})")
        return
    chain = "".join(
        f"{target.spelled(answer)} if {' or '.join(f'{call} == {s}' for s in states)} else "
        for answer, states in rules
    )
    yield chain + target.spelled(last)


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


class Learned(NamedTuple):
    """An automaton: per state, where each symbol leads, and its answer. It begins in state 0."""

    next: tuple[tuple[int, ...], ...]
    answers: tuple[int, ...]


def learned_automaton(symbols: Whole, answers: Whole, alphabet: int) -> Learned | None:
    """The automaton that merging finds; None where there is none small enough.

    Args:
        symbols: (b, t) from 0; -1 is skipped.
        answers: (b,) the class of each run.
        alphabet: number of symbols.
    """
    tree = _Tree(alphabet)
    for run, answer in zip(symbols.tolist(), answers.tolist(), strict=True):
        if not tree.add([symbol for symbol in run if symbol >= 0], answer):
            return None
    red, blue = [0], tree.fringe([0])
    while blue:
        node, state = _best_merge(tree, red, blue)
        if state is None:
            red.append(node)
            if len(red) > MOST_STATES:
                return None
        else:
            tree.fold(state, node).apply()
        blue = tree.fringe(red)
    return tree.automaton(red)


def _best_merge(tree: _Tree, red: list[int], blue: list[int]) -> tuple[int, int | None]:
    """A fringe node that fits no state, or that which fits one best, and the state."""
    best: tuple[int, int, int] | None = None
    for node in blue[:MOST_TRIED]:
        fitting = [(fold.score, state) for state in red if (fold := tree.fold(state, node)).fits]
        if not fitting:
            return node, None
        score, state = max(fitting)
        if best is None or score > best[0]:
            best = (score, node, state)
    assert best is not None
    return best[1], best[2]


class _Tree:
    """Nodes by number: where each symbol leads, and the answer, or -1."""

    def __init__(self, alphabet: int):
        self.alphabet = alphabet
        self.next: list[list[int]] = [[-1] * alphabet]
        self.answer: list[int] = [-1]
        self.parent: list[tuple[int, int]] = [(-1, -1)]

    def add(self, run: list[int], answer: int) -> bool:
        """Adds a run; False if another answer is known for it, or there are too many nodes."""
        node = 0
        for symbol in run:
            if self.next[node][symbol] < 0:
                self.next[node][symbol] = len(self.next)
                self.next.append([-1] * self.alphabet)
                self.answer.append(-1)
                self.parent.append((node, symbol))
            node = self.next[node][symbol]
        fits = self.answer[node] in (-1, answer)
        self.answer[node] = answer
        return fits and len(self.next) <= MOST_NODES

    def fringe(self, red: list[int]) -> list[int]:
        """What the states lead to that is no state yet."""
        inside = set(red)
        found = [k for state in red for k in self.next[state] if k >= 0 and k not in inside]
        return list(dict.fromkeys(found))

    def fold(self, state: int, node: int) -> _Fold:
        """A state and a node of the fringe made one, and their children likewise."""
        fold = _Fold(self)
        parent, symbol = self.parent[node]
        fold.next[parent, symbol] = state
        pairs = [(state, node)]
        while pairs and fold.fits:
            pairs += fold.join(*pairs.pop())
        return fold

    def automaton(self, red: list[int]) -> Learned:
        """The states as an automaton; a symbol that was never seen in one leaves it there."""
        number = {node: k for k, node in enumerate(red)}
        known = [self.answer[node] for node in red]
        usual = max(set(known), key=known.count)
        rows = tuple(tuple(number.get(k, number[node]) for k in self.next[node]) for node in red)
        return Learned(rows, tuple(usual if a < 0 else a for a in known))


class _Fold:
    """What changes in a tree when two nodes become one.

    Attributes:
        next: where symbols lead now.
        answer: answers that nodes have now.
        score: how many answers agree.
        fits: whether none speaks against it.
    """

    def __init__(self, tree: _Tree):
        self.tree = tree
        self.next: dict[tuple[int, int], int] = {}
        self.answer: dict[int, int] = {}
        self.score, self.fits = 0, True

    def join(self, into: int, other: int) -> list[tuple[int, int]]:
        """Makes one of two nodes, and gives the children that become one thereby."""
        tree, pairs = self.tree, []
        answer, known = tree.answer[other], self.answer.get(into, tree.answer[into])
        if answer >= 0 and known >= 0:
            self.score += answer == known
            self.fits = answer == known
        elif answer >= 0:
            self.answer[into] = answer
        for symbol, child in enumerate(tree.next[other]):
            own = self.next.get((into, symbol), tree.next[into][symbol])
            if child >= 0 and own < 0:
                self.next[into, symbol] = child
            elif child >= 0 and child != own:
                pairs.append((own, child))
        return pairs

    def apply(self) -> None:
        """Makes the changes."""
        for (node, symbol), child in self.next.items():
            self.tree.next[node][symbol] = child
            self.tree.parent[child] = (node, symbol)
        for node, answer in self.answer.items():
            self.tree.answer[node] = answer
