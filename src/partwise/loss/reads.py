"""Which module reads which, since it must or since the task needs it, and which have no effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from partwise.graph import UnitGraph, UnitGroup, UnitMap
from partwise.loss.in_force import Reads
from partwise.modules import module_masses
from partwise.modules.nest import by_volume

NO_INPUTS = 0.05
NO_OUTPUTS = 0.01
FEWEST_MODULES = 3
"""Of two modules one may always read the other, in any network that runs in one direction."""
UNEXPLAINED = 0.1
"""Share of what masking costs too much that what is opened may leave."""
WORTH = 0.25
"""Share of an even part of the excess that a reading must save for the next to be tried."""


def readers(units: UnitMap, graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(modules,) whether a module has no inputs of its own, and so must read other modules.

    That is, less than 5% of the capacity at its units is at network inputs. The first units
    are the network's inputs.
    """
    return _share(graph, labels, units.inputs) < NO_INPUTS


def reads_of(units: UnitMap, graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(modules, modules) bool, what must be read: by `readers` what has inputs, else nothing.

    A reader reads no other: else two of them, which together are all that follows the first
    layers, would read everything, and nothing would be held apart.
    """
    reader = readers(units, graph, labels)
    return reader[:, None] & ~reader


def holds_apart(units: UnitMap, graph: UnitGraph, labels: NDArray[np.int64]) -> bool:
    """Whether two modules or more have inputs of their own.

    Where only one has, all others read it (see `readers`), and there is no interface to mask: a
    network cut between two layers has such parts.
    """
    return int((~readers(units, graph, labels)).sum()) > 1


def without_idle(units: UnitMap, graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) `labels`, modules that can have no effect merged into others.

    A module without outputs, in a partition where no module reads others (see `readers`),
    changes nothing about the network's answers once its interface is idle. It goes where that
    costs the least of Newman's Q.
    """
    while labels.max() > 0 and not readers(units, graph, labels).any():
        idle = _share(graph, labels, units.outputs) < NO_OUTPUTS
        if not idle.any():
            break
        mass = module_masses(graph, labels)
        volume = mass.sum(1)
        module = int(np.where(idle, volume, np.inf).argmin())
        cost = volume[module] * volume - mass[module]
        cost[module] = np.inf
        labels = by_volume(graph, np.where(labels == module, int(cost.argmin()), labels))
    return labels


def opened(reads: Reads, loss_of: Callable[[Reads], float], most: float) -> Reads:
    """`reads`, and the fewest more that account for what masking costs beyond `most`, if any do.

    Greedy: at each turn what saves the most. A module reads one other on average, at most, and
    none that, by any way round, reads it: else any network could be cut up and explained.

    Args:
        reads: what may be read already.
        loss_of: held-out loss with no other interfaces than these.
        most: loss that may be left to be trained away.
    """
    k = len(reads)
    if k < FEWEST_MODULES or (loss := loss_of(reads)) <= most:
        return reads
    enough, wider = most + UNEXPLAINED * (loss - most), reads
    for left in range(k - int(reads.sum()), 0, -1):
        choices = [(loss_of(more), more) for more in _one_more(wider)]
        if not choices:
            break
        best, wider = min(choices, key=lambda choice: choice[0])
        if best <= enough:
            return wider
        if loss - best < WORTH * (loss - most) / left:
            break
        loss = best
    return reads


def carried_over(
    reads: Reads, before: NDArray[np.int64], after: NDArray[np.int64], degrees: NDArray[np.float64]
) -> Reads:
    """`reads` of the modules `before` as those of the modules `after` that succeed them.

    Nothing is read where the two partitions' modules do not correspond one to one.

    Args:
        reads: (k, k).
        before, after: (n,) labels.
        degrees: (n,) capacity at each unit.
    """
    k = len(reads)
    shared = np.zeros((int(after.max()) + 1, k))
    np.add.at(shared, (after, before), degrees)
    old = shared.argmax(1)
    if len(set(old)) < k or len(old) != k:
        return np.zeros((len(old), len(old)), bool)
    return reads[np.ix_(old, old)]


def _one_more(reads: Reads) -> list[Reads]:
    """All ways to add one reading such that no module reads, by any way round, itself."""
    reached = reads | np.eye(len(reads), dtype=bool)
    for _ in reads:
        reached = reached @ reached
    found = []
    for reader, read in np.argwhere(~reads & ~reached.T):
        more = reads.copy()
        more[reader, read] = True
        found.append(more)
    return found


def _share(graph: UnitGraph, labels: NDArray[np.int64], group: UnitGroup) -> NDArray[np.float64]:
    """(modules,) share of each module's capacity that is at the units of a group."""
    degrees, modules, own = graph.degrees(), int(labels.max()) + 1, slice(group.start, group.stop)
    volume = np.bincount(labels, degrees, modules)
    there = np.bincount(labels[own], degrees[own], modules)
    return np.divide(there, volume, out=np.zeros(modules), where=volume > 0)
