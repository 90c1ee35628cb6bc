"""Lookups over texts: what comes after a token, a pair, or a class of tokens; and copying."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.table import Table, Target
from partwise.tasks.words import CLASSES, Words, is_of_class

MOST_GROUPS = 24
MOST_TEXTS = 60
LEAST_SEEN = 2
MOSTLY = 0.9
SIZES = (2, 4, 8, MOST_GROUPS)
Whole = NDArray[np.int64]


@form("lookup")
def propose_lookups(table: Table, target: Target) -> Iterator[str]:
    """Copies of a variable, tables over one variable, tables over pairs, and classes of tokens."""
    if target.is_value or not table.words:
        return
    answers = target.values.astype(np.int64)
    default = target.spelled(float(np.bincount(answers).argmax()))
    names = list(table.words)
    if target.words is not None:
        yield from names
        for copied, name in permutations(names, 2):
            yield from _copied_after(copied, name, table, target, default)
    for name in names:
        yield from _by_class(name, table.words[name], answers, target, default)
        yield from _by_text([name], table, answers, target, default)
    for pair in combinations(names[:4], 2):
        yield from _by_text(list(pair), table, answers, target, default)


def _copied_after(
    copied: str, name: str, table: Table, target: Target, default: str
) -> Iterator[str]:
    """A copy of one variable after the texts of another after which it is mostly right."""
    assert target.words is not None
    right = table.words[copied].over(target.words).numpy() == target.values
    words = table.words[name]
    ids = words.ids.numpy()
    seen = np.bincount(ids[ids >= 0], minlength=len(words.vocabulary))
    hits = np.bincount(ids[(ids >= 0) & right], minlength=len(seen))
    clear = (seen >= LEAST_SEEN) & (hits >= MOSTLY * seen)
    texts = [repr(words.vocabulary[k]) for k in np.flatnonzero(clear).tolist()][:MOST_TEXTS]
    if 0 < len(texts) < (seen >= LEAST_SEEN).sum():
        rest = target.values[~np.isin(ids, np.flatnonzero(clear))].astype(int)
        other = target.spelled(float(np.bincount(rest).argmax())) if len(rest) else default
        yield f"{copied} if {_among([name], texts)} else {other}"


def _by_text(
    names: Sequence[str], table: Table, answers: Whole, target: Target, default: str
) -> Iterator[str]:
    """The commonest answer after each text, or pair of texts; the most useful ones first."""
    keys = np.stack([table.words[name].ids.numpy() for name in names], 1)
    seen, place = np.unique(keys, axis=0, return_inverse=True)
    groups: dict[str, list[tuple[int, str]]] = defaultdict(list)
    usual = int(np.bincount(answers).argmax())
    for k, key in enumerate(seen.tolist()):
        own = answers[place.ravel() == k]
        best = int(np.bincount(own).argmax())
        if min(key) < 0 or best == usual or len(own) < LEAST_SEEN:
            continue
        gain = int((own == best).sum() - (own == usual).sum())
        spelled = [repr(table.words[n].vocabulary[i]) for n, i in zip(names, key, strict=True)]
        groups[target.spelled(best)].append((gain, _pair(names, spelled)))
    ranked = sorted(groups.items(), key=lambda each: -sum(gain for gain, _ in each[1]))
    for size in SIZES:
        rules = [
            f"{answer} if {_among(names, [text for _, text in texts[:MOST_TEXTS]])} else "
            for answer, texts in ranked[:size]
        ]
        if rules:
            yield "".join(rules) + default
        if size >= len(ranked):
            return


def _pair(names: Sequence[str], spelled: Sequence[str]) -> str:
    if len(names) == 1:
        return spelled[0]
    return " and ".join(f"{name} == {text}" for name, text in zip(names, spelled, strict=True))


def _among(names: Sequence[str], texts: Sequence[str]) -> str:
    """That one variable is among some texts, or that two are one of some pairs."""
    if len(names) > 1:
        return " or ".join(texts)
    return f"{names[0]} == {texts[0]}" if len(texts) == 1 else f"{names[0]} in ({', '.join(texts)})"


def _by_class(
    name: str, words: Words, answers: Whole, target: Target, default: str
) -> Iterator[str]:
    """The commonest answer after each class of tokens."""
    ids, rules = words.ids.numpy(), ""
    for kind in CLASSES:
        members = np.array([*(is_of_class(text, kind) for text in words.vocabulary), False])
        inside = members[ids]
        if inside.sum() >= LEAST_SEEN:
            answer = target.spelled(float(np.bincount(answers[inside]).argmax()))
            if answer != default:
                rules += f"{answer} if {name} in {kind} else "
    if rules:
        yield rules + default
