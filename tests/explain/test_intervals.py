"""Intervals against exact ones, against known populations, and with shared sources."""

import numpy as np
import pytest
from scipy.stats import beta

from partwise.explain.intervals import Resampling, holm, limits_of


def own_sources(n):
    return np.arange(n)[:, None]


@pytest.mark.parametrize(("n", "hits"), [(8, 8), (8, 0), (8, 5), (36, 30), (200, 190)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(n, hits):
    values = (np.arange(n) < hits).astype(float)
    low, high = Resampling(own_sources(n), draws=40_000).mean(values, (0.0, 1.0)).interval()
    want_low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    want_high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    assert (low, high) == pytest.approx((want_low, want_high), abs=0.01)


def test_eight_of_eight_prove_little():
    """.8^8 = .168: eight of eight say nothing against a share of .8."""
    found = Resampling(own_sources(8), draws=40_000).mean(np.ones(8), (0.0, 1.0))
    assert found.p_above(0.8) == pytest.approx(2 * 0.168, abs=0.02)
    assert found.p_above(0.5) == pytest.approx(2 * 0.5**8, abs=0.003)


@pytest.mark.parametrize("n", [20, 100])
def test_skewed_means_are_covered(n):
    """A tenth of the samples carry everything: percentile intervals cover .8 of these."""
    rng = np.random.default_rng(0)
    covered = 0
    for draw in range(100):
        values = np.where(rng.random(4 * n) < 0.1, rng.exponential(3, 4 * n), 0.0)
        found = Resampling(own_sources(n), 1000, draw).mean(values[:n], limits_of(values))
        low, high = found.interval()
        covered += low <= 0.3 <= high
    assert covered >= 92


def test_samples_of_few_sources_are_worth_few():
    """Each of 10 values five times over is worth 10 values, not 50."""
    values = np.random.default_rng(0).normal(size=10)
    limits = limits_of(values)
    once = Resampling(own_sources(10), 20_000).mean(values, limits).interval()
    often = Resampling(np.repeat(np.arange(10), 5)[:, None], 20_000).mean(
        np.repeat(values, 5), limits
    )
    assert often.interval() == pytest.approx(once, abs=0.05)


def test_pairs_that_share_pictures_are_covered():
    """The value of a pair is the sum of its two pictures': 1,000 pairs of 50 pictures."""
    rng, covered = np.random.default_rng(0), 0
    for draw in range(60):
        pictures = rng.normal(size=50)
        pairs = np.stack([np.concatenate([rng.permutation(50) for _ in range(6)])] * 2, 1)
        pairs[:, 1] = rng.permutation(pairs[:, 1])
        values = pictures[pairs].sum(1)
        low, high = Resampling(pairs, 1000, draw).mean(values, limits_of(values)).interval()
        covered += low <= 0 <= high
    assert covered >= 55


def test_intervals_as_of_fewer_rows_are_wider():
    values = (np.arange(400) % 10 > 0).astype(float)
    many, few = (
        Resampling(own_sources(400), 20_000, rows=rows).mean(values, (0.0, 1.0)).interval()
        for rows in (None, 40)
    )
    want = beta.ppf(0.025, 36, 5), beta.ppf(0.975, 37, 4)
    assert few == pytest.approx(want, abs=0.02)
    assert few[0] < many[0] < 0.9 < many[1] < few[1]


def test_the_tail_beyond_the_draws_still_shrinks():
    values = np.random.default_rng(0).normal(1.0, 0.1, 300)
    found = Resampling(own_sources(300), 1000).mean(values, limits_of(values))
    assert found.p_above(0.9) < 1e-6
    assert found.p_below(0.9) == 1.0


def test_holms_correction_by_hand():
    """.01 * 4; .012 * 3 is less than what the one before came to, so it is .04; .4 * 1."""
    assert holm([0.4, 0.01, 0.012, 0.1]) == pytest.approx([0.4, 0.04, 0.04, 0.2])
    assert holm([]) == []
