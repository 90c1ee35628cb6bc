"""The cut-tree penalty within a capability budget: one number, and everything else adapts to it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph import UnitMap, unit_map
from partwise.graph.activity import evaluating
from partwise.graph.coactivity import unit_activity
from partwise.interventions.masks import between_modules
from partwise.loss.balanced import Balanced
from partwise.loss.budget_schedule import BudgetSchedule, BudgetState, Limits, Why
from partwise.loss.constants import mean_inputs
from partwise.loss.idle import Run, idle_inputs, idle_wires, least_spread, reading
from partwise.loss.partitions import Find, Found, PartitionSearch
from partwise.loss.penalty import Penalty, is_drawn
from partwise.loss.press import Pressure
from partwise.loss.refresh import RefreshClock, stands_still
from partwise.loss.way_back import WayBack

HeldOut = Callable[[Run], Tensor | float]
"""Held-out loss of a network, given the function that runs it."""

SLOW = 0.9
"""A trial goes on beyond its end while its excess falls to less than this share in two probes."""
LAST_HOPE = 1.5
"""Multiple of the allowed loss up to which a trial of two modules goes on like this: from more than
two the partition falls back to fewer, but after these there is nothing left."""
FOLLOW_EVERY = 10
"""Steps between calculations of what interfaces bring on average, while weights move."""
IDLE = 0.2
"""Share of the tolerance that inputs, or wires, may be worth together and still be cut."""
GROWTH, BACK_OFF = 1.1, 0.7
EASED = 0.3
"""What the pressure falls to, as a multiple, once the modules in force work alone."""
FLAT = 0.1
"""An output that varies less than this, as a share of the mean, is not learnt yet."""
LEARNT = 0.95
"""A network with more than this share of the untrained one's loss has nothing to take apart."""


class BudgetedPenalty(Penalty):
    """Sparsity and modules at the cost of at most a stated share of held-out loss.

    1. *Plain.* The network learns its task; its lowest held-out loss is the reference, unless it
       overfits (see `BudgetSchedule.reference`). This goes on, for as long as half of the steps,
       while an output is nearly the same for all samples.
    2. *Press.* An L1 pressure rises for as long as the loss stays within the allowance.
    3. *Split.* Every few steps a cut tree of weights and of co-activity (see `with_coactivity`)
       shows the modules; those that are clear are put in force: their interface is pressed, and in
       half of the steps the network runs without it, but for what it carries on average. A trial
       later, splits that cannot be masked within the budget are undone for good; where none is
       left, the weights go back to those of the plain phase. Where some are, the pressure eases.
    4. *Release.* Interfaces are removed, inputs that carry nothing are disconnected, and the
       network trains on without either and without any pressure; the partition stands. A trial
       later, a network whose loss is not within the budget of the reference gives its modules up.

    Modules without inputs of their own must read others, and a few interfaces in one direction may
    account for all that the first split would cost (`reads`): these are never masked, and of
    their wires the release keeps those that carry something.

        penalty = BudgetedPenalty(model, lambda run: criterion(run(x_val), y_val), steps=4000)
        for x, y in batches:
            run = penalty.step(optimizer)
            loss = criterion(run(x), y) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        penalty.finish()

    The plain twin is not trained. Its loss is estimated by the plain phase, which a constant
    learning rate leaves above the twin's final loss; pass `reference` where that matters.

    Args:
        model: any module that `unit_map` can read.
        held_out: held-out loss of a network, given the function that runs it; always the same
            samples.
        schedule: the budget and the phases; the keyword arguments override single fields.
        inputs: number of input features, where the first layer does not tell.
        units: the model's unit map, where it was read already.
        find: what finds the partition, (n,) labels of a graph, in place of the cut tree.

    Attributes:
        state: what has been measured and decided so far.
        way_back: the network at the end of the plain phase, while it may have to go back there.
    """

    def __init__(
        self,
        model: nn.Module,
        held_out: HeldOut,
        schedule: BudgetSchedule | None = None,
        *,
        inputs: int | None = None,
        units: UnitMap | None = None,
        find: Find | None = None,
        **changes: float | int | tuple[float, ...] | None,
    ):
        super().__init__(model, unit_map(model, inputs) if units is None else units)
        base = schedule if schedule is not None else BudgetSchedule()
        self.schedule = BudgetSchedule(**{**vars(base), **changes})
        self.held_out, self.find = held_out, find
        self.balanced = Balanced(self.in_force)
        self.clock = RefreshClock(self.schedule.probe_every, self.schedule.split_step)
        weights = dict(model.named_parameters())
        self.weights = sum(weights[block.parameter].numel() for block in self.units.blocks)
        known = self.schedule.reference
        self.state = BudgetState(
            press_from=self.schedule.press_step, reference=math.inf if known is None else known
        )
        self.way_back: WayBack | None = None
        self._activity: NDArray[np.float32] | None = None

    def interface_frac(self) -> float:
        """Share of all capacity that joins two different modules of the partition in force."""
        return self.balanced.interface_frac()

    @property
    def limits(self) -> Limits:
        """What losses the budget allows now."""
        return Limits(self.schedule, self.state)

    @property
    def why_one(self) -> str:
        """Why no modules are held apart, in a sentence that the log has too.

        Empty where some are, and as long as some may be found.
        """
        return self.limits.why_one()

    @property
    def releasing(self) -> bool:
        """Whether the release has begun, or no module is left to be found."""
        return self.state.step >= self.schedule.release_step or self.state.max_modules == 1

    @property
    def _is_release(self) -> bool:
        return self.state.step == self.schedule.release_step

    @property
    def _is_apart(self) -> bool:
        """Whether the network has had no interfaces since the release."""
        return self.modules > 1 and self.state.step > self.schedule.release_step

    @property
    def _has_learnt(self) -> bool:
        return self.state.loss < LEARNT * self.state.chance

    def loss_of(self, run: Run) -> float:
        """Held-out loss of what runs the network."""
        with evaluating(self.model), torch.no_grad():
            return float(self.held_out(run))

    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        if self._is_apart:  # what the optimiser made of interfaces is nothing to rely on
            self.in_force.run.commit()
        if self.state.step % self.schedule.probe_every == 0:
            self._probe()
        if self._is_refresh_due and self._has_learnt:
            self.refresh()
        self._activity = None  # of weights that this step changes
        if self.schedule.undo and self.state.step == self.state.press_from:
            self.way_back = WayBack.of(self.model, optimizer)
        if self._is_release:
            self._release()
        elif self.modules > 1 and not self.releasing and self.state.step % FOLLOW_EVERY == 0:
            self.in_force.follow()
        if self.state.given_up and self.way_back is not None:
            self.way_back.take(self.model, optimizer)
            self.way_back = None

    def _runner(self) -> Callable[..., Any]:
        return self.in_force.run if self._masks_this_step() else self.model

    def _masks_this_step(self) -> bool:
        if self.modules == 1 or self.releasing:
            return False
        return is_drawn(self.schedule.seed, self.state.step, self.schedule.mask_share)

    def _end(self) -> Tensor:
        """0 in the steps between those that press (see `press_every`)."""
        pressure = self._pressure()
        self.state.step += 1
        return self.balanced.pressed(pressure)

    def _pressure(self) -> Pressure:
        """What is asked of the weights at this step."""
        state, schedule = self.state, self.schedule
        since, every = state.step - state.press_from, schedule.press_every
        if since < 0 or self.releasing or state.step % every:
            return Pressure()
        rise = min(1.0, since / (2 * schedule.probe_every))
        weight = every * rise * state.pressure * schedule.pressure * self.weights
        if self.modules == 1:
            return Pressure(weight)
        rise = min(1.0, (state.step - state.made + 1) / schedule.trial_steps)
        strength = every * schedule.strength * rise
        return Pressure(weight, interface=strength, tables=self._shares())

    def interface(self) -> Tensor:
        """Share of capacity that is masked, a scalar whose gradient is on these weights alone.

        The total is that of the last refresh: so neither shrinking all weights nor growing
        those inside small modules, as Newman's Q would have it, gains anything.
        """
        return self.balanced.pressed(Pressure(interface=1.0, tables=self._shares()))

    def _shares(self) -> NDArray[np.float64]:
        """(blocks, k, k): what masked capacity, unlike other, is as a share of all of it."""
        return self.in_force.derived(self._shares_of_masked)

    def _shares_of_masked(self) -> NDArray[np.float64]:
        now = self.in_force
        now.total = now.total or float(self.balanced.masses().sum().detach())
        share = (~np.eye(now.modules, dtype=bool) & ~now.reads) / now.total
        return np.stack([share.T if block.transposed else share for block in self.units.blocks])

    def finish(self) -> None:
        """Removes what the last step of the optimiser left of interfaces; call it after that.

        The release ran without them throughout, so this is the network that was trained. Before
        the release, or where there is one module, nothing changes.
        """
        if self._is_apart:
            self.in_force.run.commit()

    def _release(self) -> None:
        """Interfaces are removed, and what is idle; biases take over what these brought."""
        if self.modules == 1:
            return self._give_up(Why.NOTHING_SHOWN if self._has_learnt else Why.NOTHING_LEARNT)
        now = self.in_force
        now.settle()
        used = torch.from_numpy(self.balanced.graph().degrees())
        idle = idle_inputs(self.units, used, now.run, self.loss_of, self._next_to_nothing())
        self._remove(reading(self.model, self.units, idle))
        if now.reads.any():
            crossing = between_modules(self.model, self.units, now.labels, now.run.kept)
            most = self._next_to_nothing()
            self._remove(idle_wires(self.units, crossing, now.run, self.loss_of, most))
        now.run.commit()

    def _remove(self, entries: Mapping[str, Tensor]) -> None:
        run = self.in_force.run
        means = mean_inputs(self.model, self.units, lambda: self.loss_of(run))
        self.in_force.remove(entries, means)

    def _next_to_nothing(self) -> float:
        """The loss that what is idle may lead to together."""
        loss = self.loss_of(self.in_force.run)
        return loss + IDLE * self.limits.tolerance(loss)

    @property
    def _is_refresh_due(self) -> bool:
        """Whenever the clock says so, and last of all as the release begins."""
        state = self.state
        last = self._is_release and state.max_modules > 1
        return last or (state.step >= self.clock.due and not self.releasing)

    def _probe(self) -> None:
        state, schedule = self.state, self.schedule
        if self._is_apart:
            return self._judge_at_last()
        if state.max_modules == 1:
            return
        self._measure()
        if state.step == 0:
            state.chance = state.loss
        if state.step <= state.press_from:
            if schedule.reference is None:
                self.limits.follow_plain()
            return self._wait_for_outputs()
        if self.modules > 1:
            self._notice_late_learning()
            self._judge()
        state.pressure = self._next_pressure()

    def _wait_for_outputs(self) -> None:
        """Puts the pressure off, until the splits at most, while an output is all but constant.

        What is not learnt yet would not survive it.
        """
        state, schedule = self.state, self.schedule
        if not state.press_from <= state.step < schedule.split_step:
            return
        if state.loss > self.limits.floor and least_spread(self.model, self.loss_of) < FLAT:
            state.press_from += schedule.probe_every

    def _next_pressure(self) -> float:
        """Rises within the allowance until modules work alone, for which it is there."""
        state = self.state
        eased = BACK_OFF * state.pressure
        passed = self._trial_is_over and state.excess <= 0
        if self.modules > 1 and passed and self._masking_is_free:
            return max(min(state.pressure, EASED), eased)
        beyond = state.loss > self.limits.under_pressure()
        return min(eased if beyond else GROWTH * state.pressure, self.schedule.max_pressure)

    @property
    def _trial_is_over(self) -> bool:
        return self.state.step - self.state.made >= self.schedule.trial_steps

    @property
    def _masking_is_free(self) -> bool:
        """Whether the network without interfaces does as well as the whole."""
        return self.limits.allows(self.state.masked_loss, self.state.loss)

    def _measure(self) -> None:
        """The loss now; while modules are looked for, with all that is seen on the same pass.

        That is what the weights read on average and, for a refresh, each unit's activity.
        """

        def measure() -> None:
            self.state.loss = self.loss_of(self.model)

        def measure_means() -> None:
            self.in_force.means = mean_inputs(self.model, self.units, measure)

        if self.state.step < self.schedule.split_step:
            measure()
        elif self._is_refresh_due and self.find is None and any(self.schedule.coactivity):
            self._activity = unit_activity(self.model, self.units, measure_means)
        else:
            measure_means()

    def _notice_late_learning(self) -> None:
        """What is learnt after the first splits may ask for one of its own, at once."""
        state, schedule = self.state, self.schedule
        if state.loss < state.before / 2 and not self.releasing:
            state.before, self.clock.due = state.loss, state.step
            state.clear = min(state.clear, schedule.min_separation / schedule.min_contrast)

    def _judge(self) -> None:
        """Undoes splits that cost too much when masked, unless they get cheaper."""
        state = self.state
        state.masked_loss = self.loss_of(self.in_force.run)
        state.excess_earlier, state.excess_before = state.excess_before, state.excess
        state.excess = self.limits.excess(state.masked_loss)
        if not self._trial_is_over or state.excess <= 0:
            return
        if self._masking_is_free:
            state.pressure *= BACK_OFF  # it is to blame, not the splits
            return
        most = (LAST_HOPE if self.modules == 2 else 1.0) * self.limits.under_pressure()
        if state.masked_loss > most or state.excess > SLOW * state.excess_earlier:
            self._refuse()

    def _judge_at_last(self) -> None:
        """A trial after the release, a network beyond its budget is better off without modules.

        As the reference is the lowest of several losses, so is what is held against it.
        """
        state, schedule = self.state, self.schedule
        settled = schedule.release_step + schedule.trial_steps
        if state.step > settled:
            return
        state.loss = state.masked_loss = self.loss_of(self.in_force.run)
        state.released = min(state.released, state.loss)
        if state.step == settled and state.released > self.limits.at_last():
            self._give_up(Why.RELEASE_COSTS)

    def _refuse(self) -> None:
        """Falls back to the most modules, among mergers, with half of the excess or none.

        They get a trial of their own.
        """
        most = max(0.0, self.state.excess / 2)
        coarser = self._search().fallback(self.balanced.graph(), most)
        if coarser is None:
            return self._give_up(Why.MASKING_COSTS)
        self.state.max_modules = coarser.partition.modules
        self._begin_trial()
        self.in_force.put(coarser.partition, coarser.reads)

    def _give_up(self, why: Why) -> None:
        """One module for good: without any to gain, the network owes nothing to the pressure."""
        if self.state.max_modules == 1:
            return
        self.state.max_modules, self.state.given_up = 1, int(why)
        logging.getLogger("partwise").warning("No modules are held apart: %s", self.why_one)
        self.in_force.dissolve()

    def refresh(self) -> None:
        """Finds the partition anew from the model's current weights, unless it stands for good."""
        if self._is_apart or self.state.max_modules == 1:
            return
        state, graph, before = self.state, self.balanced.graph(), self.partition
        found: Found = self._search().partition(graph)
        self.in_force.put(found.partition, found.reads)
        state.clear = found.clear
        if self.modules > before.modules:
            state.before = max(state.before, state.loss)
            self._begin_trial()
        after = self.partition
        still = after.modules > 1 and stands_still(before.labels, after.labels, graph.degrees())
        self.clock.refreshed(state.step, still)

    def _search(self) -> PartitionSearch:
        return PartitionSearch(self.in_force, self.loss_of, self.limits, self.find, self._activity)

    def _begin_trial(self) -> None:
        state = self.state
        state.made = state.step
        state.excess = state.excess_before = state.excess_earlier = math.inf

    def _own_state(self) -> dict[str, Tensor]:
        return {
            "gauge": self.balanced.gauge,
            **self.clock.state_dict(),
            **{f"budget.{name}": _exact(value) for name, value in asdict(self.state).items()},
            **({} if self.way_back is None else self.way_back.state_dict()),
        }

    def _take_state(self, state: Mapping[str, Tensor]) -> None:
        self.balanced.gauge = state["gauge"].cpu()
        self.clock.load_state_dict(state)
        kinds = {name: type(value) for name, value in asdict(BudgetState()).items()}
        numbers = {name: kind(state[f"budget.{name}"].item()) for name, kind in kinds.items()}
        self.state = BudgetState(**numbers)
        self.way_back = WayBack.from_state(state, self.model)


def _exact(value: float | int) -> Tensor:
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
