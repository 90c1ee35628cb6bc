"""The cut-tree penalty within a capability budget: one number, and everything else adapts to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from partwise.loss.budget_control import Budget, BudgetSchedule, BudgetState, Why
from partwise.loss.budget_finder import BudgetFinder
from partwise.loss.constants import mean_inputs
from partwise.loss.finder import Find
from partwise.loss.idle import Run, idle_inputs, idle_wires, least_spread, reading
from partwise.loss.in_force import InForce
from partwise.loss.penalty import Penalty, Stateful
from partwise.loss.press import Pressure
from partwise.loss.way_back import WayBack

HeldOut = Callable[[Run], Tensor | float]
"""Held-out loss of a network, given the function that runs it."""

FOLLOW_EVERY = 10
"""Steps between calculations of what interfaces bring on average, while weights move."""
IDLE = 0.2
"""Share of the tolerance that inputs, or wires, may be worth together and still be cut."""
FLAT = 0.1
"""An output that varies less than this, as a share of the mean, is not learnt yet."""


class BudgetedPenalty(Penalty):
    """Sparsity and modules at the cost of at most a stated share of held-out loss.

    1. *Plain.* The network learns its task; its lowest held-out loss is the reference, unless it
       overfits (see `BudgetSchedule.reference`). This goes on, for as long as half of the steps,
       while an output is nearly the same for all samples.
    2. *Press.* An L1 pressure rises for as long as the loss stays within the allowance.
    3. *Split.* Every few steps a cut tree of weights and of co-activity (see `with_coactivity`)
       shows the modules; those that are clear are put in force: their interface is pressed, and in
       half of the steps the network runs without it, but for what it carries on average. A trial
       later, modules that cannot be masked within the budget are given up for good, and the
       weights go back to those of the plain phase. Else the pressure eases.
    4. *Release.* Interfaces are removed, inputs that carry nothing are disconnected, and the
       network trains on without either and without any pressure; the partition stands. A trial
       later, a network whose loss is not within the budget of the reference gives its modules up.

    Modules without inputs of their own must read others, and a few interfaces in one direction may
    account for all that the first split would cost (`reads`): these are never masked, and of
    their wires the release keeps those that carry something.

        penalty = BudgetedPenalty(model, lambda run: criterion(run(x_val), y_val), steps=4000)

    The plain twin is not trained. Its loss is estimated by the plain phase, which a constant
    learning rate leaves above the twin's final loss; pass `reference` where that matters.

    Args:
        model: any module that `unit_map` can read.
        held_out: held-out loss of a network, given the function that runs it; always the same
            samples.
        schedule: the budget and the steps; the keyword arguments override single fields.
        units: the model's unit map, where it was read already.
        find: what finds the partition, (n,) labels of a graph, in place of the cut tree.

    Attributes:
        way_back: the network at the end of the plain phase, while it may have to go back there.
    """

    capacity: Balanced
    finder: BudgetFinder
    controller: Budget

    def __init__(
        self,
        model: nn.Module,
        held_out: HeldOut,
        schedule: BudgetSchedule | None = None,
        *,
        units: UnitMap | None = None,
        find: Find | None = None,
        **fields: Any,
    ):
        schedule = replace(BudgetSchedule() if schedule is None else schedule, **fields)
        in_force = InForce(model, unit_map(model) if units is None else units)
        capacity, budget = Balanced(in_force), Budget(schedule)
        finder = BudgetFinder(in_force, capacity, budget, self.loss_of, find)
        super().__init__(in_force, capacity, finder, budget)
        self.held_out = held_out
        names = [block.parameter for block in self.units.blocks]
        self.weights = sum(model.get_parameter(name).numel() for name in names)
        self.way_back = WayBack()

    @property
    def state(self) -> BudgetState:
        """What has been measured and decided so far."""
        return self.controller.state

    @property
    def why_one(self) -> str:
        """Why no modules are held apart, in a sentence that the log has too.

        Empty where some are, and as long as some may be found.
        """
        return self.controller.why_one()

    @property
    def _is_apart(self) -> bool:
        """Whether the network has had no interfaces since the release."""
        return self.modules > 1 and self.steps_done > self.controller.schedule.release_step

    def loss_of(self, run: Run) -> float:
        """Held-out loss of what runs the network."""
        with evaluating(self.model), torch.no_grad():
            return float(self.held_out(run))

    def finish(self) -> None:
        """Removes what the last step of the optimiser left of interfaces; call it after that.

        The release ran without them throughout, so this is the network that was trained. Before
        the release, or where there is one module, nothing changes.
        """
        if self._is_apart:
            self.in_force.run.commit()

    def refresh(self) -> None:
        """Finds the partition anew from the model's current weights, unless it stands for good."""
        if self._is_apart or self.state.given_up:
            return
        before = self.modules
        self.state.clear = self.finder.refresh().clear
        if self.modules > before:
            self.controller.begin_trial()

    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        budget, schedule = self.controller, self.controller.schedule
        self.finish()  # what the optimiser made of interfaces is nothing to rely on
        if self.steps_done % schedule.probe_every == 0:
            self._probe()
        if self._is_refresh_due and budget.has_learnt:
            self.refresh()
        self.finder.activity = None  # of weights that this step changes
        if schedule.undo and self.steps_done == self.state.press_from:
            self.way_back.keep(self.model, optimizer)
        if budget.is_release:
            self._release()
        elif self.modules > 1 and not budget.releasing and self.steps_done % FOLLOW_EVERY == 0:
            self.in_force.follow()
        if self.state.given_up:
            self.way_back.take(self.model, optimizer)

    @property
    def _is_refresh_due(self) -> bool:
        """Whenever the finder says so, and last of all as the release begins."""
        budget = self.controller
        last = budget.is_release and not self.state.given_up
        return last or (self.steps_done >= self.finder.due and not budget.releasing)

    def _term(self) -> Tensor:
        """0 in the steps between those that press (see `press_every`)."""
        return self.capacity.pressed(self._pressure())

    def _pressure(self) -> Pressure:
        """What is asked of the weights at this step."""
        budget = self.controller
        if not budget.presses():
            return Pressure()
        weight = budget.sparsity() * self.weights
        if self.modules == 1:
            return Pressure(weight)
        return Pressure(weight, interface=budget.reward(), tables=self._shares())

    def _shares(self) -> NDArray[np.float64]:
        """(blocks, k, k): what masked capacity, unlike other, is as a share of all of it.

        The total is that of the last refresh: so neither shrinking all weights nor growing
        those inside small modules, as Newman's Q would have it, gains anything.
        """
        return self.in_force.derived(self._shares_of_masked)

    def _shares_of_masked(self) -> NDArray[np.float64]:
        now = self.in_force
        now.total = now.total or float(self.capacity.masses().sum().detach())
        share = (~np.eye(now.modules, dtype=bool) & ~now.reads) / now.total
        return np.stack([share.T if block.transposed else share for block in self.units.blocks])

    def _probe(self) -> None:
        budget, state = self.controller, self.state
        if self._is_apart:
            return self._judge_at_last()
        if state.given_up:
            return
        self._measure()
        if state.step == 0:
            state.chance = state.loss
        if state.step <= state.press_from:
            budget.follow_plain()
            return self._wait_for_outputs()
        if self.modules > 1:
            if budget.learns_late():
                self.finder.due = state.step
            if budget.refuses(self.loss_of(self.in_force.run)):
                self._give_up(Why.MASKING_COSTS)
        budget.adapt_pressure(self.modules)

    def _measure(self) -> None:
        """The loss now; while modules are looked for, with all that is seen on the same pass.

        That is what the weights read on average and, for a refresh, each unit's activity.
        """

        def measure() -> None:
            self.state.loss = self.loss_of(self.model)

        def measure_means() -> None:
            self.in_force.means = mean_inputs(self.model, self.units, measure)

        if self.steps_done < self.controller.schedule.start:
            measure()
        elif self._is_refresh_due and self.finder.find is None:
            self.finder.activity = unit_activity(self.model, self.units, measure_means)
        else:
            measure_means()

    def _wait_for_outputs(self) -> None:
        """Puts the pressure off, until the splits at most, while an output is all but constant.

        What is not learnt yet would not survive it.
        """
        state, schedule = self.state, self.controller.schedule
        if not state.press_from <= state.step < schedule.start:
            return
        if state.loss > self.controller.floor and least_spread(self.model, self.loss_of) < FLAT:
            state.press_from += schedule.probe_every

    def _judge_at_last(self) -> None:
        """A trial after the release, a network beyond its budget is better off without modules."""
        budget = self.controller
        if budget.is_settling and budget.refuses_at_last(self.loss_of(self.in_force.run)):
            self._give_up(Why.RELEASE_COSTS)

    def _release(self) -> None:
        """Interfaces are removed, and what is idle; biases take over what these brought."""
        if self.modules == 1:
            learnt = self.controller.has_learnt
            return self._give_up(Why.NOTHING_SHOWN if learnt else Why.NOTHING_LEARNT)
        now = self.in_force
        now.remove({}, now.means)
        used = torch.from_numpy(self.capacity.graph().degrees())
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
        return loss + IDLE * self.controller.tolerance(loss)

    def _give_up(self, why: Why) -> None:
        """One module for good: without any to gain, the network owes nothing to the pressure."""
        if self.state.given_up:
            return
        self.state.given_up = int(why)
        logging.getLogger("partwise").warning("No modules are held apart: %s", self.why_one)
        self.in_force.dissolve()

    def _parts(self) -> tuple[Stateful, ...]:
        return *super()._parts(), self.way_back
