"""How much of what a module does can be told by a few yes-or-no questions.

What a module does is what its removal adds to the loss of every sample: its lesion effects. A
description of k questions sorts samples by their answers and gives each sort one number. It is
grown on the evidence, greedily, and scored on the `claims` split by the share of the effects'
variance that it explains (R²; below 0 it is worse than one number for all samples). A module that
does one thing is told by few questions; a list of true claims about a tangled one explains little.

The questions are those a person would ask: of text, what the next, the last or the token before it
is, its class, the stream, the position; of rows, which question of the task, its right answer, and
whether an input exceeds a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.explain.evidence.slices import classes_of, streams_of, tokens_seen
from partwise.explain.measures import Measures
from partwise.explain.slice_words import slice_in_words
from partwise.explain.subject import Subject
from partwise.explain.values import Told
from partwise.tasks import Split

QUESTIONS = (1, 4, 16)
LEAST_SAMPLES = 20
"""Samples that each answer must be about."""
MOST_TOKENS = 64
READ = ("next", "token", "prev")
Effects = NDArray[np.float64]


class Asked(NamedTuple):
    """What there is to ask about, on the samples of a split.

    Attributes:
        names: a name per column.
        values: (samples, columns) float32; 0 or 1 where the name is a condition.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]


def told_in_questions(
    subject: Subject, module: int, questions: Sequence[int] = QUESTIONS, shuffled: int | None = None
) -> list[Told]:
    """What descriptions of rising length tell of a module.

    Args:
        subject: the network, taken apart.
        module: the module's number.
        questions: the lengths.
        shuffled: seed of a shuffling of the evidence: a control, which must explain nothing.
    """
    seen = lesion_effects(subject, "train", module)
    if shuffled is not None:
        seen = np.random.default_rng(shuffled).permutation(seen)
    truth = lesion_effects(subject, "claims", module)
    asked, told = (asked_of(subject, split) for split in ("train", "claims"))
    found = []
    for count in questions:
        tree = _grown(asked.values, seen, count)
        given = tree.predict(told.values)
        leaves = _answers(tree.tree_, asked.names) if count <= 4 else []
        prefix = "on tokens" if subject.of_text else "where"
        answers = tuple((f"{prefix} {words}" if words else "everywhere", a) for words, a in leaves)
        explained = explained_variance(truth, given)
        found.append(Told(questions=count, explained=explained, answers=answers))
    return found


def lesion_effects(subject: Subject, split: Split, module: int) -> Effects:
    """(samples x questions,) what a module's removal adds to each loss, in nats or variances."""
    measures, heads = Measures(subject, split), subject.data.heads
    scales = [
        max(measures.spread(k) ** 2, 1e-12) if head.kind == "value" else 1.0
        for k, head in enumerate(heads)
    ]
    added = measures.change_without_module(module).double().numpy()
    effects: Effects = (added / scales).T.reshape(-1)
    return effects


def explained_variance(truth: Effects, given: Effects) -> float:
    """R²: the share of the variance of `truth` that `given` explains; 0 where it does not vary."""
    total = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - given) ** 2).sum()) / total if total > 1e-12 else 0.0


def asked_of(subject: Subject, split: Split) -> Asked:
    """What there is to ask about the samples of a split, in the order of `lesion_effects`."""
    return subject.once(("asked", split), lambda: _asked(subject, split))


def _asked(subject: Subject, split: Split) -> Asked:
    if not subject.of_text:
        return _asked_of_rows(subject, split)
    names = tuple(_conditions(subject))
    columns = [subject.slice(split, where) for where in names]
    return Asked(names, np.stack([np.asarray(each) for each in columns], 1).astype(np.float32))


def _conditions(subject: Subject) -> Iterator[str]:
    yield from streams_of(subject)
    for name in READ:
        yield from classes_of(name)
        yield from (f"{name} == {token!r}" for token in tokens_seen(subject, name)[:MOST_TOKENS])
    context = subject.text.context
    yield from (f"position < {context // part}" for part in (8, 4, 2) if context >= part)


def _asked_of_rows(subject: Subject, split: Split) -> Asked:
    rows, heads = subject.batch(split), subject.task.heads
    x, y = rows.x.numpy(), rows.y.numpy()
    blocks, names = [], [*subject.task.inputs]
    names += [f"the question is '{head.name}'" for head in heads]
    answers = [_answers_of(subject, k) for k in range(len(heads))]
    names += [f"the answer to '{heads[k].name}' is {a:g}" for k, a in _flat(answers)]
    for k in range(len(heads)):
        which = np.zeros((len(x), len(heads)))
        which[:, k] = 1
        right = [y[:, j] == a for j, a in _flat(answers)]
        blocks.append(np.concatenate([x, which, *(each[:, None] for each in right)], 1))
    return Asked(tuple(names), np.concatenate(blocks).astype(np.float32))


def _answers_of(subject: Subject, head: int) -> list[float]:
    """The right answers that the evidence has, of a question with classes."""
    if subject.task.heads[head].kind == "value":
        return []
    return [float(each) for each in np.unique(subject.batch("train").y[:, head].numpy())]


def _flat(answers: Sequence[Sequence[float]]) -> list[tuple[int, float]]:
    return [(k, each) for k, own in enumerate(answers) for each in own]


def _grown(values: NDArray[np.float32], effects: Effects, questions: int) -> Any:
    """The regression tree of so many splits that lowers squared error most, split by split."""
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor(
        max_leaf_nodes=questions + 1, min_samples_leaf=LEAST_SAMPLES, random_state=0
    )
    return tree.fit(values, effects)


def _answers(tree: Any, names: Sequence[str]) -> list[tuple[str, float]]:
    """Each leaf in words with its mean, the strongest first."""
    leaves = _leaves(tree, names, 0, ())
    return sorted(leaves, key=lambda leaf: -abs(leaf[1]))


def _leaves(
    tree: Any, names: Sequence[str], node: int, holds: tuple[str, ...]
) -> Iterator[tuple[str, float]]:
    if tree.children_left[node] < 0:
        yield " and ".join(holds), float(tree.value[node].squeeze())
        return
    name, threshold = names[tree.feature[node]], float(tree.threshold[node])
    no, yes = _sides(name, threshold)
    yield from _leaves(tree, names, tree.children_left[node], (*holds, no))
    yield from _leaves(tree, names, tree.children_right[node], (*holds, yes))


def _sides(name: str, threshold: float) -> tuple[str, str]:
    """A question's two answers in words: no, yes."""
    if " is " in name:
        return name.replace(" is ", " is not ", 1), name
    if " " in name:
        words = slice_in_words(name)
        return f"other than those {words}", words
    return f"{name} <= {threshold:.3g}", f"{name} > {threshold:.3g}"
