"""Finding modules: `find_modules` and the hierarchy it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree import CutTree
from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph
from partwise.modules.likelihood import MAX_UNITS, likelihood_fits, refitted
from partwise.modules.nest import (
    by_volume,
    merge_order,
    merged,
    module_masses,
    newman_q,
    separations,
    splits_kept,
)
from partwise.modules.partition import Partition
from partwise.modules.significance import (
    SIGNIFICANT,
    Plan,
    Significance,
    Tested,
    plan_for,
    tested_by_likelihood,
    tested_by_q,
)
from partwise.modules.splitting import SAME_Q, neighbours_of, pieces_along, split_inside
from partwise.modules.views import views

INFLATIONS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
MAX_PIECES = 64
CLEAR = 0.4
"""Separation from which on a split of a tree's pieces stands out by capacity."""
FAR = 0.75
"""Separation from which on weaker splits of the likeliest partition are held to the contrast; where
none reaches it, differences between them are noise, and the likeliest number of modules stays."""
Method = Literal["likelihood", "newman_q"]


def method_named(name: str) -> Method:
    """A method by its name.

    Raises:
        GraphError: if there is none.
    """
    for method in get_args(Method):
        if name == method:
            return cast(Method, method)
    raise GraphError(f"there is no method {name!r}; choose 'likelihood' or 'newman_q'")


def _silent(done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Nested partitions of the units, and the one that was chosen.

    Attributes:
        labels: (n,) int, the chosen partition; modules are numbered by falling volume.
        pieces: (n,) int, the finest partition: the tree's pieces, settled and split further (see
            `settled` and `split_inside`).
        merges: (a, b, cost in Q) in the order of merging; see `merge_order`.
        tree: cut tree of the inflated capacities that the graph was split along first.
        inflation: the power p that was chosen, by the Q it reached.
        q: Newman's Q of `labels`.
        significance: the null-model test, or None if it was not asked for.
        saved: nats that `likelihood_fits` saves on this graph, where `pieces` are from there.
    """

    labels: NDArray[np.int64]
    pieces: NDArray[np.int64]
    merges: tuple[tuple[int, int, float], ...]
    tree: CutTree
    inflation: float
    q: float
    significance: Significance | None = None
    saved: float | None = None

    @property
    def partition(self) -> Partition:
        """The chosen partition."""
        return Partition.of(self.labels)

    @property
    def modules(self) -> int:
        """Number of modules in the chosen partition."""
        return int(self.labels.max()) + 1

    @property
    def finest(self) -> int:
        """Number of modules in the finest partition."""
        return int(self.pieces.max()) + 1

    def labels_at(self, modules: int) -> NDArray[np.int64]:
        """(n,) the partition of this nest that has `modules` modules.

        Raises:
            GraphError: if the nest has no such level.
        """
        finest = self.finest
        if not 1 <= modules <= finest:
            raise GraphError(f"this hierarchy has levels of 1 to {finest} modules, not {modules}")
        return merged(self.pieces, self.merges[: finest - modules])


def find_modules(
    graph: UnitGraph,
    *,
    min_gain: float = 0.002,
    min_contrast: float = 0.4,
    inflations: Sequence[float] = INFLATIONS,
    max_modules: int = MAX_PIECES,
    null_samples: int = 19,
    significance: float = SIGNIFICANT,
    seed: int = 0,
    method: Method = "likelihood",
    on_step: Callable[[int, int], None] = _silent,
) -> Hierarchy:
    """The modules of a unit graph, from capacities alone.

    A cut tree is built for each inflation, and one for `expanded` capacities, and split along
    its edges by the gain in Newman's Q of the true capacities; units then settle where they gain
    Q, and the tree that leads to the highest Q wins. Its pieces are split further, along trees
    of what is inside them at the largest inflation. By default the likeliest partition (see
    `modules.likelihood`) takes its place where it is one into modules; graphs of more than 1024
    units (`MAX_UNITS`) stay with Newman's Q. From the nest of mergers
    that follows, splits are kept from the coarsest on as long as their modules are nearly as far
    apart as any in the nest (see `separations`): a rule without a scale, for any number of
    modules. What remains is kept only if it is out of reach in shuffled networks; otherwise the
    answer is one module. Shuffles are drawn until that is clear (see `modules.sequential`).

    Args:
        graph: units and capacities.
        min_gain: Q that a split must earn to be kept; this and the next bind the likeliest
            partition only where some split of it is wide (`FAR`).
        min_contrast: least separation of a split that is kept, as a share of the largest.
        inflations: powers p of the capacities that trees are built for.
        max_modules: at most this many pieces of a tree, before units settle.
        null_samples: shuffled networks before modules are believed, 19 at least; more, up to 499,
            where the answer is in doubt; fewer where there are plainly none; 0 skips the test.
        significance: largest p-value at which modules are believed, in (0, 1).
        seed: seed of the shuffles.
        method: "likelihood" also finds weak modules, those of a network most of whose capacity
            lies between its modules. Networks that were not trained to be modular have such parts:
            units that read the same strokes of a digit, say. "newman_q" finds those only that
            hold more capacity than Newman's Q expects.
        on_step: told after each tree and each shuffle how much of the work is done, of how much;
            the latter rises where more shuffles are drawn, and falls where they end early.

    Raises:
        GraphError: if there is no such method, or `significance` is not between 0 and 1.

    >>> import numpy as np
    >>> u, v = np.triu_indices(12, 1)
    >>> two = UnitGraph.from_edges(12, u, v, np.where((u < 6) == (v < 6), 1.0, 0.01))
    >>> find_modules(two, null_samples=0).labels.tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    """
    steps = _Steps(null_samples, on_step)
    found = search_modules(
        graph,
        min_gain,
        inflations,
        max_modules,
        min_contrast,
        likelihood=method_named(method) == "likelihood",
        on_tree=steps.after_tree,
    )
    if null_samples > 0 and found.modules > 1:
        plan = plan_for(graph, null_samples, seed, significance, steps.after_draw)
        tested, believed = _tested(graph, found, inflations, max_modules, plan)
        found = replace(found, significance=tested)
        if not believed:
            found = replace(found, labels=np.zeros_like(found.labels), q=0.0)
    steps.end()
    return found


class _Steps:
    """Work done, in trees: those of the first search, then as many for each shuffled network."""

    def __init__(self, draws: int, on_step: Callable[[int, int], None]):
        self.draws, self.on_step = draws, on_step
        self.trees = self.done = 1

    def after_tree(self, built: int, trees: int) -> None:
        self.trees = trees
        self._tell(built, self.draws)

    def after_draw(self, drawn: int, planned: int) -> None:
        self._tell(self.trees * (1 + drawn), planned)

    def end(self) -> None:
        self.on_step(self.done, self.done)

    def _tell(self, done: int, draws: int) -> None:
        self.done = done
        self.on_step(done, self.trees * (1 + draws))


def given_modules(
    graph: UnitGraph,
    labels: NDArray[np.int64],
    *,
    null_samples: int = 19,
    seed: int = 0,
    on_step: Callable[[int, int], None] = _silent,
) -> Hierarchy:
    """A partition from elsewhere, with its nest of mergers and its test against shuffles.

    Such as the one that a training held apart, or another program's. It stays whatever the test
    says: `significance` has what the search of `find_modules` reaches in shuffled networks.

    Args:
        graph: units and capacities.
        labels: (n,) int, module of each unit; renumbered by falling volume.
        null_samples: shuffled networks in the significance test, as in `find_modules`.
        seed: seed of the shuffles.
        on_step: told after each shuffle how many are drawn, of how many that are planned.

    Raises:
        GraphError: if there is not one label for each unit.
    """
    if np.shape(labels) != (graph.n,):
        raise GraphError(f"{np.size(labels)} labels are not one for each of {graph.n} units")
    labels = by_volume(graph, np.asarray(labels))
    merges = tuple(merge_order(module_masses(graph, labels)))
    found = search_modules(graph)
    q = newman_q(graph, labels)
    given = Hierarchy(labels, labels, merges, found.tree, found.inflation, q)
    if null_samples == 0 or given.modules == 1:
        return given
    plan = plan_for(graph, null_samples, seed, on_draw=on_step)
    tested, _ = _tested(graph, given, INFLATIONS, MAX_PIECES, plan)
    return replace(given, significance=tested)


def search_modules(
    graph: UnitGraph,
    min_gain: float = 0.002,
    inflations: Sequence[float] = INFLATIONS,
    max_modules: int = MAX_PIECES,
    min_contrast: float = 0.4,
    expand: bool = True,
    likelihood: bool = False,
    on_tree: Callable[[int, int], None] = _silent,
) -> Hierarchy:
    """The search of `find_modules`, without its significance test, and by Newman's Q if not told.

    Args:
        graph, min_gain, inflations, max_modules, min_contrast: as in `find_modules`.
        expand: build every tree, one on `expanded` capacities too. Without it trees are built
            from the strongest inflation down, until two lead to the same Q.
        likelihood: as with `method="likelihood"`.
        on_tree: told after each tree how many there are, of how many.
    """
    best: tuple[float, NDArray[np.int64], CutTree, float] | None = None
    neighbours = neighbours_of(graph)
    looks = views(graph, inflations, expand)[:: 1 if expand else -1]
    for built, (seen, inflation) in enumerate(looks, 1):
        pieces, tree = pieces_along(graph, seen.inflated(inflation), max_modules, neighbours)
        on_tree(built, len(looks))
        q = newman_q(graph, pieces)
        if not expand and best is not None and q > 0 and abs(q - best[0]) < SAME_Q:
            break
        if best is None or q > best[0]:
            best = q, pieces, tree, inflation
    if best is None:
        raise GraphError("find_modules needs at least one inflation, such as 1.0")
    _, pieces, tree, inflation = best
    pieces = split_inside(graph, pieces, max(inflations), max_modules, neighbours)
    saved = None
    if likelihood:
        pieces, saved = _likeliest(graph, pieces)
    mass = module_masses(graph, pieces)
    merges = tuple(merge_order(mass))
    undone = splits_kept(mass, merges, min_gain, min_contrast)
    if saved is not None and separations(mass, merges).max() < FAR:
        undone = len(merges)
    labels = by_volume(graph, merged(pieces, merges[: len(merges) - undone]))
    q = newman_q(graph, labels)
    return Hierarchy(labels, pieces, merges, tree, inflation, q, saved=saved)


def _tested(
    graph: UnitGraph,
    found: Hierarchy,
    inflations: Sequence[float],
    max_modules: int,
    plan: Plan,
) -> Tested:
    if found.saved is not None:
        return tested_by_likelihood(graph, found.labels, found.saved, plan)
    nest = [found.labels_at(modules) for modules in range(2, found.modules + 1)]
    return tested_by_q(graph, nest, inflations, max_modules, plan)


def finer_nest(
    graph: UnitGraph, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[tuple[int, int, float], ...]]:
    """The nest of a partition, each module of which is searched for parts of its own.

    Newman's Q of a whole graph does not tell apart what is small beside it, the resolution limit
    (Fortunato and Barthélemy, 2007, "Resolution limit in community detection"); that of a module
    alone may. No part is tested against shuffles.

    Args:
        graph: units and capacities.
        labels: (n,) modules, as `find_modules` gives them.

    Returns:
        (n,) parts, none in two modules, and their mergers, as in `Hierarchy`.
    """
    parts, count = np.zeros_like(labels), 0
    for module in range(int(labels.max()) + 1):
        own = labels == module
        found = search_modules(graph.keeping(own[graph.sources] & own[graph.targets]))
        numbers, own_parts = np.unique(found.pieces[own], return_inverse=True)
        parts[own], count = count + own_parts, count + len(numbers)
    return parts, tuple(merge_order(module_masses(graph, parts)))


def _likeliest(
    graph: UnitGraph, pieces: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float | None]:
    """The likeliest partition, and the nats it saves; `pieces` and None where it has no modules.

    The nats are those of the search that shuffled networks get as well, which does not start
    from `pieces`.
    """
    if graph.n > MAX_UNITS or not graph.capacities.any():
        return pieces, None
    fits = likelihood_fits(graph)
    saved = max((fit.saved for fit in fits), default=0.0)
    mass = module_masses(graph, pieces)
    merges, finest = merge_order(mass), int(pieces.max()) + 1
    nest = [merged(pieces, merges[:done]) for done in range(finest)]
    best = max(refitted(graph, fits, nest), key=lambda fit: fit.saved, default=None)
    if best is None or best.saved <= 0:
        return pieces, None
    is_clear = finest > 1 and separations(mass, merges).max() >= CLEAR
    return (best.labels, saved) if _are_modules(graph, best.labels, is_clear) else (pieces, None)


def _are_modules(graph: UnitGraph, labels: NDArray[np.int64], is_clear: bool) -> bool:
    """Whether the parts of a likely partition hold together rather than differ in kind.

    The likelihood also knows partitions that are none into modules, such as live against idle
    units. Where capacities alone show clear modules, every merger of two parts must lose Q;
    where they do not, all mergers together must not gain more than a quarter of it.
    """
    costs = np.array([cost for _, _, cost in merge_order(module_masses(graph, labels))])
    if is_clear:
        return bool(costs.min() > 0)
    levels = np.r_[0.0, costs[::-1].cumsum()]
    return bool(levels[-1] > 0 and levels[-1] >= 0.8 * levels.max())
