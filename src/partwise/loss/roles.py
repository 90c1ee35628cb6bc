"""What modules can do without their interface: some read only others, some reach no output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partwise.graph import UnitGraph, UnitMap
from partwise.modules import module_masses
from partwise.modules.nest import by_volume

NO_INPUTS = 0.05
NO_OUTPUTS = 0.01


def readers(units: UnitMap, graph: UnitGraph, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(modules,) whether a module has no inputs of its own, and so must read other modules.

    That is, less than 5% of the capacity at its units is at network inputs. The first units
    are the network's inputs.
    """
    return _share(graph, labels, units.inputs.start, units.inputs.stop) < NO_INPUTS


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
    outputs = units.outputs
    while labels.max() > 0 and not readers(units, graph, labels).any():
        idle = _share(graph, labels, outputs.start, outputs.stop) < NO_OUTPUTS
        if not idle.any():
            break
        mass = module_masses(graph, labels)
        volume = mass.sum(1)
        module = int(np.where(idle, volume, np.inf).argmin())
        cost = volume[module] * volume - mass[module]
        cost[module] = np.inf
        labels = by_volume(graph, np.where(labels == module, int(cost.argmin()), labels))
    return labels


def _share(
    graph: UnitGraph, labels: NDArray[np.int64], start: int, stop: int
) -> NDArray[np.float64]:
    """(modules,) share of each module's capacity that is at units start..stop."""
    degrees, modules = graph.degrees(), int(labels.max()) + 1
    volume = np.bincount(labels, degrees, modules)
    own = np.bincount(labels[start:stop], degrees[start:stop], modules)
    return np.divide(own, volume, out=np.zeros(modules), where=volume > 0)
