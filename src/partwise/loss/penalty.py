"""What all penalties are: a step that is decided once, a run, a loss term, a state by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import CheckpointError
from partwise.graph import UnitMap
from partwise.loss.in_force import InForce
from partwise.modules import Partition

FORMAT = 2
"""Version of the states that penalties save. The first had no number."""
MANY = 1024


class Penalty(ABC):
    """A loss term that makes a network come apart, and what else it takes.

        for x, y in batches:
            run = penalty.step(optimizer)
            loss = criterion(run(x), y) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()

    A step is decided once, before the network runs: modules are looked for, and where weights are
    to change outside of the optimiser, they do. `step` does it, or else the first `run` of a step.
    Calling the penalty changes nothing but the count of steps.

    Args:
        model: the network.
        units: its unit map.

    Attributes:
        in_force: the partition in force, and what follows from it.
    """

    def __init__(self, model: nn.Module, units: UnitMap):
        self.model, self.units = model, units
        self.in_force = InForce(model, units)
        self._has_begun = False

    @property
    def partition(self) -> Partition:
        """The modules in force."""
        return self.in_force.partition

    @property
    def labels(self) -> Tensor:
        """(n,) module of each unit, a copy."""
        return self.in_force.partition.tensor

    @property
    def modules(self) -> int:
        """Number of modules in force."""
        return self.in_force.modules

    def set_labels(self, labels: Partition | Tensor) -> None:
        """Puts a partition in force, (n,) numbers of modules.

        Raises:
            DataError: if they are not one per unit, or leave a number out.
        """
        self.in_force.put(Partition.of(labels, self.units.n))

    def step(self, optimizer: torch.optim.Optimizer | None = None) -> Callable[..., Any]:
        """Begins a step: decides what is due, and acts on it before the network runs.

        Args:
            optimizer: the optimiser of the weights. Where these go back to what they once were, so
                does what it remembers of them; without, that is left alone.

        Returns:
            What runs the network at this step, as often as is wanted.
        """
        if not self._has_begun:
            self._begin(optimizer)
            self._has_begun = True
        return self._runner()

    def run(self, *inputs: Any, **named: Any) -> Any:
        """The model's output; in a share of the steps without its interfaces."""
        return self.step()(*inputs, **named)

    def __call__(self) -> Tensor:
        """The penalty at this step, a scalar; the next step begins after it."""
        self.step()
        self._has_begun = False
        return self._end()

    @abstractmethod
    def interface_frac(self) -> float:
        """Share of all capacity that joins two different modules of the partition in force."""

    @abstractmethod
    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Decides what is due at this step, and acts on it."""

    @abstractmethod
    def _runner(self) -> Callable[..., Any]:
        """What runs the network as this step wants it."""

    @abstractmethod
    def _end(self) -> Tensor:
        """The loss term of this step, which is then done."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit; save it between two steps."""
        return {
            "format": torch.tensor(FORMAT),
            **self.in_force.state_dict(),
            **self._own_state(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run.

        Raises:
            CheckpointError: if the state is of another version of Partwise, another kind of
                penalty, or a network with another number of units.
        """
        self._refuse_foreign(state)
        self.in_force.load_state_dict(state)
        self._take_state(state)
        self._has_begun = False

    @abstractmethod
    def _own_state(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the partition in force.

        Names without a slash are there at every step, others depend on how far a run has come.
        """

    @abstractmethod
    def _take_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up what `_own_state` of an earlier run gave."""

    def _refuse_foreign(self, state: Mapping[str, Tensor]) -> None:
        known = int(state["format"]) if "format" in state else 1
        if known != FORMAT:
            raise CheckpointError(
                f"the penalty's state has format {known}, this version of Partwise reads "
                f"{FORMAT}; go on with the version that wrote it, or train again"
            )
        differ = _always(self.state_dict()) ^ _always(state)
        if differ:
            raise CheckpointError(
                f"the penalty's state is not of a {type(self).__name__}: '{min(differ)}' is "
                "missing or unknown; go on with the recipe that it was trained by"
            )
        if len(state["labels"]) != self.units.n:
            raise CheckpointError(
                f"the penalty's state has {len(state['labels'])} units, the model {self.units.n}; "
                "go on with the network that it was trained with"
            )


def is_drawn(seed: int, step: int, share: float) -> bool:
    """Whether a step is among a share of the steps; depends on nothing but seed and step."""
    return bool(_numbers(seed, step // MANY)[step % MANY] < share)


@lru_cache(maxsize=8)
def _numbers(seed: int, block: int) -> NDArray[np.float64]:
    """(MANY,) a number for each of that many steps; a generator per step would be slow."""
    return np.random.default_rng((seed, block)).random(MANY)


def _always(state: Mapping[str, Tensor]) -> set[str]:
    return {name for name in state if "/" not in name}
