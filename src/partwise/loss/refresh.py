"""When a partition is found anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STILL = 0.98


@dataclass
class RefreshClock:
    """Refreshes that become rarer while they find the same thing.

    Attributes:
        every: steps between refreshes of a partition that moves.
        due: step of the next refresh.
        interval: steps to the one after that, if the partition stands still until then.
    """

    every: int
    due: int
    interval: int = 0

    def refreshed(self, step: int, still: bool) -> None:
        """Sets the next refresh: twice as far as the last one where the partition stood still."""
        self.interval = 2 * self.interval if still and self.interval else self.every
        self.due = step + self.interval

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        due, interval = torch.tensor(self.due), torch.tensor(self.interval)
        return {"refresh_due": due, "refresh_interval": interval}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.due, self.interval = int(state["refresh_due"]), int(state["refresh_interval"])


def stands_still(
    before: NDArray[np.int64], after: NDArray[np.int64], degrees: NDArray[np.float64]
) -> bool:
    """Whether two partitions agree on 98% of the capacity, whatever their modules' numbers.

    Args:
        before: (n,) labels.
        after: (n,) labels.
        degrees: (n,) capacity at each unit; units without any may go anywhere.
    """
    table = np.zeros((int(before.max()) + 1, int(after.max()) + 1))
    np.add.at(table, (before, after), degrees)
    return len(table) == len(table.T) and bool(table.max(1).sum() >= STILL * table.sum())
