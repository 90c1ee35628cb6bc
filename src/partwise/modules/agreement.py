"""How well partitions agree: with a truth, with a nest of truths, and with one another."""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def contingency(a: Labels, b: Labels) -> NDArray[np.int64]:
    """(ka, kb) number of units in each pair of modules of two partitions."""
    a, b = (np.unique(labels, return_inverse=True)[1] for labels in (a, b))
    table = np.zeros((a.max() + 1, b.max() + 1), np.int64)
    np.add.at(table, (a, b), 1)
    return table


def adjusted_rand(a: Labels, b: Labels) -> float:
    """Adjusted Rand index of two partitions: 1 for equal ones, 0 expected by chance.

    Hubert and Arabie (1985).
    """
    table = contingency(a, b)
    pairs, rows, columns, every = (
        float((counts * (counts - 1) // 2).sum())
        for counts in (table, table.sum(1), table.sum(0), table.sum(keepdims=True))
    )
    chance = rows * columns / every if every else 0.0
    best = (rows + columns) / 2
    return 1.0 if best == chance else (pairs - chance) / (best - chance)


def adjusted_mutual_information(a: Labels, b: Labels) -> float:
    """AMI of two partitions: 1 for equal ones, 0 expected by chance.

    (I - E[I]) / (mean entropy - E[I]); Vinh, Epps and Bailey (2010), with the arithmetic mean.
    """
    table = contingency(a, b)
    n, rows, columns = table.sum(), table.sum(1), table.sum(0)
    if len(rows) == len(columns) == 1:
        return 1.0
    joint = table[table > 0] / n
    mutual = _entropy(rows / n) + _entropy(columns / n) - _entropy(joint)
    expected = _expected_information(rows.tolist(), columns.tolist(), int(n))
    best = (_entropy(rows / n) + _entropy(columns / n)) / 2
    return float((mutual - expected) / (best - expected)) if best > expected else 0.0


def _entropy(p: NDArray[np.float64]) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def _expected_information(rows: list[int], columns: list[int], n: int) -> float:
    """Mean mutual information over tables with these margins (hypergeometric)."""
    total = 0.0
    for a in rows:
        for b in columns:
            fixed = (
                lgamma(a + 1) + lgamma(b + 1) + lgamma(n - a + 1) + lgamma(n - b + 1)
                - lgamma(n + 1)
            )  # fmt: skip
            for both in range(max(1, a + b - n), min(a, b) + 1):
                weight = fixed - (
                    lgamma(both + 1) + lgamma(a - both + 1) + lgamma(b - both + 1)
                    + lgamma(n - a - b + both + 1)
                )  # fmt: skip
                total += both / n * np.log(n * both / (a * b)) * np.exp(weight)
    return float(total)


def dendrogram_purity(
    pieces: Labels, merges: Sequence[tuple[int, int, float]], truth: Labels
) -> float:
    """How pure the smallest merger is that holds two units of the same true class, on average.

    Over all pairs of units of one true class: the share of that class in their lowest common
    ancestor. Heller and Ghahramani (2005).

    Args:
        pieces: (n,) the leaves of the nest.
        merges: mergers as in `merge_order`.
        truth: (n,) true class of each unit; -1 where it has none (it is left out).
    """
    known = truth >= 0
    classes = np.unique(truth[known])
    k = int(pieces.max()) + 1
    table = np.array([[((pieces == p) & (truth == c)).sum() for c in classes] for p in range(k)])
    counts = [row.astype(float) for row in table]
    weighted, pairs = 0.0, 0.0
    for row in counts:
        weighted, pairs = _add(weighted, pairs, row * (row - 1) / 2, row)
    for a, b, _ in merges:
        both = counts[a] + counts[b]
        weighted, pairs = _add(weighted, pairs, counts[a] * counts[b], both)
        counts.append(both)
    return weighted / pairs if pairs else 1.0


def _add(
    weighted: float, pairs: float, new: NDArray[np.float64], inside: NDArray[np.float64]
) -> tuple[float, float]:
    total = inside.sum()
    share = inside / total if total else inside
    return weighted + float((new * share).sum()), pairs + float(new.sum())


def stability(partitions: Sequence[Labels]) -> float:
    """Mean adjusted Rand index over pairs of partitions of the same units, such as of seeds."""
    scores = [adjusted_rand(a, b) for i, a in enumerate(partitions) for b in partitions[i + 1 :]]
    return float(np.mean(scores)) if scores else 1.0
