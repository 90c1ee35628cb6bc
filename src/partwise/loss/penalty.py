"""What all penalties are: a capacity, a finder, a controller, and a step that is decided once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from partwise.errors import CheckpointError
from partwise.loss.control import Controller, State
from partwise.loss.in_force import InForce
from partwise.modules import Partition

FORMAT = 3
"""Version of the states that penalties save. The first had no number."""


class Stateful(Protocol):
    """What a resumed run takes up again."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit.

        Names without a slash are there at every step, others depend on how far a run has come.
        """

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""


class Finder(Stateful, Protocol):
    """What finds which units belong together."""

    def refresh(self) -> object:
        """Puts in force what the model shows now."""


class Capacity(Stateful, Protocol):
    """What the weights between units are worth."""

    def masses(self) -> Tensor:
        """(k, k) capacity between the modules in force, differentiable in the weights."""


class Penalty(ABC):
    """A loss term that makes a network come apart, and what else it takes.

        for x, y in batches:
            run = penalty.step(optimizer)
            loss = criterion(run(x), y) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        penalty.finish()

    A step is decided once, before the network runs: modules are looked for, and where weights are
    to change outside of the optimiser, they do. `step` does it, or else the first `run` of a step.
    Calling the penalty changes nothing but the count of steps.

    Args:
        in_force: the partition in force, and what follows from it.
        capacity: what the weights are worth.
        finder: what finds partitions.
        controller: when and how hard the penalty presses.
    """

    def __init__(
        self, in_force: InForce, capacity: Capacity, finder: Finder, controller: Controller
    ):
        self.model, self.units = in_force.model, in_force.units
        self.in_force, self.capacity = in_force, capacity
        self.finder, self.controller = finder, controller
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

    @property
    def schedule(self) -> Any:
        """What the controller was set to beforehand."""
        return self.controller.schedule

    @property
    def state(self) -> State:
        """What the controller has measured and decided so far."""
        return self.controller.state

    @property
    def steps_done(self) -> int:
        """Steps so far."""
        return self.controller.state.step

    @torch.no_grad()
    def interface_frac(self) -> float:
        """Share of all capacity that joins two different modules of the partition in force."""
        masses = self.capacity.masses()
        return float(1 - masses.trace() / masses.sum())

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
        term, self._has_begun = self._term(), False
        self.controller.state.step += 1
        return term

    def finish(self) -> None:  # noqa: B027
        """Call it after the last step of the optimiser; most penalties have nothing to do."""

    def refresh(self) -> None:
        """Finds the partition anew from the model as it is, and puts it in force."""
        self.finder.refresh()

    @abstractmethod
    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Decides what is due at this step, and acts on it."""

    @abstractmethod
    def _term(self) -> Tensor:
        """The loss term of this step."""

    def _runner(self) -> Callable[..., Any]:
        """What runs the network as this step wants it."""
        return self.in_force.run if self._masks_this_step() else self.model

    def _masks_this_step(self) -> bool:
        return self.modules > 1 and self.controller.masks()

    def _parts(self) -> tuple[Stateful, ...]:
        return self.in_force, self.capacity, self.finder, self.controller

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit; save it between two steps."""
        state = {"format": torch.tensor(FORMAT)}
        for part in self._parts():
            state |= part.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run.

        Raises:
            CheckpointError: if the state is of another version of Partwise, another kind of
                penalty, or a network with another number of units.
        """
        self._refuse_foreign(state)
        for part in self._parts():
            part.load_state_dict(state)
        self._has_begun = False

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


def _always(state: Mapping[str, Tensor]) -> set[str]:
    return {name for name in state if "/" not in name}
