"""Which level of a nest of modules a capability budget puts in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from partwise.loss.finder import KEEP_CONTRAST
from partwise.modules.nest import separations, splits_kept

MIN_GAIN = 0.01
"""Newman's Q that a split must earn."""
MIN_CONTRAST = 0.55
"""Least separation of all splits but the clearest, as a share of that one's."""
FINER = 2
"""Levels beyond those that are clear which are tried for a part that reads the others."""
LEFT = 0.5
"""Share of what masking costs too much that a part that reads the others may leave."""


class Levels:
    """The levels of a nest: how far apart their splits are, and what masking each of them costs.

    A level is named by its number of modules; splits count from the coarsest on.

    Args:
        mass: (k, k) capacity between the modules of the finest level.
        merges: its k - 1 mergers.
        masked_loss: level -> held-out loss without its interfaces; asked once for each.
        min_separation: least separation of the clearest split.
    """

    def __init__(
        self,
        mass: NDArray[np.float64],
        merges: Sequence[tuple[int, int, float]],
        masked_loss: Callable[[int], float],
        min_separation: float,
    ):
        self.mass, self.merges, self.min_separation = mass, merges, min_separation
        self.masked_loss = cache(masked_loss)
        self.apart = separations(mass, merges)[::-1]

    def _kept(self, contrast: float) -> int:
        """Splits that earn enough and are nearly as far apart as the clearest."""
        return splits_kept(self.mass, self.merges, MIN_GAIN, contrast)

    def _first(self, enough: float) -> int:
        """Splits before the first that is not `enough` apart, or does not earn enough."""
        return min(self._kept(0.0), int(np.cumprod(self.apart >= enough).sum()))

    def held(self, modules: int) -> int:
        """The level of those modules in force whose splits still are nearly as far apart as any."""
        return min(1 + self._kept(KEEP_CONTRAST), modules)

    def clear(self, clearest: float) -> tuple[int, float]:
        """The level that is clear, judged by the first splits, which no reward had widened.

        Args:
            clearest: separation of the clearest of these; 0 if none have been made.

        Returns:
            The level, and `clearest` from now on.
        """
        if clearest:
            return 1 + self._first(MIN_CONTRAST * clearest), clearest
        kept = self._kept(MIN_CONTRAST)
        found = float(self.apart[:kept].max(initial=0.0))
        return (1 + kept, found) if found >= self.min_separation else (1, 0.0)

    def clear_beneath(self, most: float) -> tuple[int, float]:
        """The level of the first clear split, though coarser ones are not, if masking is bearable.

        A part that reads all others is not far apart from them, and they are split only after it.

        Args:
            most: what masking may lead to.

        Returns:
            As `clear`.
        """
        clear = np.flatnonzero(self.apart[: self._kept(0.0)] >= self.min_separation)
        if not len(clear) or self.masked_loss(level := int(clear[0]) + 2) > most:
            return 1, 0.0
        return level, float(self.apart[: level - 1].min())

    def with_readers(self, level: int, clearest: float, most: float) -> int:
        """A finer level, where that accounts for what masking costs too much.

        It does if a new module has no inputs of its own and may therefore read on: a part that
        needs several others, such as one that compares their answers, shows up like this.

        Args:
            level: the level that is clear, and is masked unless a finer one explains itself.
            clearest: see `clear`; the bar for such a part is half of the one for others.
            most: what masking may lead to.
        """
        if level == 1:
            return 1
        finest = min(1 + self._first(MIN_CONTRAST * clearest / 2), level + FINER)
        for finer in range(level + 1, finest + 1):
            excess = self.masked_loss(level) - most
            if excess > 0 and self.masked_loss(finer) - most < LEFT * excess:
                level = finer
        return level
