"""Sequences of a program's task, with splits and answers, as `Text` has them for next tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.tasks.streams import Corpus, Stream
from partwise.tasks.task import Split
from partwise.tasks.text import Text, TextRows
from partwise.zoo.compiler import START
from partwise.zoo.interpreter import answers
from partwise.zoo.language import Program

SPLITS: dict[Split, int] = {"train": 0, "claims": 1, "final": 2}


@dataclass(frozen=True, eq=False)
class SequenceText(Text):
    """Sequences of one program's tokens; the question is its answer at every position.

    A sequence belongs to one split, decided by its tokens, so that held-out ones were never seen.
    """

    program: Program | None = None

    @cached_property
    def source(self) -> Program:
        """The program that answers."""
        assert self.program is not None
        return self.program

    def sequences(self, split: Split, count: int, length: int, seed: int) -> Tensor:
        """(at most `count`, 1 + length) distinct token ids of a split, each after a start token."""
        rng = np.random.default_rng((seed, length))
        tokens = self._drawn(rng, 4 * count * len(SPLITS), length)
        tokens = np.unique(tokens, axis=0)
        tokens = rng.permutation(tokens[_split_of(tokens) == SPLITS[split]])[:count]
        code = np.array([self.corpus.vocabulary.index(text) for text in self.source.texts])
        start = np.zeros((len(tokens), 1), np.int64)
        return torch.from_numpy(np.hstack([start, code[tokens]]))

    def _drawn(self, rng: np.random.Generator, count: int, length: int) -> NDArray[np.int64]:
        program = self.source
        if program.draw is not None:
            return program.draw(rng, count, length)
        return rng.integers(0, len(program.texts), (count, length))

    def batches(self, split: Split, count: int, seed: int) -> list[Tensor]:
        """Sequences of every length, about `count` in all."""
        lengths = range(self.source.shortest, self.source.longest + 1)
        each = -(-count // len(lengths))
        found = [self.sequences(split, each, length, seed) for length in lengths]
        return [ids for ids in found if len(ids)]

    def rows(self, split: Split, most: int, seed: int | tuple[int, ...]) -> TextRows:
        """The longest sequences of a split, with about `most` tokens in all."""
        first = seed if isinstance(seed, int) else seed[0]
        length = self.source.longest
        ids = self.sequences(split, max(2, most // (1 + length)), length, first)
        place = np.repeat(np.arange(len(ids)), 1 + length)
        y = self.right_answers(ids).reshape(-1, 1).float()
        return TextRows(ids, y, place[:, None], np.zeros(len(place), np.int64))

    def right_answers(self, ids: Tensor) -> Tensor:
        """(b, 1 + t) the token that answers at each position; the start token at the start."""
        vocabulary = {text: i for i, text in enumerate(self.corpus.vocabulary)}
        place = {vocabulary[text]: i for i, text in enumerate(self.source.texts)}
        tokens = np.vectorize(place.get)(ids[:, 1:].numpy())
        told = np.vectorize(vocabulary.get)(answers(self.source, tokens))
        return torch.from_numpy(np.hstack([np.zeros((len(ids), 1), np.int64), told]))


def sequence_text(program: Program, vocabulary: tuple[str, ...]) -> SequenceText:
    """The task of a program.

    Args:
        program: what to answer.
        vocabulary: text of every token that the network knows, the start token first.
    """
    assert vocabulary[0] == START
    stream = Stream("sequences", torch.zeros(0, dtype=torch.int64))
    corpus = Corpus((stream,), vocabulary, np.full(len(vocabulary), -1))
    return SequenceText(corpus, 1 + program.longest, "sequences", program)


def _split_of(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """(b,) the split of each sequence, by a hash of its tokens."""
    mixed = np.full(len(tokens), 17, np.uint64)
    for column in tokens.T.astype(np.uint64):
        mixed = (mixed * np.uint64(1099511628211)) ^ (column + np.uint64(0x9E3779B97F4A7C15))
    mixed ^= mixed >> np.uint64(29)
    return (mixed % np.uint64(len(SPLITS))).astype(np.int64)
