"""Intervals of means over held-out samples, some of which share a source.

The mean of values within known limits has the interval of Gaffke (2005, "Three test statistics
for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"): the sources get
random weights, as in Rubin's (1981) Bayesian bootstrap, and one further source, which nobody has
seen, has the limit for its value. For a share this is the exact interval of Clopper and Pearson
(1934); for other means no distribution is known that it fails on. A sample of several sources
weighs the product of their weights (Owen and Eckles, 2012, "Bootstrapping data arrays of
arbitrary order").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
DRAWS = 10_000
EVIDENCE_DRAWS = 2_000  # what a writer sees decides nothing
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean, and how far it may be off.

    Attributes:
        mean: over the samples.
        lower: (draws,) what the mean may be when what was not seen is as low as it can be.
        upper: (draws,) likewise as high as it can be.
    """

    mean: float
    lower: Array
    upper: Array

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Both ends of the two-sided interval."""
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.lower, tail), np.quantile(self.upper, 1 - tail)
        return float(low), float(high)

    def p_above(self, bound: float) -> float:
        """Two-sided p-value of the finding that the mean is above `bound`."""
        return _p_value(self.lower - bound)

    def p_below(self, bound: float) -> float:
        """Two-sided p-value of the finding that the mean is below `bound`."""
        return _p_value(bound - self.upper)

    def map(self, rising: Callable[[Array], Array]) -> Estimate:
        """The estimate of a rising function of the mean."""
        return Estimate(float(rising(np.array(self.mean))), rising(self.lower), rising(self.upper))


def _p_value(distance: Array) -> float:
    """Two-sided, from (draws,) distances that are positive where the finding holds.

    Where it holds in every draw, the normal tail of their spread says how far below one in so
    many draws it is: corrections for many claims need that.
    """
    against, least = int((distance <= 0).sum()), 1 / (1 + len(distance))
    if against:
        return min(1.0, 2 * (1 + against) * least)
    far = float(distance.mean()) / max(float(distance.std()), 1e-300)
    return 2 * min(least, max(math.erfc(far / math.sqrt(2)) / 2, 1e-12))


@dataclass(frozen=True, eq=False)
class Resampling:
    """Random weights of samples, drawn source by source.

    Attributes:
        sources: (n, s) int, the sources that each sample is made of.
        draws: number of draws.
        seed: seed of the draws.
        rows: how many independent rows the intervals shall be as wide as; as many as there are
            sources when left out.
    """

    sources: NDArray[np.int64]
    draws: int = DRAWS
    seed: int = 0
    rows: float | None = None

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """(n, s) the sources of each sample, numbered from 0."""
        _, place = np.unique(self.sources, return_inverse=True)
        return place.reshape(self.sources.shape)

    @cached_property
    def _drawn(self) -> NDArray[np.float32]:
        """(draws, sources) weight of each source."""
        rng = np.random.default_rng((self.seed, 1))
        count = int(self._places.max()) + 1
        shape = 1 / self._fewer if self._is_single else 1.0
        return rng.standard_gamma(shape, (self.draws, count), np.float32) / np.float32(shape)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(draws, n) weight of each sample."""
        place = self._places
        weights = self._drawn[:, place[:, 0]]
        for column in place.T[1:]:
            weights *= self._drawn[:, column]
        return weights

    @cached_property
    def unseen(self) -> NDArray[np.float32]:
        """(draws,) weight of the source that was not seen."""
        rng = np.random.default_rng((self.seed, 2))
        return rng.standard_exponential(self.draws, np.float32) * np.float32(self._fewer)

    @property
    def _fewer(self) -> float:
        """How many times fewer rows the intervals shall be as wide as."""
        return 1.0 if self.rows is None else max(len(np.unique(self.sources)) / self.rows, 1.0)

    @property
    def _is_single(self) -> bool:
        """Whether each sample has one source; then fewer rows are weights that vary more.

        Products of such weights would vary far more; there the spread itself is widened.
        """
        return self.sources.shape[1] == 1

    def mean(
        self,
        values: Array,
        limits: tuple[float, float],
        among: NDArray[np.bool_] | None = None,
    ) -> Estimate:
        """The mean of a value per sample.

        Args:
            values: (n,) finite values.
            limits: smallest and largest value there can be.
            among: (n,) bool, the samples that count; all when left out.
        """
        if among is None:
            among = np.ones(len(self.sources), bool)
        total, weight = self._sums(values, among)
        return self._estimate(values[among], total, weight, self._each(among), limits)

    def _sums(
        self, values: Array, among: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(draws,) weighted sum of the values that count, and of their weights."""
        if not self._is_single:
            weights = self.weights if among.all() else self.weights[:, among]
            return weights @ values[among].astype(np.float32), weights.sum(1)
        place = self._places[among, 0]
        sources = self._drawn.shape[1]
        sums = np.bincount(place, values[among], sources).astype(np.float32)
        counts = np.bincount(place, minlength=sources).astype(np.float32)
        return self._drawn @ sums, self._drawn @ counts

    def by_source(self, values: Array, among: NDArray[np.bool_] | None = None) -> Array:
        """Mean of each source's samples, where it has any; what one further source may have.

        Where samples have several sources each, these are the values themselves.
        """
        chosen = values if among is None else values[among]
        if not self._is_single or not len(chosen):
            return chosen
        place = self._places[:, 0] if among is None else self._places[among, 0]
        counts = np.bincount(place)
        means: Array = np.bincount(place, chosen)[counts > 0] / counts[counts > 0]
        return means

    def mean_of_pairs(
        self, pairs: Sequence[tuple[NDArray[np.int64], Array]], limits: tuple[float, float]
    ) -> Estimate:
        """The mean over pairs of samples, each a sample and another that gave it something.

        Args:
            pairs: (n,) position of each sample's giver, and (n,) values; any number of these.
            limits: smallest and largest value there can be.
        """
        total, weight = np.zeros(self.draws), np.zeros(self.draws)
        for giver, values in pairs:
            both = self.weights * self.weights[:, giver]
            total, weight = total + both @ values.astype(np.float32), weight + both.sum(1)
        everything = np.ones(len(self.sources), bool)
        each = 2 * len(pairs) * self._each(everything)
        return self._estimate(np.concatenate([v for _, v in pairs]), total, weight, each, limits)

    def _each(self, among: NDArray[np.bool_]) -> float:
        """In how many samples a source takes part, on average."""
        own = self.sources[among]
        return own.size / max(len(np.unique(own)), 1)

    def _estimate(
        self,
        values: Array,
        total: NDArray[np.floating],
        weight: NDArray[np.floating],
        each: float,
        limits: tuple[float, float],
    ) -> Estimate:
        if len(values) == 0:
            low, high = (np.full(self.draws, limit) for limit in limits)
            return Estimate(float(np.mean(limits)), low, high)
        unseen = self.unseen.astype(np.float64) * each
        mean = float(values.mean())
        if not self._is_single:
            total = weight * (mean + (total / weight - mean) * np.sqrt(self._fewer))
        low, high = ((total + unseen * limit) / (weight + unseen) for limit in limits)
        return Estimate(mean, low.clip(*limits), high.clip(*limits))


def limits_of(*values: Array) -> tuple[float, float]:
    """Smallest and largest of some values: the limits where none are known beforehand."""
    every = np.concatenate(values)
    return float(every.min()), float(every.max())


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, corrected for their number.

    Holm (1979), "A simple sequentially rejective multiple test procedure": the chance that any
    finding at or below a level is false is at most that level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(np.argsort(p_values, kind="stable")):
        worst = max(worst, (len(p_values) - rank) * p_values[k])
        adjusted[k] = min(1.0, worst)
    return adjusted
