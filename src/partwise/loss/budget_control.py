"""What a capability budget is set to, what is known of a run under it, and what it then decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from partwise.checks import require_at_least
from partwise.loss.control import BACK_OFF, GROWTH, Controller, State
from partwise.loss.levels import MIN_CONTRAST

PLAIN, SPLIT, RELEASE = 0.25, 0.5, 0.75
"""Shares of the steps after which something presses, modules are looked for, interfaces go."""
PROBES, TRIAL_PROBES = 40, 4
"""Measurements of the held-out loss in a training, and before a split is judged."""
SPARSITY, MOST_SPARSITY = 3e-4, 2.0
"""L1 on a single weight, in nats, and the multiple of it that the pressure rises to at most."""
REWARD = 2.0
"""Weight of the masked share of all capacity, in nats."""
MASK_SHARE = 0.5
"""Share of the steps without interfaces, while modules are looked for."""
ALLOWANCE = 2.0
"""Held-out loss that the pressure may lead to, as a multiple of the reference."""
CHANCE_FLOOR = 0.05
"""Losses below this share of the untrained network's are as good as none: 5% of them is noise."""
SETTLING = 1 / 3
"""Share of the way to a loss of the plain phase that `settled` goes; of all beyond the slack, none:
so that no single probe moves the reference."""
UNSETTLED = 0.01
"""Share of the untrained network's loss that is forgiven while the learning rate is still high."""
SLOW = 0.9
"""A trial goes on beyond its end while its excess falls to less than this share in two probes."""
LAST_HOPE = 1.5
"""Multiple of `under_pressure` up to which it goes on like this."""
EASED = 0.3
"""What the pressure falls to once the modules in force work alone."""
LEARNT = 0.95
"""A network with more than this share of the untrained one's loss has nothing to take apart."""


@dataclass(frozen=True)
class BudgetSchedule:
    """What the budget is, and how long the training. The defaults are for every task.

    Attributes:
        steps: optimiser steps of the whole training.
        budget: how much worse the held-out loss may be than the plain twin's, as a share.
        reference: the plain twin's held-out loss, where it is known; else the lowest that the
            plain phase reaches, or where its loss has settled since, if that is no longer within
            the budget of the lowest: a network that overfits does not end at its lowest loss.
        press_every: steps between those that feel the pressure and the reward, which is then as
            many times as strong; more than 1 saves some of the overhead.
        min_separation: least separation of the clearest split for the first to be made (see
            `separations`).
        undo: whether a network without modules goes back to its weights at the end of the plain
            phase, and trains on without any pressure.
        seed: seed of the choice of masked steps.
    """

    steps: int = 4000
    budget: float = 0.05
    reference: float | None = None
    press_every: int = 2
    min_separation: float = 0.45
    undo: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(1, self, "steps", "press_every")
        require_at_least(0, self, "budget")

    @property
    def probe_every(self) -> int:
        """Steps between measurements of the held-out loss."""
        return max(1, self.steps // PROBES)

    @property
    def trial_steps(self) -> int:
        """Steps before a split is judged; the reward for modules rises meanwhile."""
        return TRIAL_PROBES * self.probe_every

    @property
    def press_step(self) -> int:
        """First step under pressure, unless an output has to be waited for."""
        return self._first_step(PLAIN)

    @property
    def start(self) -> int:
        """First step at which modules are looked for."""
        return self._first_step(SPLIT)

    @property
    def refresh_every(self) -> int:
        """Steps between partitions that move."""
        return self.probe_every

    @property
    def release_step(self) -> int:
        """The step at which interfaces are removed, and from which nothing presses."""
        return self._first_step(RELEASE)

    def _first_step(self, share: float) -> int:
        """First step with a probe after a share of the training."""
        return self.probe_every * math.ceil(share * self.steps / self.probe_every)


@dataclass
class BudgetState(State):
    """What has been measured and decided so far; losses are held-out ones.

    Attributes:
        press_from: first step under pressure, which waits for outputs that are not learnt yet.
        chance: loss of the untrained network.
        reference: loss of the plain twin, known or estimated.
        loss: the latest loss.
        masked_loss: the latest loss without interfaces.
        before: loss just before the modules in force were made.
        clear: separation of the clearest split at the first refresh that made one; 0 before.
        made: step at which the trial of the modules in force began.
        excess: by how much `masked_loss` was beyond what is allowed, at the last probe.
        excess_before: the same, a probe earlier.
        excess_earlier: and another one.
        lowest: the lowest loss of the plain phase.
        settled: where the loss of the plain phase has gone since then.
        released: the lowest loss since the release.
        given_up: why there is one module for good, a number of `Why`.
    """

    press_from: int = 0
    chance: float = math.inf
    reference: float = math.inf
    loss: float = math.inf
    masked_loss: float = math.inf
    before: float = 0.0
    clear: float = 0.0
    made: int = 0
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


class Budget(Controller):
    """Decides what a budget allows and how hard it presses, by what was measured of a run.

    Args:
        schedule: what is set beforehand.
        state: what is known of the run, if it has begun.
    """

    schedule: BudgetSchedule
    state: BudgetState

    def __init__(self, schedule: BudgetSchedule, state: BudgetState | None = None):
        known = math.inf if schedule.reference is None else schedule.reference
        begun = BudgetState(press_from=schedule.press_step, reference=known)
        super().__init__(schedule, begun if state is None else state)

    @property
    def floor(self) -> float:
        """Losses below this are as good as none."""
        return CHANCE_FLOOR * self.state.chance

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

    def under_pressure(self) -> float:
        """What the loss may be while something presses; the release gives it back."""
        return ALLOWANCE * max(self.state.reference, self.floor)

    def at_last(self) -> float:
        """What the loss may be once interfaces are gone."""
        return self.state.reference + self.slack(self.state.reference)

    @property
    def releasing(self) -> bool:
        """Whether the release has begun, or no module is left to be found."""
        return self.state.step >= self.schedule.release_step or self.state.given_up > 0

    @property
    def is_release(self) -> bool:
        """Whether interfaces are removed at this step."""
        return self.state.step == self.schedule.release_step

    @property
    def has_learnt(self) -> bool:
        """Whether there is anything to take apart."""
        return self.state.loss < LEARNT * self.state.chance

    @property
    def trial_is_over(self) -> bool:
        """Whether the modules in force can be judged."""
        return self.state.step - self.state.made >= self.schedule.trial_steps

    @property
    def masking_is_free(self) -> bool:
        """Whether the network without interfaces does as well as the whole."""
        return self.allows(self.state.masked_loss, self.state.loss)

    @property
    def may_split(self) -> bool:
        """Whether modules in force have passed, and time is left for a trial of further ones."""
        last = self.schedule.release_step - self.schedule.trial_steps
        return self.state.step <= last and self.allows(self.state.masked_loss, self.state.before)

    def masks(self) -> bool:
        """Whether this step runs without interfaces, if there are any."""
        return not self.releasing and self.is_drawn(MASK_SHARE)

    def presses(self) -> bool:
        """Whether this step feels a pressure."""
        started = self.state.step >= self.state.press_from
        return started and not self.releasing and self.state.step % self.schedule.press_every == 0

    def sparsity(self) -> float:
        """L1 on a single weight, at a step that presses."""
        since = self.state.step - self.state.press_from
        rise = min(1.0, since / (2 * self.schedule.probe_every))
        return self.schedule.press_every * rise * self.state.pressure * SPARSITY

    def reward(self) -> float:
        """Weight of the masked share of all capacity, at a step that presses."""
        since = self.state.step - self.state.made + 1
        return self.schedule.press_every * REWARD * min(1.0, since / self.schedule.trial_steps)

    def follow_plain(self) -> None:
        """Estimates the plain twin's loss from those of the plain phase, of which one is new."""
        if self.schedule.reference is not None:
            return
        state = self.state
        if state.loss <= state.lowest:
            state.lowest = state.settled = state.loss
        slack = self.slack(state.lowest)
        state.settled += SETTLING * max(-slack, min(slack, state.loss - state.settled))
        left_behind = state.settled > state.lowest + slack
        state.reference = state.settled if left_behind else state.lowest

    def adapt_pressure(self, modules: int) -> None:
        """Rises within the allowance until modules work alone, for which it is there."""
        state = self.state
        eased = BACK_OFF * state.pressure
        passed = self.trial_is_over and state.excess <= 0
        if modules > 1 and passed and self.masking_is_free:
            state.pressure = max(min(state.pressure, EASED), eased)
            return
        beyond = state.loss > self.under_pressure()
        state.pressure = min(eased if beyond else GROWTH * state.pressure, MOST_SPARSITY)

    def begin_trial(self) -> None:
        """Takes note of more modules in force than before."""
        state = self.state
        state.before, state.made = max(state.before, state.loss), state.step
        state.excess = state.excess_before = state.excess_earlier = math.inf

    def learns_late(self) -> bool:
        """Notices what is learnt after the first splits: it may ask for one of its own, at once."""
        state = self.state
        if self.releasing or state.loss >= state.before / 2:
            return False
        state.before = state.loss
        state.clear = min(state.clear, self.schedule.min_separation / MIN_CONTRAST)
        return True

    def refuses(self, masked_loss: float) -> bool:
        """Whether modules cost too much when masked, after their trial, and get no cheaper."""
        state = self.state
        state.masked_loss = masked_loss
        state.excess_earlier, state.excess_before = state.excess_before, state.excess
        state.excess = masked_loss - state.before - self.slack(state.before)
        if not self.trial_is_over or state.excess <= 0:
            return False
        if self.masking_is_free:
            state.pressure *= BACK_OFF  # it is to blame, not the splits
            return False
        beyond = masked_loss > LAST_HOPE * self.under_pressure()
        return beyond or state.excess > SLOW * state.excess_earlier

    @property
    def is_settling(self) -> bool:
        """Whether the release is not judged yet."""
        return self.state.step <= self.schedule.release_step + self.schedule.trial_steps

    def refuses_at_last(self, loss: float) -> bool:
        """Whether a network without interfaces is beyond its budget, a trial after the release.

        As the reference is the lowest of several losses, so is what is held against it.
        """
        state, settled = self.state, self.schedule.release_step + self.schedule.trial_steps
        state.loss = state.masked_loss = loss
        state.released = min(state.released, loss)
        return state.step == settled and state.released > self.at_last()

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
