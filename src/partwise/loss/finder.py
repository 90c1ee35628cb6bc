"""Finders that read the weights' own graph: which modules it shows, and when to look again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.graph import UnitGraph
from partwise.loss.balanced import Balanced
from partwise.loss.control import Controller
from partwise.loss.in_force import InForce, Reads
from partwise.modules import Partition

Labels = NDArray[np.int64]
Find = Callable[[UnitGraph], Labels]
"""What finds a partition, (n,) labels of a graph, in place of the cut tree."""

INFLATIONS = (2.0, 4.0, 8.0, 16.0)
"""Powers of the capacities that trees are built for."""
KEEP_CONTRAST = 0.45
"""Least separation of as many splits as are in force, as a share of the largest: less than it takes
to make them, so that the pressure on some does not undo others that take longer."""
STILL = 0.98


class Found(NamedTuple):
    """What should be in force.

    Attributes:
        partition: the modules.
        reads: (k, k) bool, whether the row's module may read the column's; None if none may.
        clear: separation of the clearest split when the first were made (see `BudgetState`).
    """

    partition: Partition
    reads: Reads | None = None
    clear: float = 0.0


class GraphFinder(ABC):
    """Finds modules in the weights' graph, more rarely while it finds the same ones.

    Args:
        in_force: the partition in force.
        capacity: what the weights are worth.
        controller: knows the step, and its schedule when to begin and how often to look.
        find: in place of the cut tree.

    Attributes:
        due: step of the next refresh.
        interval: steps to the one after that, if the partition stands still until then.
    """

    def __init__(
        self, in_force: InForce, capacity: Balanced, controller: Controller, find: Find | None
    ):
        self.in_force, self.capacity, self.controller = in_force, capacity, controller
        self.find = find
        self.due, self.interval = controller.schedule.start, 0

    @abstractmethod
    def partition(self, graph: UnitGraph) -> Found:
        """The modules that a graph shows."""

    def refresh(self) -> Found:
        """Puts in force what the weights show now, and sets the step of the next refresh.

        Twice as far as the last one, where the partition stood still.
        """
        graph, before = self.capacity.graph(), self.in_force.partition
        found = self.partition(graph)
        self.in_force.put(found.partition, found.reads)
        after = found.partition
        still = after.modules > 1 and stands_still(before.labels, after.labels, graph.degrees())
        every = self.controller.schedule.refresh_every
        self.interval = 2 * self.interval if still and self.interval else every
        self.due = self.controller.state.step + self.interval
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        due, interval = torch.tensor(self.due), torch.tensor(self.interval)
        return {"refresh_due": due, "refresh_interval": interval}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.due, self.interval = int(state["refresh_due"]), int(state["refresh_interval"])


def stands_still(before: Labels, after: Labels, degrees: NDArray[np.float64]) -> bool:
    """Whether two partitions agree on 98% of the capacity, whatever their modules' numbers.

    Args:
        before: (n,) labels.
        after: (n,) labels.
        degrees: (n,) capacity at each unit; units without any may go anywhere.
    """
    table = np.zeros((int(before.max()) + 1, int(after.max()) + 1))
    np.add.at(table, (before, after), degrees)
    return len(table) == len(table.T) and bool(table.max(1).sum() >= STILL * table.sum())
