"""Names a task by what a network answers: the plainest entry of a catalogue that says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

Answers = Sequence[tuple[list[str], list[str]]]
"""Sequences of token texts, each with the network's answers."""


class Question(Protocol):
    """An entry of a catalogue: see `zoo.catalogue.Entry`."""

    @property
    def name(self) -> str:
        """Of the task."""

    @property
    def answer(self) -> Callable[[list[str]], list[str]]:
        """The right answers to a sequence."""

    def fits(self, texts: Sequence[str]) -> bool:
        """Whether it can be asked of sequences of these tokens."""


class Name(NamedTuple):
    """A task's name, and how many entries of the catalogue say the same of these sequences."""

    name: str
    alike: int


def name_task(catalogue: Sequence[Question], answers: Answers) -> Name | None:
    """The first entry that gives the network's answer everywhere; None where none does."""
    texts = sorted({text for tokens, _ in answers for text in tokens})
    found = [
        entry.name
        for entry in catalogue
        if entry.fits(texts) and all(entry.answer(tokens) == told for tokens, told in answers)
    ]
    return Name(found[0], len(found)) if found else None


def as_texts(vocabulary: Sequence[str], ids: np.ndarray, told: np.ndarray) -> Answers:
    """(b, 1 + t) ids and (b, t) answers in words."""
    words = np.array(vocabulary)
    return list(zip(words[ids[:, 1:]].tolist(), words[told].tolist(), strict=True))
