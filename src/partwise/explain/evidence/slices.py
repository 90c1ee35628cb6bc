"""Slices of text that evidence is gathered on: streams, classes of tokens, tokens, positions."""

from __future__ import annotations

import numpy as np
import torch

from partwise.explain.subject import Subject
from partwise.programs.language import Words
from partwise.tasks.words import CLASSES

LEAST_DOCUMENTS = 20
"""Evidence documents that a slice has tokens of; claims on fewer are seldom decided."""
MOST_TOKENS = 12


def slices_of(subject: Subject) -> list[str]:
    """Conditions for slices of the evidence with tokens of enough documents, broad ones first."""
    names = ("next", "token")
    found = streams_of(subject)
    found += [each for name in names for each in classes_of(name)]
    found += [each for name in names for each in frequent_tokens(subject, name)]
    context = subject.text.context
    found += [f"position < {context // 8}", f"position >= {context // 2}"] if context >= 8 else []
    return [where for where in found if subject.sources("train", where) >= LEAST_DOCUMENTS]


def streams_of(subject: Subject) -> list[str]:
    """A condition per stream, where there are several."""
    streams = subject.text.streams
    return [f"stream == {name!r}" for name in streams] if len(streams) > 1 else []


def classes_of(name: str) -> list[str]:
    """A condition per class of what `token` or `next` is."""
    return [f"{name} in {each}" for each in CLASSES]


def frequent_tokens(subject: Subject, name: str) -> list[str]:
    """A condition per frequent token that `token` or `next` is, some of every stream."""
    words, stream = (subject.variables("train")[key] for key in (name, "stream"))
    assert isinstance(words, Words)
    assert isinstance(stream, Words)
    count = len(subject.text.streams)
    each = max(4, MOST_TOKENS // count)
    chosen: dict[int, None] = {}
    for k in range(count):
        ids = words.ids[stream.ids == k]
        usual = np.argsort(-np.bincount(ids[ids >= 0].numpy()), kind="stable")[:each]
        chosen |= dict.fromkeys(usual.tolist())
    return [f"{name} == {words.vocabulary[token]!r}" for token in chosen]


def tokens_before(subject: Subject, least: int) -> torch.Tensor:
    """The tokens that are read at least so often in the evidence, the most frequent first."""
    return _counted(subject, "token", least)


def tokens_seen(subject: Subject, name: str, least: int = LEAST_DOCUMENTS) -> list[str]:
    """The tokens that a variable is at least so often in the evidence, most frequent first."""
    words = subject.variables("train")[name]
    assert isinstance(words, Words)
    return [words.vocabulary[token] for token in _counted(subject, name, least).tolist()]


def _counted(subject: Subject, name: str, least: int) -> torch.Tensor:
    words = subject.variables("train")[name]
    assert isinstance(words, Words)
    counts = torch.bincount(words.ids[words.ids >= 0], minlength=len(words.vocabulary))
    order = counts.argsort(descending=True, stable=True)
    return order[counts[order] >= least]
