"""Fluency: which token may follow which two, by the clean text itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.tasks.streams import SPLITS, Corpus

STRANGE = 0.01
"""A token is strange where clean text gives it a smaller share than this."""
BACKED_BY = 5.0
"""As how many occurrences the shorter context counts (a Dirichlet prior; MacKay and Peto, 1995)."""
MOST_TOKENS = 2_000_000


@dataclass(frozen=True, eq=False)
class Fluency:
    """Counts of one, two and three tokens in a row, in the `train` split of clean text.

    Attributes:
        corpus: the text; at most `MOST_TOKENS` of each stream are counted.
    """

    corpus: Corpus

    @property
    def _size(self) -> int:
        return len(self.corpus.vocabulary)

    @cached_property
    def _runs(self) -> list[NDArray[np.int64]]:
        low, high = SPLITS["train"]
        ids = [stream.ids.numpy() for stream in self.corpus.streams]
        return [i[int(len(i) * low) : int(len(i) * high)][:MOST_TOKENS] for i in ids]

    @cached_property
    def _counts(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Per length 1 to 3: the sequences that occur as rising numbers, and how often they do."""
        found = []
        for length in (1, 2, 3):
            keys = [self._keys(run, length) for run in self._runs if len(run) >= length]
            found.append(np.unique(np.concatenate(keys), return_counts=True))
        return found

    def _keys(self, run: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """A number for every so many tokens in a row."""
        return self._key(np.lib.stride_tricks.sliding_window_view(run, length))

    def _key(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """(..., length) -> (...) a number for each sequence."""
        key = np.zeros(tokens.shape[:-1], np.int64)
        for k in range(tokens.shape[-1]):
            key = key * self._size + tokens[..., k]
        return key

    def _count(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """(..., length) -> (...) how often these tokens occur in a row."""
        key = self._key(tokens)
        known, counts = self._counts[tokens.shape[-1] - 1]
        place = np.searchsorted(known, key).clip(max=len(known) - 1)
        return np.where(known[place] == key, counts[place], 0)

    def share(self, tokens: Tensor) -> Tensor:
        """(..., 3) -> (...) share of the third token after the first two, in clean text."""
        ids = tokens.numpy()
        share = (self._count(ids[..., 2:]) + 1) / (self._counts[0][1].sum() + self._size)
        for start in (1, 0):
            seen, before = self._count(ids[..., start:]), self._count(ids[..., start:2])
            share = (seen + BACKED_BY * share) / (before + BACKED_BY)
        return torch.from_numpy(np.asarray(share))

    def strange(self, written: Tensor) -> Tensor:
        """(..., w) tokens -> (..., w - 2) whether each, from the third on, is strange."""
        return self.share(written.unfold(-1, 3, 1)) < STRANGE

    def surprise(self, tokens: Tensor) -> Tensor:
        """(...) nats of each token, when only frequencies are known."""
        counts = self._count(tokens.numpy()[..., None])
        shares = (counts + 1) / (self._counts[0][1].sum() + self._size)
        return torch.from_numpy(np.asarray(-np.log(shares)))
