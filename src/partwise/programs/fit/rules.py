"""Short lists of rules: the first whose conditions hold gives the answer (Rivest, 1987)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import short_between
from partwise.programs.fit.table import Array, Table, Target

MOST_RULES = 10
MOST_CONDITIONS = 3
CUTS, CUTS_OF_MANY = 31, 8
MANY_COLUMNS = 16
FEW_VALUES = 8
MOST_COLUMNS = 128
MOST_TEXTS = 40
LEAST_COVERED = 4
Bits = NDArray[np.bool_]


class Condition(NamedTuple):
    """A simple condition, and where it holds."""

    text: str
    holds: Bits


@form("rule list", is_last_resort=True)
def propose_rules(table: Table, target: Target) -> Iterator[str]:
    """Lists of one rule, two rules, and so on, each with what is left as the default."""
    if target.is_value or len(target.classes) < 2:
        return
    conditions = conditions_of(table)
    if not conditions:
        return
    holds = np.stack([each.holds for each in conditions], 1)
    answers = target.values.astype(np.int64)
    left, written = np.ones(len(answers), bool), list[str]()
    for _ in range(MOST_RULES):
        found = _best_rule(holds, answers, left)
        if found is None:
            return
        chosen, answer = found
        text = " and ".join(conditions[k].text for k in chosen)
        written.append(f"{target.spelled(answer)} if {text} else ")
        left &= ~holds[:, chosen].all(1)
        rest = np.bincount(answers[left] if left.any() else answers).argmax()
        yield "".join(written) + target.spelled(float(rest))
        if not left.any():
            return


def conditions_of(table: Table) -> list[Condition]:
    """Simple conditions on every variable: thresholds, equality of few values, texts."""
    found = list[Condition]()
    cuts = CUTS if len(table.numbers) <= MANY_COLUMNS else CUTS_OF_MANY
    for column in table.numbers[:MOST_COLUMNS]:
        found += _of_numbers(column.text, column.values, cuts)
    for name, words in table.words.items():
        ids = words.ids.numpy()
        often = np.bincount(ids[ids >= 0], minlength=1).argsort()[::-1][:MOST_TEXTS]
        found += [
            Condition(f"{name} == {words.vocabulary[k]!r}", ids == k)
            for k in often.tolist()
            if (ids == k).sum() >= LEAST_COVERED
        ]
    return found


def _of_numbers(name: str, values: Array, most: int) -> list[Condition]:
    seen = np.unique(values)
    if len(seen) < 2:
        return []
    places = np.unique(np.linspace(0, len(seen) - 1, most + 2).astype(int)[:-1])
    cuts = [short_between(float(seen[k]), float(seen[k + 1])) for k in places]
    found = [Condition(f"{name} > {cut:.6g}", values > cut) for cut in cuts]
    found += [Condition(f"{name} <= {cut:.6g}", values <= cut) for cut in cuts]
    if 2 < len(seen) <= FEW_VALUES and (seen == np.round(seen)).all():
        found += [Condition(f"{name} == {value:g}", values == value) for value in seen]
    return found


def _best_rule(holds: Bits, answers: NDArray[np.int64], left: Bits) -> tuple[list[int], int] | None:
    """The conjunction that gains most over the answer that is commonest among what is left."""
    if left.sum() < 2 * LEAST_COVERED:
        return None
    counts = np.bincount(answers[left])
    default = int(counts.argmax())
    best: tuple[float, list[int], int] | None = None
    for answer in np.flatnonzero(counts >= LEAST_COVERED).tolist():
        if answer == default and len(np.flatnonzero(counts)) > 1:
            continue
        right = (answers == answer) & left
        chosen, score = _conjunction(holds, right, left)
        if chosen and (best is None or score > best[0]):
            best = (score, chosen, answer)
    return None if best is None else (best[1], best[2])


def _conjunction(holds: Bits, right: Bits, left: Bits) -> tuple[list[int], float]:
    """Conditions that together hold where `right` is, and not elsewhere; with their score.

    The score is what the rule gets right less twice what it gets wrong.
    """
    inside, chosen, score = left.copy(), list[int](), 0.0
    for _ in range(MOST_CONDITIONS):
        hits = holds[inside & right].sum(0).astype(float)
        misses = holds[inside & ~right].sum(0).astype(float)
        ratio = (hits + 0.5) / (hits + misses + 1)
        scores = hits - 2 * misses
        enough = hits >= LEAST_COVERED
        if not enough.any():
            break
        # purity first while it is low, coverage once it is high
        rank = np.where(enough, np.where(ratio > 0.9, scores + len(right), hits * ratio**2), -1)
        k = int(rank.argmax())
        if chosen and scores[k] <= score:
            break
        chosen.append(k)
        score = float(scores[k])
        inside &= holds[:, k]
        if misses[k] == 0:
            break
    return (chosen, score) if score > 0 else ([], 0.0)
