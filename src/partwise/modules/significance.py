"""Whether modules are out of reach in shuffled networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph
from partwise.modules.likelihood import likelihood_fits
from partwise.modules.nest import merge_order, merged, module_masses, newman_q
from partwise.modules.null import shuffled_graph
from partwise.modules.sequential import (
    LEAST_DRAWS,
    NO_SPREAD,
    distance,
    is_beyond,
    least_distance,
    most_draws,
    side_of,
    side_of_distance,
    side_of_level,
    spread_of,
)
from partwise.modules.splitting import neighbours_of, pieces_along, split_inside
from partwise.modules.views import views

SIGNIFICANT = 0.05
LEAST_EXCESS = 0.01
"""Q that modules must be beyond the shuffles, besides their p-value: where idle units make all
shuffles alike, any Q has p = 0.05."""
SAME_SCORE = 1e-6
"""Scores that differ by less are as high: capacities are single-precision."""


@dataclass(frozen=True)
class Significance:
    """How the modules compare with what the same search finds in shuffled networks.

    Every level of the nest, from two modules to as many as were kept, is compared with as many
    modules in the shuffles (sparse networks reach a high Q with many; so would any). Reported is
    the level that stands out most: with a small third module beside two large ones, the two.

    Attributes:
        q: Newman's Q at that level.
        null_mean: mean of the Q that the same search reaches in the shuffled networks.
        null_std: its standard deviation.
        z: (q - null_mean) / null_std, or None where the shuffles tell no spread: where all are
            alike (an untrained network and all its shuffles split best between the same two
            layers), and where the answer was clear before there were 19.
        p_value: (1 + number of shuffles that stand out as much) / (1 + shuffles), each network at
            its own best level, measured in deviations over all networks at that level; where the
            partition was found by likelihood, those that save as many nats.
        samples: number of shuffled networks, which ends where the answer is clear.
        beyond: how many standard deviations the score is above that of the shuffles; None likewise.
        modules: number of modules at that level.
        by: the score, "newman_q" or "likelihood".
    """

    q: float
    null_mean: float
    null_std: float
    z: float | None
    p_value: float
    samples: int
    beyond: float | None = None
    modules: int = 2
    by: str = "newman_q"

    @property
    def is_significant(self) -> bool:
        """Whether the p-value is at most 0.05."""
        return self.p_value <= SIGNIFICANT

    def without_false_z(self) -> Significance:
        """The same, with no z where the shuffles have no spread, as old files may have it."""
        return self if self.null_std >= NO_SPREAD else replace(self, z=None)


class Plan(NamedTuple):
    """How shuffles are drawn.

    Attributes:
        seed: seed of the shuffles.
        least: draws before modules are believed.
        most: draws at which it ends, if the answer is not clear before.
        level: largest p-value at which modules are believed.
        on_draw: told after each draw how many there are, of how many that are planned.
    """

    seed: int = 0
    least: int = LEAST_DRAWS
    most: int = 499
    level: float = SIGNIFICANT
    on_draw: Callable[[int, int], None] = lambda drawn, planned: None


def plan_for(
    graph: UnitGraph,
    samples: int,
    seed: int,
    level: float = SIGNIFICANT,
    on_draw: Callable[[int, int], None] = lambda drawn, planned: None,
) -> Plan:
    """Enough draws to reach `level`, and as many more as a graph of this size can afford.

    Raises:
        GraphError: if `level` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise GraphError(f"significance is a p-value between 0 and 1, such as 0.05, not {level}")
    least = max(samples, LEAST_DRAWS, int(np.ceil(1 / level)) - 1)
    return Plan(seed, least, max(least, most_draws(graph.n)), level, on_draw)


class Tested(NamedTuple):
    """What a test says: its figures, and whether the modules are believed."""

    figures: Significance
    believed: bool


class Look(NamedTuple):
    """A test after some draws.

    Attributes:
        figures: so far.
        holds: whether the modules would be believed if nothing more were drawn.
        side: 1 or -1 where more draws are not expected to change that.
    """

    figures: Significance
    holds: bool
    side: int


def tested_by_q(
    graph: UnitGraph,
    nest: Sequence[NDArray[np.int64]],
    inflations: Sequence[float],
    max_modules: int,
    plan: Plan,
) -> Tested:
    """The Q of a nest, beside what the search for it reaches in shuffled networks.

    Believed if the p-value is at most the level, and the Q `LEAST_EXCESS` beyond the shuffles.

    Args:
        graph: units and capacities.
        nest: its partitions into 2, 3, ... modules.
        inflations, max_modules: of the search.
        plan: how shuffles are drawn.
    """
    levels = range(2, len(nest) + 2)
    own = np.array([newman_q(graph, labels) for labels in nest])

    def score(shuffled: UnitGraph) -> NDArray[np.float64]:
        return null_q(shuffled, levels, inflations, max_modules)

    return _tested(graph, score, lambda null: _look_at_q(own, null, plan.level), plan)


def tested_by_likelihood(
    graph: UnitGraph, labels: NDArray[np.int64], saved: float, plan: Plan
) -> Tested:
    """The nats that a likeliest partition saves, beside what is saved in shuffled networks.

    Believed if that is so many deviations beyond the shuffles that the p-value is at most the
    level whatever their distribution (`least_distance`): the best of many fits is skewed.

    Args:
        graph: units and capacities.
        labels: (n,) the partition.
        saved: nats that the search which shuffles get as well saves here.
        plan: how shuffles are drawn.
    """
    q, modules = newman_q(graph, labels), int(labels.max()) + 1

    def score(shuffled: UnitGraph) -> NDArray[np.float64]:
        return np.array(_null_saved(shuffled, modules))

    def look(null: NDArray[np.float64]) -> Look:
        return _look_at_likelihood(q, saved, modules, null, plan.level)

    return _tested(graph, score, look, plan)


def _tested(
    graph: UnitGraph,
    score: Callable[[UnitGraph], NDArray[np.float64]],
    look: Callable[[NDArray[np.float64]], Look],
    plan: Plan,
) -> Tested:
    """Draws shuffles until it is clear whether the modules are believed, or no more are planned."""
    null: list[NDArray[np.float64]] = []
    for shuffled in _shuffles(graph, plan.most, plan.seed):
        null.append(score(shuffled))
        drawn = len(null)
        plan.on_draw(drawn, plan.least if drawn <= plan.least else plan.most)
        seen = look(np.array(null))
        if seen.side < 0 or (seen.side > 0 and seen.holds and drawn >= plan.least):
            break
    return Tested(seen.figures, seen.holds and seen.side >= 0)


def _look_at_q(own: NDArray[np.float64], null: NDArray[np.float64], level: float) -> Look:
    best, reached = _standing_out(own, null)
    q, scores = float(own[best]), null[:, best]
    figures = _compared(q, scores, q, scores, reached, best + 2, "newman_q")
    rare = side_of_level(reached, len(null), level)
    if rare == 0 and side_of_distance(q, scores, least_distance(level / len(own))) > 0:
        rare = 1
    excess = q - figures.null_mean - LEAST_EXCESS
    error = figures.null_std / np.sqrt(len(null)) if len(null) >= LEAST_DRAWS else np.inf
    holds = figures.p_value <= level and excess >= 0
    return Look(figures, holds, min(rare, side_of(excess, error)))


def _look_at_likelihood(
    q: float, saved: float, modules: int, null: NDArray[np.float64], level: float
) -> Look:
    least, scores = least_distance(level), null[:, 1]
    reached = int((scores >= saved - SAME_SCORE).sum())
    figures = _compared(q, null[:, 0], saved, scores, reached, modules, "likelihood")
    holds = figures.p_value <= level and is_beyond(saved, scores, least)
    refused = side_of_level(reached, len(null), level) < 0
    return Look(figures, holds, -1 if refused else side_of_distance(saved, scores, least))


def null_q(
    shuffled: UnitGraph, levels: Sequence[int], inflations: Sequence[float], max_modules: int
) -> NDArray[np.float64]:
    """(levels,) the highest Q of a shuffled network with so many modules, or all that it has."""
    neighbours = neighbours_of(shuffled)
    partitions = [
        pieces_along(shuffled, seen.inflated(inflation), max_modules, neighbours)[0]
        for seen, inflation in views(shuffled, inflations, expand=True)
    ]
    best = max(partitions, key=lambda pieces: newman_q(shuffled, pieces))
    partitions.append(split_inside(shuffled, best, max(inflations), max_modules, neighbours))
    return np.max([_q_at(shuffled, pieces, levels) for pieces in partitions], axis=0)


def _q_at(
    graph: UnitGraph, pieces: NDArray[np.int64], levels: Sequence[int]
) -> NDArray[np.float64]:
    """(levels,) Q of the nest over a partition, at levels of so many modules or all it has."""
    merges = merge_order(module_masses(graph, pieces))
    nest = [merged(pieces, merges[: max(0, len(merges) + 1 - modules)]) for modules in levels]
    return np.array([newman_q(graph, labels) for labels in nest])


def _shuffles(graph: UnitGraph, samples: int, seed: int) -> Iterator[UnitGraph]:
    for sample in range(samples):
        yield shuffled_graph(graph, np.random.default_rng((seed, sample)))


def _standing_out(own: NDArray[np.float64], null: NDArray[np.float64]) -> tuple[int, int]:
    """The level where a network stands out most among shuffles, and how many stand out as much.

    A permutation test by the largest of several statistics (Westfall and Young, 1993): all networks
    are treated alike, so that trying several levels is paid for. A level without spread tells no
    network apart.

    Args:
        own: (levels,) Q of the network.
        null: (samples, levels) of its shuffles.
    """
    together = np.vstack([own, null])
    spread = together.std(0, ddof=1)
    apart = (together - together.mean(0)) / np.maximum(spread, NO_SPREAD)
    most = apart.max(1)
    same = SAME_SCORE / max(spread[apart[0].argmax()], NO_SPREAD)
    return int(apart[0].argmax()), int((most[1:] >= most[0] - same).sum())


def _compared(
    q: float,
    null: NDArray[np.float64],
    score: float,
    scores: NDArray[np.float64],
    reached: int,
    modules: int,
    by: str,
) -> Significance:
    """The figures of a test after some draws, of which `reached` came as far."""
    p_value = (1 + reached) / (1 + len(null))
    mean, spread, beyond = float(null.mean()), spread_of(null), distance(score, scores)
    z = distance(q, null)
    return Significance(q, mean, spread, z, p_value, len(null), beyond, modules, by)


def _null_saved(shuffled: UnitGraph, modules: int) -> tuple[float, float]:
    """Q of a shuffled network's likeliest partition into about as many modules; nats saved."""
    fits = likelihood_fits(shuffled)
    near = min(fits, key=lambda fit: abs(int(fit.labels.max()) + 1 - modules))
    return newman_q(shuffled, near.labels), max(fit.saved for fit in fits)
