"""When and how hard penalties press: what a controller is, and the one of a fixed strength."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.checks import require_at_least
from partwise.errors import RecipeError

MANY = 1024
GROWTH, BACK_OFF = 1.1, 0.7
"""What the pressure rises and falls by, within a budget."""
SILENCED = 1
"""What sets the draw of silenced steps apart from that of masked steps."""


@dataclass
class State:
    """What has been measured and decided so far: numbers, and nothing else.

    Attributes:
        step: steps done.
        pressure: what the schedule's pressure is multiplied by.
    """

    step: int = 0
    pressure: float = 1.0


class Controller(ABC):
    """When and how hard a penalty presses.

    Args:
        schedule: what is set beforehand.
        state: what has been measured and decided so far.
    """

    schedule: Any
    state: State

    def __init__(self, schedule: Any, state: State):
        self.schedule, self.state = schedule, state

    @abstractmethod
    def masks(self) -> bool:
        """Whether this step runs without interfaces, if there are any."""

    def is_drawn(self, share: float, stream: int = 0) -> bool:
        """Whether this step is among a share of the steps; by nothing but seed, stream and step."""
        seed, step = self.schedule.seed + stream, self.state.step
        return bool(_numbers(seed, step // MANY)[step % MANY] < share)

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        return {f"control.{name}": _exact(value) for name, value in asdict(self.state).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        for name, value in asdict(self.state).items():
            setattr(self.state, name, type(value)(state[f"control.{name}"].item()))


@dataclass(frozen=True)
class FixedSchedule:
    """When a penalty of a fixed strength presses, and how hard.

    Attributes:
        strength: weight of the penalty, in units of the task loss per unit of Newman's Q.
        start: steps of plain training before the first partition.
        ramp: steps over which the strength rises from 0 to full.
        mask_share: share of steps in which the network runs without its interface weights.
        mask_after: steps after `start` before that begins.
        seed: seed of the choice of these steps.
    """

    strength: float = 1.0
    start: int = 1000
    ramp: int = 1000
    mask_share: float = 0.3
    mask_after: int = 500
    seed: int = 0


@dataclass(frozen=True)
class CutTreeSchedule(FixedSchedule):
    """When and how hard `CutTreePenalty` presses; see `FixedSchedule` for what is not here.

    Attributes:
        refresh_every: steps between cut trees; twice as many after each that finds the same.
        min_gain: Q that a split must earn to be kept.
        l1: sparsity pressure beside it, from the first step on: weight of `l1_penalty`, in the
            same pass over the weights.
    """

    refresh_every: int = 100
    min_gain: float = 0.01
    l1: float = 0.0


@dataclass(frozen=True)
class ShareSchedule(FixedSchedule):
    """When and how hard `SharePenalty` presses; with `strength` and `mask_share` 0, not at all.

    See `FixedSchedule` for what is not here.

    Attributes:
        press_every: steps between steps with a penalty, which then counts as many times; large
            networks save time with 4.
        refresh_every: steps between partitions.
        lag: steps that training goes on for while the cut tree is built, in a thread, before the
            new partition is in force; less than `refresh_every`. Where a GPU trains, a CPU has
            the time.
        freeze_after: steps after `start` from which no partition is looked for any more; if it is
            negative, none ever is.
        modules: how many modules are wanted; as many as the tree shows, if 0.
        min_correlation: weakest correlation of usages that is an edge.
        silence_share: share of steps in which every sequence runs without the heads and neurons
            of modules that it has no tokens of; from `mask_after` on.
        probes: pieces of text that usage is measured over.
        piece: tokens per piece; longer sequences are cut into such.
        tree_units: tokens that the cut tree of co-usage is built over, at most.
        watch_every: steps between measurements of input scales.

    Raises:
        RecipeError: for a negative number of steps, or 0 where there must be some, or a share of
            steps that is none.
    """

    strength: float = 3.0
    start: int = 400
    ramp: int = 1600
    mask_share: float = 0.2
    mask_after: int = 800
    press_every: int = 1
    refresh_every: int = 50
    lag: int = 0
    freeze_after: int = 300
    modules: int = 0
    min_correlation: float = 0.12
    silence_share: float = 0.2
    probes: int = 768
    piece: int = 32
    tree_units: int = 2048
    watch_every: int = 4

    def __post_init__(self) -> None:
        require_at_least(1, self, "press_every", "refresh_every", "watch_every")
        require_at_least(1, self, "probes", "piece", "tree_units")
        require_at_least(0, self, "start", "ramp", "lag", "mask_after", "modules")
        for name in ("mask_share", "silence_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} = {getattr(self, name)}, wanted 0 to 1")


class FixedStrength(Controller):
    """Presses as a schedule says, and less where the loss is beyond what somebody allows."""

    def __init__(self, schedule: FixedSchedule):
        super().__init__(schedule, State())

    @property
    def since(self) -> int:
        """Steps since the start."""
        return self.state.step - self.schedule.start

    @property
    def weight(self) -> float:
        """Strength at this step, ramp and `pressure` included."""
        ramp = min(1.0, max(0.0, self.since / max(1, self.schedule.ramp)))
        return self.schedule.strength * ramp * self.state.pressure

    @property
    def isolates(self) -> bool:
        """Whether this step may be masked or silenced."""
        return self.since >= self.schedule.mask_after

    def masks(self) -> bool:
        """Whether this step runs without interfaces, if there are any."""
        return self.isolates and self.is_drawn(self.schedule.mask_share * self.state.pressure)

    def silences(self, share: float) -> bool:
        """Whether this step is among the share that is silenced."""
        return self.isolates and self.is_drawn(share * self.state.pressure, SILENCED)

    def adapt(self, loss: float, allowed: float) -> None:
        """Presses less when held-out loss is beyond a budget, and more again when it is within.

        Strength and shares of steps are the schedule's times `pressure`, which falls by `BACK_OFF`
        or rises by `GROWTH`, to 1 at most. Call it every few dozen steps.

        Args:
            loss: held-out loss of the whole network, the same on every process.
            allowed: what the budget allows at this step: (1 + budget) times the loss that a plain
                twin has after as many steps.
        """
        factor = BACK_OFF if loss > allowed else GROWTH
        self.state.pressure = min(1.0, self.state.pressure * factor)


@lru_cache(maxsize=8)
def _numbers(seed: int, block: int) -> NDArray[np.float64]:
    """(MANY,) a number for each of that many steps; a generator per step would be slow."""
    return np.random.default_rng((seed, block)).random(MANY)


def _exact(value: float | int) -> Tensor:
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
