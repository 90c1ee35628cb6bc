"""What a capability budget is set to, and what is known of a run under it so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from partwise.checks import require_at_least
from partwise.errors import RecipeError

UNLIMITED = 1 << 30
TRIAL_PROBES = 4
"""Probes before a split is judged; the reward for modules and the pressure ramp up meanwhile."""
CHANCE_FLOOR = 0.05
"""Losses below this share of the untrained network's are as good as none: 5% of them is noise."""
SETTLING = 1 / 3
"""Share of the way to a loss of the plain phase that `settled` goes; of all beyond the slack, none:
so that no single probe moves the reference."""
UNSETTLED = 0.01
"""Share of the untrained network's loss that is forgiven while the learning rate is still high."""


@dataclass(frozen=True)
class BudgetSchedule:
    """What the budget is, and when each phase begins. The defaults are for every task.

    Attributes:
        steps: optimiser steps of the whole training.
        budget: how much worse the held-out loss may be than the plain twin's, as a share.
        reference: the plain twin's held-out loss, where it is known; else the lowest that the
            plain phase reaches, or where its loss has settled since, if that is no longer within
            the budget of the lowest: a network that overfits does not end at its lowest loss.
        plain_frac: share of the steps that train without any pressure.
        split_frac: share of the steps after which modules are looked for.
        release_frac: share of the steps after which interfaces are removed and nothing presses.
        pressure: L1 on a single weight, in nats.
        max_pressure: the pressure rises to at most this multiple while modules are looked for.
        allowance: held-out loss that the pressure may lead to meanwhile, as a multiple of the
            reference; the release gives it back.
        strength: weight of the interface's share of all capacity, in nats.
        press_every: steps between those that feel the pressure and the reward, which is then as
            many times as strong; more than 1 saves some of the overhead.
        mask_share: share of the steps without interfaces while modules are looked for; later all.
        inflations: powers of the capacities that trees are built for.
        min_gain: Q that a split must earn.
        min_separation: least separation of the clearest split for the first to be made (see
            `separations`).
        min_contrast: least separation of all others, as a share of the clearest one's then.
        keep_contrast: the same for as many splits as are in force, as a share of the largest now.
        coactivity: what edges between units that are active together weigh while modules are
            looked for, as multiples of all capacity (see `with_coactivity`). The first decides
            how many modules there are; when the first are made, that of the partitions into as
            many which masking costs least is put in force.
        undo: whether a network without modules goes back to its weights at the end of the plain
            phase, and trains on without any pressure.
        seed: seed of the choice of masked steps.
    """

    steps: int = 4000
    budget: float = 0.05
    reference: float | None = None
    plain_frac: float = 0.25
    split_frac: float = 0.5
    release_frac: float = 0.75
    pressure: float = 3e-4
    max_pressure: float = 2.0
    allowance: float = 2.0
    strength: float = 2.0
    press_every: int = 2
    mask_share: float = 0.5
    inflations: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    min_gain: float = 0.01
    min_separation: float = 0.45
    min_contrast: float = 0.55
    keep_contrast: float = 0.45
    coactivity: tuple[float, ...] = (0.5, 1.0)
    undo: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(1, self, "steps", "press_every")
        require_at_least(0, self, "budget", "pressure", "strength")
        phases = self.plain_frac, self.split_frac, self.release_frac
        if not 0 <= phases[0] <= phases[1] <= phases[2] <= 1:
            raise RecipeError(f"phases begin at {phases} of the steps, wanted a rise from 0 to 1")
        if not isinstance(self.coactivity, tuple):
            raise RecipeError(f"coactivity = {self.coactivity}, wanted a tuple such as (0.5, 1.0)")

    @property
    def probe_every(self) -> int:
        """Steps between measurements of the held-out loss."""
        return max(1, self.steps // 40)

    @property
    def trial_steps(self) -> int:
        """Steps before a split is judged."""
        return TRIAL_PROBES * self.probe_every

    def first_step(self, phase: float) -> int:
        """First step of the phase that begins after a share of the training, with a probe."""
        return self.probe_every * math.ceil(phase * self.steps / self.probe_every)

    @property
    def press_step(self) -> int:
        """First step under pressure, unless an output has to be waited for."""
        return self.first_step(self.plain_frac)

    @property
    def split_step(self) -> int:
        """First step at which modules are looked for."""
        return self.first_step(self.split_frac)

    @property
    def release_step(self) -> int:
        """The step at which interfaces are removed."""
        return self.first_step(self.release_frac)


@dataclass
class BudgetState:
    """What has been measured and decided so far; losses are held-out ones.

    Attributes:
        step: steps done.
        press_from: first step under pressure, which waits for outputs that are not learnt yet.
        chance: loss of the untrained network.
        reference: loss of the plain twin, known or estimated.
        loss: the latest loss.
        masked_loss: the latest loss without interfaces.
        pressure: multiple of the L1 pressure.
        before: loss just before the modules in force were made.
        clear: separation of the clearest split at the first refresh that made one; 0 before.
        made: step at which the trial of the modules in force began.
        max_modules: largest number of modules not yet refused.
        excess: by how much `masked_loss` was beyond what is allowed, at the last probe.
        excess_before: the same, a probe earlier.
        excess_earlier: and another one.
        lowest: the lowest loss of the plain phase.
        settled: where the loss of the plain phase has gone since then.
        released: the lowest loss since the release.
        given_up: why there is one module for good, a position in `Why`.
    """

    step: int = 0
    press_from: int = 0
    chance: float = math.inf
    reference: float = math.inf
    loss: float = math.inf
    masked_loss: float = math.inf
    pressure: float = 1.0
    before: float = 0.0
    clear: float = 0.0
    made: int = 0
    max_modules: int = UNLIMITED
    excess: float = math.inf
    excess_before: float = math.inf
    excess_earlier: float = math.inf
    lowest: float = math.inf
    settled: float = math.inf
    released: float = math.inf
    given_up: int = 0


class Why(IntEnum):
    """Why no modules are held apart."""

    NOT_YET = 0
    NOTHING_LEARNT = 1
    NOTHING_SHOWN = 2
    MASKING_COSTS = 3
    RELEASE_COSTS = 4


@dataclass(frozen=True)
class Limits:
    """What losses a budget allows, by what is known of a run."""

    schedule: BudgetSchedule
    state: BudgetState

    def tolerance(self, loss: float) -> float:
        """How much loss the budget allows on top of a loss."""
        return self.schedule.budget * max(loss, self.floor)

    def allows(self, loss: float, instead_of: float) -> bool:
        """Whether the budget accepts a loss in place of another."""
        return loss <= instead_of + self.tolerance(instead_of)

    def slack(self, loss: float) -> float:
        """`tolerance` of a loss that still falls."""
        return self.tolerance(loss) + UNSETTLED * self.state.chance

    def masked(self) -> float:
        """What the loss without interfaces may be now, to be trained away."""
        return self.state.loss + self.slack(self.state.loss)

    def excess(self, masked_loss: float) -> float:
        """Loss without interfaces, beyond what they may cost on top of the loss before them."""
        return masked_loss - self.state.before - self.slack(self.state.before)

    def follow_plain(self) -> None:
        """Estimates the plain twin's loss from those of the plain phase, of which one is new."""
        state = self.state
        if state.loss <= state.lowest:
            state.lowest = state.settled = state.loss
        slack = self.slack(state.lowest)
        state.settled += SETTLING * max(-slack, min(slack, state.loss - state.settled))
        left_behind = state.settled > state.lowest + slack
        state.reference = state.settled if left_behind else state.lowest

    def at_last(self) -> float:
        """What the loss may be once interfaces are gone."""
        return self.state.reference + self.slack(self.state.reference)

    def under_pressure(self) -> float:
        """What the loss may be while something presses; the release gives it back."""
        return self.schedule.allowance * max(self.state.reference, self.floor)

    def why_one(self) -> str:
        """Why no modules are held apart, in a sentence; empty while that is not decided."""
        state, schedule = self.state, self.schedule
        reasons = {
            Why.NOT_YET: "",
            Why.NOTHING_LEARNT: (
                f"the network has learnt next to nothing to take apart: its held-out loss is "
                f"{state.loss:.3g}, the untrained one's {state.chance:.3g}"
            ),
            Why.NOTHING_SHOWN: (
                f"its weights show no modules: no split was as clear as min_separation = "
                f"{schedule.min_separation:g}; more steps may make them clearer"
            ),
            Why.MASKING_COSTS: (
                f"its modules need each other: without their interfaces the held-out loss was "
                f"{state.masked_loss:.3g}, and {state.before:.3g} before they were found; "
                f"budget = {schedule.budget:g} is less than that costs"
            ),
            Why.RELEASE_COSTS: (
                f"without interfaces the held-out loss fell to {state.released:.3g}, and budget = "
                f"{schedule.budget:g} allows {self.at_last():.3g} for a plain twin's of "
                f"{state.reference:.3g}; give a larger budget, or the twin's loss as reference"
            ),
        }
        return reasons[Why(state.given_up)]

    @property
    def floor(self) -> float:
        """Losses below this are as good as none."""
        return CHANCE_FLOOR * self.state.chance
