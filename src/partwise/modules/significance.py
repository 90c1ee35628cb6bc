"""Whether modules are out of reach in shuffled networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.graph.unit_graph import UnitGraph
from partwise.modules.likelihood import likelihood_fits
from partwise.modules.nest import merge_order, merged, module_masses, newman_q
from partwise.modules.null import shuffled_graph
from partwise.modules.splitting import neighbours_of, pieces_along, split_inside
from partwise.modules.views import views

SIGNIFICANT = 0.05


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
        z: (q - null_mean) / null_std.
        p_value: (1 + number of shuffles that stand out as much) / (1 + shuffles), each network at
            its own best level, measured in deviations over all networks at that level; where the
            partition was found by likelihood, those that save as many nats.
        samples: number of shuffled networks.
        beyond: how many standard deviations the score is above that of the shuffles.
        modules: number of modules at that level.
    """

    q: float
    null_mean: float
    null_std: float
    z: float
    p_value: float
    samples: int
    beyond: float = np.inf
    modules: int = 2

    @property
    def is_significant(self) -> bool:
        """Whether the p-value is at most 0.05."""
        return self.p_value <= SIGNIFICANT


def tested_by_q(
    graph: UnitGraph,
    nest: Sequence[NDArray[np.int64]],
    inflations: Sequence[float],
    max_modules: int,
    samples: int,
    seed: int,
) -> Significance:
    """The Q of a nest, beside what the search for it reaches in shuffled networks.

    Args:
        graph: units and capacities.
        nest: its partitions into 2, 3, ... modules.
        inflations, max_modules: of the search.
        samples: how many shuffled networks.
        seed: seed of the shuffles.
    """
    levels = range(2, len(nest) + 2)
    own = np.array([newman_q(graph, labels) for labels in nest])
    null = np.array([
        null_q(shuffled, levels, inflations, max_modules)
        for shuffled in _shuffles(graph, samples, seed)
    ])  # fmt: skip
    best, p_value = _standing_out(own, null)
    q, scores = own[best], null[:, best]
    return _compared(q, scores, q, scores, p_value, levels[best])


def tested_by_likelihood(
    graph: UnitGraph, labels: NDArray[np.int64], saved: float, samples: int, seed: int
) -> Significance:
    """The nats that a likeliest partition saves, beside what is saved in shuffled networks.

    Args:
        graph: units and capacities.
        labels: (n,) the partition.
        saved: nats that the search which shuffles get as well saves here.
        samples: how many shuffled networks.
        seed: seed of the shuffles.
    """
    modules = int(labels.max()) + 1
    found = [_null_saved(shuffled, modules) for shuffled in _shuffles(graph, samples, seed)]
    null, scores = np.array(found).T
    p_value = (1 + int((scores >= saved).sum())) / (1 + samples)
    return _compared(newman_q(graph, labels), null, saved, scores, p_value, modules)


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


def _standing_out(own: NDArray[np.float64], null: NDArray[np.float64]) -> tuple[int, float]:
    """The level where a network stands out most among shuffles, and the p-value of that.

    A permutation test by the largest of several statistics (Westfall and Young, 1993): all networks
    are treated alike, so that trying several levels is paid for.

    Args:
        own: (levels,) Q of the network.
        null: (samples, levels) of its shuffles.
    """
    together = np.vstack([own, null])
    spread = np.maximum(together.std(0, ddof=1), 1e-12)
    apart = (together - together.mean(0)) / spread
    most = apart.max(1)
    p_value = (1 + int((most[1:] >= most[0]).sum())) / len(together)
    return int(apart[0].argmax()), p_value


def _compared(
    q: float,
    null: NDArray[np.float64],
    score: float,
    scores: NDArray[np.float64],
    p_value: float,
    modules: int,
) -> Significance:
    z = (q - null.mean()) / _spread(null)
    beyond = (score - scores.mean()) / _spread(scores)
    mean, spread = float(null.mean()), _spread(null)
    return Significance(q, mean, spread, float(z), p_value, len(null), float(beyond), modules)


def _spread(values: NDArray[np.float64]) -> float:
    return max(float(values.std(ddof=1)) if len(values) > 1 else 0.0, 1e-12)


def _null_saved(shuffled: UnitGraph, modules: int) -> tuple[float, float]:
    """Q of a shuffled network's likeliest partition into about as many modules; nats saved."""
    fits = likelihood_fits(shuffled)
    near = min(fits, key=lambda fit: abs(int(fit.labels.max()) + 1 - modules))
    return newman_q(shuffled, near.labels), max(fit.saved for fit in fits)
