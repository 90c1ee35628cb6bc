"""Fitting programs: the simplest expression that reproduces a network's answer.

Candidates are an exact minimised boolean form where the inputs are few and binary, a linear
threshold rule, and decision trees of growing size; the winner has the best fidelity on samples it
was not fitted to, less a price per part.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.explain.intervals import EVIDENCE_DRAWS, Resampling
from partwise.explain.subject import Subject
from partwise.programs.language import parse_program

PRICE_PER_PART = 0.001
LEAST_GAIN = 0.3  # of the distance between guessing and perfect
MOST_BOOLEAN_INPUTS = 6
TREE_LEAVES = (2, 4, 8, 16)


class Fitted(NamedTuple):
    """A program and the share of unseen evidence samples on which it agrees.

    `low` is the lower end of its 95% interval, `safe` that of `rows` rows, `chance` the share of
    the most frequent answer.
    """

    text: str
    fidelity: float
    low: float
    safe: float
    chance: float


def fit_program(
    subject: Subject, head: int, inputs: NDArray[np.int64], rows: float | None = None
) -> Fitted | None:
    """The short program over `inputs` that best gives the network's answer to `head`.

    Returns:
        None if no candidate covers `LEAST_GAIN` of the way from always giving the most common
        answer to always agreeing; also for heads with a real value.
    """
    if subject.task.heads[head].kind == "value" or len(inputs) == 0:
        return None
    batch = subject.batch("train")
    with torch.no_grad():
        answer = subject.task.heads[head].answers(subject.model(batch.x)).numpy().astype(int)
    x, half = batch.x[:, inputs].numpy(), len(answer) // 2
    guess = float(np.bincount(answer[half:]).max() / len(answer[half:]))
    best, best_score, agreed = "", -np.inf, np.zeros(0)
    for text in _candidates(x[:half], answer[:half], inputs):
        agrees = _agreement(text, x[half:], answer[half:], inputs)
        score = agrees.mean() - PRICE_PER_PART * parse_program(text).size
        if score > best_score:
            best, best_score, agreed = text, score, agrees
    if not best or guess == 1 or agreed.mean() < guess + LEAST_GAIN * (1 - guess):
        return None
    low, safe = (
        Resampling(batch.sources[half:], EVIDENCE_DRAWS, rows=as_on)
        .mean(agreed, (0.0, 1.0))
        .interval()[0]
        for as_on in (None, rows)
    )
    return Fitted(best, float(agreed.mean()), low, safe, guess)


def _candidates(
    x: NDArray[np.float32], answer: NDArray[np.int64], inputs: NDArray[np.int64]
) -> Iterator[str]:
    if len(np.unique(answer)) < 2:
        return
    names = [f"x{k}" for k in inputs]
    if len(inputs) <= MOST_BOOLEAN_INPUTS and set(np.unique(answer)) <= {0, 1}:
        if all(len(np.unique(column)) == 2 for column in x.T):
            yield boolean_form(x, answer, names)
        yield linear_rule(x, answer, names)
    elif set(np.unique(answer)) <= {0, 1}:
        yield linear_rule(x, answer, names)
    for leaves in TREE_LEAVES:
        yield decision_tree(x, answer, names, leaves)


def _agreement(
    text: str, x: NDArray[np.float32], answer: NDArray[np.int64], inputs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(b,) 1 where the program gives the network's answer."""
    values = {f"x{k}": torch.from_numpy(x[:, i]) for i, k in enumerate(inputs)}
    given = parse_program(text).evaluate(values).numpy()
    return (given == answer).astype(np.float64)


def decision_tree(
    x: NDArray[np.float32], answer: NDArray[np.int64], names: list[str], leaves: int
) -> str:
    """A decision tree with at most `leaves` leaves, as nested conditionals."""
    from sklearn.tree import DecisionTreeClassifier

    fitted = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0).fit(x, answer)
    return _branch(fitted.tree_, fitted.classes_, names, 0)


def _branch(tree: Any, classes: NDArray[np.int64], names: list[str], node: int) -> str:
    if tree.children_left[node] < 0:
        return str(int(classes[tree.value[node].argmax()]))
    low = _branch(tree, classes, names, tree.children_left[node])
    high = _branch(tree, classes, names, tree.children_right[node])
    if low == high:
        return low
    return f"({low} if {names[tree.feature[node]]} <= {tree.threshold[node]:.3g} else {high})"


def linear_rule(x: NDArray[np.float32], answer: NDArray[np.int64], names: list[str]) -> str:
    """A threshold on a weighted sum with few terms (logistic regression under L1)."""
    from sklearn.linear_model import LogisticRegression

    scale = x.std(0) + 1e-6
    fitted = LogisticRegression(l1_ratio=1, solver="liblinear", C=0.1, random_state=0)
    fitted.fit(x / scale, answer)
    weights = fitted.coef_[0] / scale
    terms = [f"{w:.3g}*{name}" for w, name in zip(weights, names, strict=True) if abs(w) > 1e-3]
    return " + ".join([*terms, f"{fitted.intercept_[0]:.3g}"]) + " > 0"


def boolean_form(x: NDArray[np.float32], answer: NDArray[np.int64], names: list[str]) -> str:
    """The exact minimal sum of products over two-valued inputs (Quine and McCluskey).

    Combinations that never occur are don't-cares; a combination's answer is its majority.
    """
    from sympy import SOPform, symbols

    middle = (x.min(0) + x.max(0)) / 2
    high = x > middle
    ones, cares = [], set()
    for row in product((False, True), repeat=len(names)):
        match = (high == np.array(row)).all(1)
        if match.any():
            cares.add(row)
            if answer[match].mean() > 0.5:
                ones.append(row)
    unknown = [row for row in product((False, True), repeat=len(names)) if row not in cares]
    form = SOPform(symbols(names), [list(r) for r in ones], [list(r) for r in unknown])
    return _boolean_text(form, dict(zip(names, middle, strict=True)))


def _boolean_text(form: Any, middle: dict[str, float]) -> str:
    """A sympy boolean as a program: a variable is true above its middle."""
    from sympy import And, Not, Or
    from sympy.logic.boolalg import BooleanFalse, BooleanTrue

    if isinstance(form, BooleanTrue | BooleanFalse):
        return "1" if form else "0"
    if isinstance(form, Not):
        return f"(not {_boolean_text(form.args[0], middle)})"
    if isinstance(form, And | Or):
        word = " and " if isinstance(form, And) else " or "
        parts = sorted(form.args, key=str)
        return "(" + word.join(_boolean_text(part, middle) for part in parts) + ")"
    return f"({form.name} > {middle[form.name]:.3g})"
