"""The class with the highest score, each a weighted sum of few inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import sum_text
from partwise.programs.fit.sparse import greedy
from partwise.programs.fit.table import Array, Table, Target

TERMS = (1, 2, 4, 8, 12)
LARGEST = 9.0
MOST_CLASSES = 20


@form("scores", is_last_resort=True)
def propose_scores(table: Table, target: Target) -> Iterator[str]:
    """`argmax` of a sum per class; the sums follow the network's logits where they are known."""
    classes = target.classes
    if target.is_value or target.words is not None or not 3 <= len(classes) <= MOST_CLASSES:
        return
    if not table.numbers or classes[0] < 0 or classes[-1] >= MOST_CLASSES:
        return
    x, names = table.matrix, [column.text for column in table.numbers]
    scores = _scores(x, target)
    most = int(classes[-1]) + 1
    paths = [list(greedy(x, scores[:, k], max(TERMS))) for k in range(most)]
    for terms in TERMS:
        weights = np.zeros((most, x.shape[1]))
        for k, path in enumerate(paths):
            taken = path[min(terms, len(path)) - 1] if path else []
            matrix = np.c_[x[:, taken], np.ones(len(x))]
            weights[k, taken] = np.linalg.lstsq(matrix, scores[:, k], rcond=None)[0][:-1]
        yield _text(weights, x, scores, names)


def _scores(x: Array, target: Target) -> Array:
    """(b, classes) what the sums should come to, up to a constant per sample."""
    most = int(target.classes[-1]) + 1
    if target.logits is not None and target.logits.shape[1] >= most:
        logits = target.logits[:, :most]
        return logits - logits.mean(1, keepdims=True)
    return np.eye(most)[target.values.astype(int)]


def _text(weights: Array, x: Array, scores: Array, names: list[str]) -> str:
    """Weights and constants in one or two digits, all on one scale."""
    unit = LARGEST / max(float(np.abs(weights).max()), 1e-12)
    whole = np.round(weights * unit)
    constants = np.round((scores * unit - x @ whole.T).mean(0))
    sums = [sum_text(row.tolist(), names, c) for row, c in zip(whole, constants, strict=True)]
    return f"argmax({', '.join(sums)})"
