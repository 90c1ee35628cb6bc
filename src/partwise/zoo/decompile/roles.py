"""What each step is, in a closed vocabulary; decided by checks on its tables.

Heads: `copies from`, `averages` or `counts`, and where: `3 back`, `1 ahead`, `equal`, `smaller`,
`larger`, `among` (some keys, whatever the query), then `highest` or `lowest` where one is
preferred, `anywhere` where all are alike; `table` where no check holds.

Neurons: `number`, `threshold`, `levels`, `levels by another` of means; `relabels`, `threshold`,
`remainder`, `membership` of one symbol; `equality`, `order`, `sum`, `difference`,
`remainder of sum`, `remainder of difference`, `and` (any of the eight that are odd one out),
`xor`, `pairs` of two; `table` where no check holds.

Checks need to know what symbols mean. Tokens and positions mean themselves. A count means its
number, a copy what it copies, a sum the sum, and the answer the token that it is written as.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.zoo.decompile.steps import (
    ATTENDED,
    Array,
    Decompiled,
    EmbeddingStep,
    HeadStep,
    IntervalStep,
    LookupStep,
    Step,
)

Meaning = Hashable
"""A token's text, a whole number, or a tuple of them; None where it is not known."""
TABLE = "table"
MODULI = range(2, 8)


def roles_of(decompiled: Decompiled, vocabulary: Sequence[str]) -> list[str]:
    """The role of every step, and "" of the embeddings."""
    return _Namer(decompiled, vocabulary).roles


class _Namer:
    def __init__(self, decompiled: Decompiled, vocabulary: Sequence[str]):
        self.steps = decompiled.steps
        self.vocabulary = vocabulary
        self.meanings: list[list[Meaning]] = []
        self.roles: list[str] = []
        self.answers = _answers(decompiled, vocabulary)
        for i, step in enumerate(self.steps):
            role, meanings = self.named(i, step)
            self.roles.append(role)
            self.meanings.append(meanings)

    def named(self, i: int, step: Step) -> tuple[str, list[Meaning]]:
        if isinstance(step, EmbeddingStep):
            return "", self._given(step)
        if isinstance(step, HeadStep):
            return self._head(step)
        if isinstance(step, IntervalStep):
            return self._intervals(step)
        known = self.answers.get(i)
        role, meanings = self._lookup(step, known)
        return role, meanings

    def _given(self, step: EmbeddingStep) -> list[Meaning]:
        if step.kind == "positions":
            return step.symbols.tolist()
        return [as_number(self.vocabulary[token]) for token in step.symbols]

    def _head(self, step: HeadStep) -> tuple[str, list[Meaning]]:
        where = self._where(step)
        if not step.written.is_numeric:
            return f"copies from {where}", self._copied(step)
        return f"{'averages' if step.values else 'counts'} {where}", []

    def _where(self, step: HeadStep) -> str:
        rows = dict(step.keys)
        relations, preferences = [], []
        for (q, k), table in step.pairs.items():
            condition, rest = split_scores(table + rows.pop(k, 0.0))
            if condition is not None:
                relations.append(relation(condition, self.meanings[q], self.meanings[k]))
            if np.ptp(rest) > ATTENDED:
                rows[k] = rest
        for k, row in rows.items():
            if np.ptp(row) <= ATTENDED:
                continue
            if _has_two_levels(row) and _is_excluding(step, k):
                relations.append("among")
            else:
                preferences.append(preference(row, self.meanings[k]))
        return " & ".join([*sorted(relations), *preferences]) or "anywhere"

    def _copied(self, step: HeadStep) -> list[Meaning]:
        """What a copy means: what the symbol of its only source means."""
        meanings: list[Meaning] = [None] * len(step.written.vectors)
        if len(step.values) != 1:
            return meanings
        ((source, table),) = step.values.items()
        for symbol, meaning in enumerate(self.meanings[source]):
            vector = step.base + table[symbol]
            distance = np.linalg.norm(step.written.vectors - vector, axis=1)
            place = int(distance.argmin())
            meanings[place] = meaning if meanings[place] is None else meanings[place]
        return meanings

    def _intervals(self, step: IntervalStep) -> tuple[str, list[Meaning]]:
        anonymous: list[Meaning] = [None] * len(step.written.vectors)
        if step.gates:
            return "levels by another", anonymous
        (outcomes,) = step.outcomes.values()
        if len(outcomes) == 2:
            return "threshold", anonymous
        counts = self._counts(step)
        if counts is None:
            return "levels", anonymous
        meanings = anonymous
        for symbol, count in zip(outcomes, counts, strict=True):
            meanings[symbol] = count
        return ("number" if len(set(outcomes)) == len(outcomes) else "table"), meanings

    def _counts(self, step: IntervalStep) -> list[int] | None:
        """The count that each interval holds, where its number is that of one counting head."""
        if len(step.numbers) != 1:
            return None
        ((source, factors),) = step.numbers.items()
        head = self.steps[source]
        if not isinstance(head, HeadStep) or head.values or len(factors) != 1:
            return None
        written = head.written
        assert written.directions is not None
        pinned = np.linalg.pinv(written.directions)
        first, other = (
            float((value - written.vectors[0]) @ pinned @ factors)
            for value in (head.start_value, head.base)
        )
        (cuts,) = step.cuts.values()
        most = len(cuts) + 1
        levels = [other + (first - other) / (1 + count) for count in range(most)]
        places = np.searchsorted(cuts, levels)
        if sorted(places) != list(range(most)):
            return None
        return [int(np.flatnonzero(places == i)[0]) for i in range(most)]

    def _lookup(self, step: LookupStep, known: list[Meaning] | None) -> tuple[str, list[Meaning]]:
        meanings = [self.meanings[i] for i in step.inputs]
        role, found = function(step.table, meanings)
        named: list[Meaning] = [None] * len(step.written.vectors)
        for symbol, meaning in found.items():
            named[symbol] = meaning
        return role, known if known is not None and not found else named


def _answers(decompiled: Decompiled, vocabulary: Sequence[str]) -> dict[int, list[Meaning]]:
    """What symbols mean that are written as tokens: of the only step that is."""
    if len(decompiled.outputs) != 1:
        return {}
    ((step, table),) = decompiled.outputs.items()
    return {step: [as_number(vocabulary[i]) for i in (decompiled.base + table).argmax(1)]}


def as_number(text: str) -> Meaning:
    """A token as a number, where it is one.

    >>> as_number("7"), as_number("a")
    (7, 'a')
    """
    return int(text) if text.lstrip("-").isdigit() else text


def split_scores(scores: Array) -> tuple[NDArray[np.bool_] | None, Array]:
    """Splits (queries, keys) scores into a condition on pairs and (keys,) scores beside.

    What a query adds to all keys alike changes nothing, so each row counts from its lowest. The
    condition is None where no pair matters, only the key.
    """
    scores = scores - scores.min(1, keepdims=True)
    if np.ptp(scores, axis=0).max() <= ATTENDED:
        return None, scores[0]
    levels = np.unique(np.round(scores, 3))
    gap = int(np.diff(levels).argmax())
    holds = scores > (levels[gap] + levels[gap + 1]) / 2
    step = np.median(scores[holds]) - np.median(scores[~holds])
    return holds, (scores - step * holds).mean(0)


def _has_two_levels(row: Array) -> bool:
    """Whether scores are high or low, and nothing between."""
    high = row > (row.min() + row.max()) / 2
    return bool(np.ptp(row[high]) <= ATTENDED and np.ptp(row[~high]) <= ATTENDED)


def _is_excluding(step: HeadStep, key: int) -> bool:
    """Whether keys with the lower score lose against the start token."""
    best = sum((float(table.max()) for table in step.pairs.values()), 0.0)
    best += sum(float(row.min() if k == key else row.max()) for k, row in step.keys.items())
    start = step.start_score + sum((float(row.max()) for row in step.start.values()), 0.0)
    return start > best + ATTENDED


def relation(chosen: NDArray[np.bool_], queries: Sequence[Meaning], keys: Sequence[Meaning]) -> str:
    """Which relation the chosen pairs of a query and a key are in.

    Args:
        chosen: (queries, keys).
        queries, keys: what the symbols mean.
    """
    pairs = [
        (q, k, bool(chosen[i, j]))
        for i, q in enumerate(queries)
        for j, k in enumerate(keys)
        if q is not None and k is not None
    ]
    if pairs and any(holds for *_, holds in pairs):
        if all(holds == (q == k) for q, k, holds in pairs):
            return "equal"
        named = _numeric_relation([p for p in pairs if _are_numbers(p[:2])], len(pairs))
        if named:
            return named
    unknown = all(each is None for each in queries) or all(each is None for each in keys)
    return "equal" if unknown and _is_matching(chosen) else TABLE


def _numeric_relation(pairs: list[tuple[Any, Any, bool]], wanted: int) -> str | None:
    if len(pairs) != wanted:
        return None
    offsets = {k - q for q, k, holds in pairs if holds}
    if len(offsets) == 1:
        offset = offsets.pop()
        if all(holds == (k - q == offset) for q, k, holds in pairs):
            return f"{abs(offset)} {'back' if offset < 0 else 'ahead'}"
    if all(holds == (k < q) for q, k, holds in pairs):
        return "smaller"
    if all(holds == (k > q) for q, k, holds in pairs):
        return "larger"
    return None


def _is_matching(chosen: NDArray[np.bool_]) -> bool:
    """Whether every key is chosen by at most one query and the other way round."""
    return bool(chosen.any() and chosen.sum(0).max() == 1 and chosen.sum(1).max() == 1)


def preference(row: Array, keys: Sequence[Meaning]) -> str:
    """`highest` or `lowest`, or `table` where scores do not rise with the keys, nor fall."""
    order = np.argsort(row, kind="stable")
    parts = list(zip(*(key if isinstance(key, tuple) else (key,) for key in keys), strict=True))
    for part in parts:
        along = [part[i] for i in order]
        if _are_numbers(along) and along == sorted(along):
            return "highest"
        if _are_numbers(along) and along == sorted(along, reverse=True):
            return "lowest"
    return TABLE


def _are_numbers(values: Iterable[Meaning]) -> bool:
    return all(isinstance(value, int) for value in values)


Rows = list[tuple[tuple[Any, ...], int]]


def function(
    table: NDArray[np.int64], meanings: Sequence[Sequence[Meaning]]
) -> tuple[str, dict[int, Meaning]]:
    """What a lookup is, and what its symbols mean where that follows.

    Rows whose inputs mean nothing known are left out, if others remain.
    """
    rows = [
        (tuple(m[i] for m, i in zip(meanings, place, strict=True)), int(table[place]))
        for place in product(*(range(size) for size in table.shape))
    ]
    known = [row for row in rows if None not in row[0]]
    if table.ndim == 1:
        return _of_one(table, known if len(known) == len(rows) else [])
    if table.ndim == 2:
        return _of_two(table, known)
    return TABLE, {}


def _of_one(table: NDArray[np.int64], rows: Rows) -> tuple[str, dict[int, Meaning]]:
    values = {key[0]: symbol for key, symbol in rows}
    outcomes = len(np.unique(table))
    if outcomes == len(table):
        return "relabels", {}
    if values and _are_numbers(values):
        along = [values[key] for key in sorted(values)]
        if outcomes == 2 and sum(a != b for a, b in pairwise(along)) == 1:
            return "threshold", {}
        for p in MODULI:
            found = follows(rows, lambda a, p=p: a % p)
            if found is not None and len(found) == p == outcomes:
                return "remainder", found
    return ("membership" if outcomes == 2 else TABLE), {}


def _of_two(table: NDArray[np.int64], rows: Rows) -> tuple[str, dict[int, Meaning]]:
    outcomes = len(np.unique(table))
    if outcomes == table.size:
        return "pairs", {symbol: key for key, symbol in rows}
    if table.shape == (2, 2) or _are_bits(rows):
        return _of_bits(table if table.shape == (2, 2) else _as_square(rows)), {}
    if rows and outcomes in (2, 3) and follows(rows, lambda a, b: a == b) is not None:
        return "equality", {}
    if rows and all(_are_numbers(key) for key, _ in rows):
        if outcomes in (2, 3) and follows(rows, lambda a, b: (a > b) - (a < b)) is not None:
            return "order", {}
        if outcomes in (2, 3) and (
            follows(rows, lambda a, b: a < b) or follows(rows, lambda a, b: a > b)
        ):
            return "order", {}
        for name, of in _ARITHMETIC:
            found = follows(rows, of)
            if found is not None and len(found) > 2:
                return name, found
    return TABLE, {}


def _remainder(sign: int, p: int) -> Callable[..., int]:
    return lambda a, b: (a + sign * b) % p


_ARITHMETIC: list[tuple[str, Callable[..., Any]]] = [
    ("sum", lambda a, b: a + b),
    ("difference", lambda a, b: a - b),
    ("difference", lambda a, b: max(a - b, 0)),
    ("difference", lambda a, b: max(b - a, 0)),
    ("difference", lambda a, b: max(a - 1 - b, 0)),
    ("difference", lambda a, b: max(b - 1 - a, 0)),
    *(("remainder of sum", _remainder(1, p)) for p in MODULI),
    *(("remainder of difference", _remainder(-1, p)) for p in MODULI),
]


def follows(rows: Rows, of: Callable[..., Any]) -> dict[int, Meaning] | None:
    """Which value of a function each symbol stands for; None where the two do not match."""
    there: dict[Any, int] = {}
    back: dict[int, Any] = {}
    for key, symbol in rows:
        value = of(*key)
        if there.setdefault(value, symbol) != symbol or back.setdefault(symbol, value) != value:
            return None
    return back


def _are_bits(rows: Rows) -> bool:
    return len({key for key, _ in rows}) == 4 and all(
        bit in (0, 1) for key, _ in rows for bit in key
    )


def _as_square(rows: Rows) -> NDArray[np.int64]:
    found = dict(rows)
    return np.array([[found[a, b] for b in (0, 1)] for a in (0, 1)])


def _of_bits(table: NDArray[np.int64]) -> str:
    symbols, counts = np.unique(table, return_counts=True)
    if len(symbols) == 2 and counts.min() == 1:
        return "and"
    is_parity = len(symbols) == 2 and table[0, 0] == table[1, 1] != table[0, 1] == table[1, 0]
    if is_parity and table[0, 1] == table[1, 0]:
        return "xor"
    return TABLE
