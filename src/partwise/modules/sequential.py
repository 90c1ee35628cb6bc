"""When enough was drawn: Monte Carlo tests that stop as soon as their answer is clear.

With a fixed number of shuffles a network near the limit is significant with one seed and not with
the next. Here draws go on until a bound on the risk of another answer is met, or a most number is
reached. Two bounds are used: one on the p-value without any assumption, which needs two draws to
refuse and some 190 to believe, and one on the distance from the shuffles, which needs few where
that is large.
"""

from __future__ import annotations

from math import lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

RISK = 0.01
"""Largest probability that draws, had they gone on, would put a p-value on the other side."""
ERRORS = 3.0
"""Standard errors by which a distance must clear its limit."""
LEAST_DRAWS = 19
"""Fewest draws from which a spread is taken; the fewest, too, with which p = 0.05 is reached."""
MOST_DRAWS = 499
NO_SPREAD = 1e-5
"""Deviation below which scores (Newman's Q, nats) are equal but for single-precision capacities."""


def side_of_level(reached: int, drawn: int, level: float, risk: float = RISK) -> int:
    """Whether a p-value is known to lie below a level (1), above it (-1), or neither yet (0).

    The level is left out of the confidence sequence {p: (n + 1) b(reached; n, p) > risk}, which
    holds the true p-value at all n at once with probability 1 - `risk`. Robbins (1970) and
    Lai (1976); as a stopping rule, "A simple method for implementing Monte Carlo tests" of Ding,
    Gandy and Hahn (2020), after the bounded resampling risk of Gandy (2009). Besag and Clifford
    (1991) stop early only to refuse.

    Args:
        reached: draws that come as far as the observation.
        drawn: number of draws n.
        level: in (0, 1).
        risk: probability that the answer is ever wrong, however often one asks.

    >>> side_of_level(2, 2, 0.05)  # 3 * 0.05^2 = 0.0075
    -1
    >>> side_of_level(0, 19, 0.05)  # 20 * 0.95^19 = 7.5
    0
    """
    rest = drawn - reached
    ways = lgamma(drawn + 1) - lgamma(reached + 1) - lgamma(rest + 1)
    chance = ways + reached * log(level) + rest * log(1 - level)
    if log(drawn + 1) + chance > log(risk):
        return 0
    return 1 if reached < level * drawn else -1


def least_distance(level: float) -> float:
    """Standard deviations beyond the mean that are rarer than `level`, whatever the distribution.

    Cantelli's inequality: P(X >= mean + d deviations) <= 1 / (1 + d^2).

    >>> round(least_distance(0.05), 2)
    4.36
    """
    return sqrt(1 / level - 1)


def distance(score: float, draws: NDArray[np.float64]) -> float | None:
    """Standard deviations by which a score is beyond draws; None where these tell no spread.

    That is where all are equal (`NO_SPREAD`), and where they are fewer than `LEAST_DRAWS`: two
    draws that happen to be close would make any score thousands of deviations of nothing.
    """
    spread = spread_of(draws)
    if spread < NO_SPREAD or len(draws) < LEAST_DRAWS:
        return None
    return float((score - draws.mean()) / spread)


def spread_of(draws: NDArray[np.float64]) -> float:
    """Standard deviation of draws; 0 of a single one."""
    return float(draws.std(ddof=1)) if len(draws) > 1 else 0.0


def side_of_distance(score: float, draws: NDArray[np.float64], least: float) -> int:
    """Whether a score is known to be `least` deviations beyond draws (1), not so far (-1), or 0.

    Known is what differs from mean + `least` deviations by `ERRORS` standard errors of that, by
    the jackknife (Tukey, 1958), which assumes no distribution. Fewer than `LEAST_DRAWS` tell
    nothing.
    """
    if len(draws) < LEAST_DRAWS:
        return 0
    if spread_of(draws) < NO_SPREAD:
        return 1 if is_beyond(score, draws, least) else -1
    limit = draws.mean() + least * spread_of(draws)
    return side_of(score - limit, _limit_error(draws, least))


def is_beyond(score: float, draws: NDArray[np.float64], least: float) -> bool:
    """Whether a score is `least` deviations beyond draws, of `NO_SPREAD` where these have none."""
    return bool(score - draws.mean() >= least * max(spread_of(draws), NO_SPREAD))


def side_of(margin: float, error: float) -> int:
    """The sign of a margin that is `ERRORS` standard errors or more, or else 0."""
    return int(np.sign(margin)) if abs(margin) > ERRORS * error else 0


def _limit_error(draws: NDArray[np.float64], least: float) -> float:
    """Standard error of mean + `least` deviations, by the jackknife."""
    n, apart = len(draws), draws - draws.mean()
    rest_squares = (apart**2).sum() - apart**2 * n / (n - 1)
    rest = least * np.sqrt(np.maximum(rest_squares, 0) / (n - 2)) - apart / (n - 1)
    return float(np.sqrt((n - 1) / n * ((rest - rest.mean()) ** 2).sum()))


def most_draws(units: int) -> int:
    """The most draws for a network: `MOST_DRAWS`, fewer (99 at least) beyond 250 units.

    A search takes about as long as the square of the units, so a doubtful network takes minutes
    at the most; larger networks are seldom in doubt.
    """
    return min(MOST_DRAWS, max(99, 2**25 // max(units, 1) ** 2))
