"""The partition in force in a training, and all that follows from it, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph import UnitMap
from partwise.interventions.masks import MaskedRun, factors, inside_modules
from partwise.loss.constants import carried, commit
from partwise.modules import Partition

Reads = NDArray[np.bool_]
"""(k, k) bool, whether the row's module reads the column's; the diagonal is False."""

T = TypeVar("T")


class InForce:
    """Which units a training holds together, and the network without the interfaces in between.

    What an interface carries on average stays, as a constant (see `constants`), where that was
    measured. Everything that is worked out from the partition is dropped when another one comes.

    Args:
        model: the network.
        units: its unit map.

    Attributes:
        partition: the modules.
        reads: (k, k) bool, whether the row's module may read the column's.
        cut: parameter name -> bool, entries that were removed for good, though modules may have
            them.
        means: parameter name -> (c,) what weights read on average, as last measured.
        constants: parameter name -> (r,) what masked entries bring on average.
        total: all capacity as the partition came in force; 0 until somebody works it out.
    """

    def __init__(self, model: nn.Module, units: UnitMap):
        self.model, self.units = model, units
        self.partition = Partition.whole(units.n)
        self.reads: Reads = np.zeros((1, 1), bool)
        self.cut: dict[str, Tensor] = {}
        self.means: dict[str, Tensor] = {}
        self.constants: dict[str, Tensor] = {}
        self.total = 0.0
        self._derived: dict[Callable[[], Any], Any] = {}

    @property
    def modules(self) -> int:
        """Number of modules."""
        return self.partition.modules

    @property
    def labels(self) -> Tensor:
        """(n,) module of each unit; shared, and not to be written to."""
        return self.derived(self._labels)

    def _labels(self) -> Tensor:
        return self.partition.tensor

    def put(self, partition: Partition, reads: Reads | None = None) -> None:
        """Puts a partition in force, of which no module may read another but for `reads`."""
        self.partition, self.total = partition, 0.0
        self.reads = np.zeros((partition.modules,) * 2, bool) if reads is None else reads
        self.forget()
        self.follow()

    def dissolve(self) -> None:
        """One module, with all weights there are."""
        self.cut, self.means, self.constants = {}, {}, {}
        self.put(Partition.whole(self.units.n))

    def derived(self, make: Callable[[], T]) -> T:
        """What `make` works out from the partition: once, until another one is in force."""
        if make not in self._derived:
            self._derived[make] = make()
        found: T = self._derived[make]
        return found

    def forget(self) -> None:
        """Drops all that was worked out, for example since it depends on a gauge that moved."""
        self._derived.clear()

    def kept(self) -> dict[str, Tensor]:
        """Which weights stay in the network without its interfaces; see `inside_modules`."""
        kept = self._inside(self.partition, self.reads)
        for name, cut in self.cut.items():
            kept[name] = kept[name] & ~cut.to(kept[name].device)
        return kept

    @property
    def run(self) -> MaskedRun:
        """Runs the network without its interfaces."""
        run = self.derived(self._masked_run)
        run.constants = self.constants
        return run

    def _masked_run(self) -> MaskedRun:
        return MaskedRun(self.model, factors(self.model, self.kept()))

    def run_as(self, partition: Partition, reads: Reads | None) -> MaskedRun:
        """Runs the network as modules that are not in force and read nothing but what they may."""
        kept = self._inside(partition, reads)
        return MaskedRun(self.model, kept, carried(self.model, kept, self.means))

    def _inside(self, partition: Partition, reads: Reads | None) -> dict[str, Tensor]:
        may = None if reads is None or not reads.any() else torch.as_tensor(reads)
        return inside_modules(self.model, self.units, partition.tensor, reads=may)

    def follow(self) -> None:
        """Works out what interfaces bring on average, now that weights have moved."""
        means = self.means
        self.constants = carried(self.model, self.run.kept, means) if means else {}

    def remove(self, entries: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> None:
        """Removes interfaces and further weights for good; biases take over what these brought.

        Args:
            entries: parameter name -> bool, what goes.
            means: parameter name -> (c,) what the weights read on average.
        """
        for name, cut in entries.items():
            self.cut[name] = self.cut.get(name, False) | cut.cpu()
        self.forget()
        commit(self.model, self.run.kept, means)
        self.means, self.constants = {}, {}

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        tables = {"cut": self.cut, "means": self.means, "constants": self.constants}
        return {
            "labels": self.partition.tensor,
            "reads": torch.as_tensor(self.reads),
            "total": torch.tensor(self.total, dtype=torch.float64),
            **{f"{kind}/{name}": t for kind, table in tables.items() for name, t in table.items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.cut, self.means, self.constants = (
            {
                name: state[f"{kind}/{name}"].to(weight.device)
                for name, weight in self.model.named_parameters()
                if f"{kind}/{name}" in state
            }
            for kind in ("cut", "means", "constants")
        )
        self.partition = Partition.of(state["labels"], self.units.n)
        self.reads, self.total = state["reads"].cpu().numpy(), float(state["total"])
        self.forget()
