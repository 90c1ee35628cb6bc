"""The cut-tree penalty within a capability budget: one number, and everything else adapts to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from partwise.graph import UnitGraph, UnitMap
from partwise.graph.coactivity import unit_activity, with_coactivity
from partwise.loss.budget_schedule import BudgetSchedule, BudgetState
from partwise.loss.constants import carried, commit, mean_inputs
from partwise.loss.idle import idle_inputs, idle_wires
from partwise.loss.levels import Levels
from partwise.loss.masking import MaskedRun, between_modules, factors, inside_modules, wide
from partwise.loss.penalty import MOST_EDGES, CutTreePenalty
from partwise.loss.press import Pressure
from partwise.loss.reads import Reads, carried_over, opened
from partwise.loss.refresh import RefreshClock, stands_still
from partwise.loss.resuming import check_units, is_drawn
from partwise.loss.roles import holds_apart, reads_of, without_idle
from partwise.modules import Hierarchy, module_masses, search_modules
from partwise.modules.hierarchy import by_volume
from partwise.modules.splitting import merge_order, merged

Run = Callable[..., Tensor]
HeldOut = Callable[[Run], Tensor | float]
"""Held-out loss of a network, given the function that runs it."""


TRIAL_PROBES = 4
"""Probes before a split is judged; the reward for modules and the pressure ramp up meanwhile."""
CHANCE_FLOOR = 0.05
"""Losses below this share of the untrained network's are as good as none: 5% of them is noise."""
UNSETTLED = 0.01
"""Share of the untrained network's loss that is forgiven while the learning rate is still high."""
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
LEARNT = 0.95
"""A network with more than this share of the untrained one's loss has nothing to take apart."""


class BudgetedPenalty:
    """Sparsity and modules at the cost of at most a stated share of held-out loss.

    1. *Plain.* The network learns its task; its lowest held-out loss is the reference.
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
            loss = criterion(penalty.run(x), y) + penalty()
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
    """

    def __init__(
        self,
        model: nn.Module,
        held_out: HeldOut,
        schedule: BudgetSchedule | None = None,
        *,
        inputs: int | None = None,
        units: UnitMap | None = None,
        find: Callable[[UnitGraph], NDArray[np.int64]] | None = None,
        **changes: float | int | None,
    ):
        base = schedule if schedule is not None else BudgetSchedule()
        self.schedule = BudgetSchedule(**{**vars(base), **changes})
        self.model = model
        self.held_out = held_out
        self.find = find
        self.partition = CutTreePenalty(model, inputs=inputs, units=units, strength=0.0)
        self.units = self.partition.units
        weights = dict(model.named_parameters())
        self.weights = sum(weights[block.parameter].numel() for block in self.units.blocks)
        known = self.schedule.reference
        self.state = BudgetState(
            reference=math.inf if known is None else known,
            refresh_due=self.schedule.split_step,
        )
        self.plain = torch.zeros(0)
        self.reads = np.zeros((1, 1), bool)
        self.cut: dict[str, Tensor] = {}
        self.means: dict[str, Tensor] = {}
        self.constants: dict[str, Tensor] = {}
        self._activity: NDArray[np.float32] | None = None
        self._masked: MaskedRun | None = None
        self._crossing: NDArray[np.float64] | None = None

    @property
    def modules(self) -> int:
        """Number of modules in the partition now in force."""
        return self.partition.modules

    @property
    def labels(self) -> Tensor:
        """(n,) module of each unit."""
        return self.partition.labels

    def interface_frac(self) -> float:
        """Share of all capacity that joins two different modules of the partition in force."""
        return self.partition.interface_frac()

    @property
    def releasing(self) -> bool:
        """Whether the release has begun, or no module is left to be found."""
        return self.state.step >= self.schedule.release_step or self.state.most == 1

    @property
    def _is_apart(self) -> bool:
        """Whether the network has had no interfaces since the release."""
        return self.modules > 1 and self.state.step > self.schedule.release_step

    def run(self, *inputs: Tensor) -> Tensor:
        """The model's output; in a share of the steps without interfaces.

        After the release they are removed from the model itself, before it runs: what the optimiser
        made of them since the last step is nothing that the network may use.
        """
        if self._is_apart:
            self._isolated.commit()
        elif self._masks_this_step():
            return self._isolated(*inputs)
        output: Tensor = self.model(*inputs)
        return output

    def __call__(self) -> Tensor:
        """Sparsity pressure and reward for modules, a scalar; advances by one step.

        0 in the steps between those that press (see `press_every`).
        """
        state, schedule = self.state, self.schedule
        if state.step % schedule.probe_every == 0:
            self._probe()
        if self._is_refresh_due and self._has_learnt:
            self.refresh()
        self._activity = None  # of weights that the next step changes
        self._keep_a_way_back()
        self._settle_constants()
        pressure = self._pressure()
        state.step += 1
        return self.partition.pressed(pressure)

    def _settle_constants(self) -> None:
        """Follows what interfaces bring on average; at the release, biases take it over."""
        if self.modules > 1 and self._is_release:
            commit(self.model, self._isolated.kept, self.means)
            self.means, self.constants = {}, {}
            self._drop_idle()
        elif self.modules > 1 and not self.releasing and self.state.step % FOLLOW_EVERY == 0:
            self.constants = carried(self.model, self._isolated.kept, self.means)

    def _drop_idle(self) -> None:
        """Disconnects inputs, then wires between modules, that carry next to nothing."""
        used = torch.from_numpy(self._graph().degrees())
        idle = idle_inputs(self.units, used, self._isolated, self._loss_of, self._next_to_nothing())
        plain = [block for block in self.units.blocks if not block.transposed]
        weights = [self.model.get_parameter(block.parameter) for block in plain]
        pairs = zip(plain, weights, strict=True)
        self._cut({block.parameter: wide(idle[block.columns], like) for block, like in pairs})
        if self.reads.any():
            crossing = between_modules(self.model, self.units, self.labels, self._isolated.kept)
            most = self._next_to_nothing()
            self._cut(idle_wires(self.units, crossing, self._isolated, self._loss_of, most))

    def _next_to_nothing(self) -> float:
        """The loss that what is idle may lead to together."""
        loss = self._loss_of(self._isolated)
        return loss + IDLE * self.tolerance(loss)

    def _cut(self, entries: Mapping[str, Tensor]) -> None:
        """Removes weights for good; what they bring on average goes into the biases."""
        means = mean_inputs(self.model, self.units, lambda: self._loss_of(self._isolated))
        for name, cut in entries.items():
            self.cut[name] = self.cut.get(name, False) | cut.cpu()
        self._masked = None
        commit(self.model, self._isolated.kept, means)

    @property
    def _is_refresh_due(self) -> bool:
        """Whenever the clock says so, and last of all as the release begins."""
        state = self.state
        last = self._is_release and state.most > 1
        return last or (state.step >= state.refresh_due and not self.releasing)

    @property
    def _is_release(self) -> bool:
        return self.state.step == self.schedule.release_step

    def _pressure(self) -> Pressure:
        """What is asked of the weights at this step."""
        state, schedule = self.state, self.schedule
        since, every = state.step - schedule.press_step, schedule.press_every
        if since < 0 or self.releasing or state.step % every:
            return Pressure()
        rise = min(1.0, since / (2 * schedule.probe_every))
        weight = every * rise * state.pressure * schedule.pressure * self.weights
        if self.modules == 1:
            return Pressure(weight)
        rise = min(1.0, (state.step - state.made + 1) / self._trial_steps)
        strength = every * schedule.strength * rise
        return Pressure(weight, interface=strength, tables=self._tables())

    def finish(self) -> None:
        """Removes what the last step of the optimiser left of interfaces; call it after that.

        The release ran without them throughout, so this is the network that was trained. Before
        the release, or where there is one module, nothing changes.
        """
        if self._is_apart:
            self._isolated.commit()

    def interface(self) -> Tensor:
        """Share of capacity that is masked, a scalar whose gradient is on these weights alone.

        The total is that of the last refresh: so neither shrinking all weights nor growing
        those inside small modules, as Newman's Q would have it, gains anything.
        """
        return self.partition.pressed(Pressure(interface=1.0, tables=self._tables()))

    def _tables(self) -> NDArray[np.float64]:
        """(blocks, k, k): what masked capacity, unlike other, is as a share of all of it."""
        if self._crossing is None:
            masked = ~np.eye(self.modules, dtype=bool) & ~self.reads
            self.state.total = self.state.total or float(self.partition.masses().sum().detach())
            share = masked / self.state.total
            rows_read = [block.transposed for block in self.units.blocks]
            self._crossing = np.stack([share.T if by_row else share for by_row in rows_read])
        return self._crossing

    @property
    def _has_learnt(self) -> bool:
        return self.state.loss < LEARNT * self.state.chance

    def tolerance(self, loss: float) -> float:
        """How much loss the budget allows on top of a loss."""
        return self.schedule.budget * max(loss, CHANCE_FLOOR * self.state.chance)

    def _probe(self) -> None:
        state, schedule = self.state, self.schedule
        if self._is_apart:
            return self._judge_at_last()
        if state.most == 1:
            return
        self._measure()
        if state.step == 0:
            state.chance = state.loss
        if state.step <= schedule.press_step:
            if schedule.reference is None:
                state.reference = min(state.reference, state.loss)
            return
        if self.modules > 1:
            self._notice_late_learning()
            self._judge()
        state.pressure = self._next_pressure()

    def _next_pressure(self) -> float:
        """Rises within the allowance until modules work alone, for which it is there."""
        state = self.state
        eased = BACK_OFF * state.pressure
        passed = self._trial_is_over and state.excess <= 0
        if self.modules > 1 and passed and self._masking_is_free:
            return max(min(state.pressure, EASED), eased)
        beyond = state.loss > self._allowed()
        return min(eased if beyond else GROWTH * state.pressure, self.schedule.max_pressure)

    @property
    def _trial_steps(self) -> int:
        return TRIAL_PROBES * self.schedule.probe_every

    @property
    def _trial_is_over(self) -> bool:
        return self.state.step - self.state.made >= self._trial_steps

    @property
    def _masking_is_free(self) -> bool:
        """Whether the network without interfaces does as well as the whole."""
        return self.state.masked_loss <= self.state.loss + self.tolerance(self.state.loss)

    def _measure(self) -> None:
        """The loss now; while modules are looked for, with all that is seen on the same pass.

        That is what the weights read on average and, for a refresh, each unit's activity.
        """

        def measure() -> None:
            self.state.loss = self._loss_of(self.model)

        def measure_means() -> None:
            self.means = mean_inputs(self.model, self.units, measure)

        if self.state.step < self.schedule.split_step:
            measure()
        elif self._is_refresh_due and self._wants_activity:
            self._activity = unit_activity(self.model, self.units, measure_means)
        else:
            measure_means()

    def _notice_late_learning(self) -> None:
        """What is learnt after the first splits may ask for one of its own, at once."""
        state, schedule = self.state, self.schedule
        if state.loss < state.before / 2 and not self.releasing:
            state.before, state.refresh_due = state.loss, state.step
            state.clear = min(state.clear, schedule.min_separation / schedule.min_contrast)

    def _allowed(self) -> float:
        floor = CHANCE_FLOOR * self.state.chance
        return self.schedule.allowance * max(self.state.reference, floor)

    def _judge(self) -> None:
        """Undoes splits that cost too much when masked, unless they get cheaper."""
        state = self.state
        state.masked_loss = self._loss_of(self._isolated)
        state.excess_earlier, state.excess_before = state.excess_before, state.excess
        state.excess = self._excess(state.masked_loss)
        if not self._trial_is_over or state.excess <= 0:
            return
        if self._masking_is_free:
            state.pressure *= BACK_OFF  # it is to blame, not the splits
            return
        most = (LAST_HOPE if self.modules == 2 else 1.0) * self._allowed()
        if state.masked_loss > most or state.excess > SLOW * state.excess_earlier:
            self._refuse()

    def _judge_at_last(self) -> None:
        """A trial after the release, a network beyond its budget is better off without modules."""
        state, schedule = self.state, self.schedule
        settled = schedule.release_step + self._trial_steps
        if state.step - schedule.probe_every < settled <= state.step:
            state.loss = state.masked_loss = self._loss_of(self._isolated)
            if state.loss > state.reference + self._slack(state.reference):
                self._give_up()

    def _excess(self, masked_loss: float) -> float:
        """Loss without the interfaces, beyond what they may cost on top of the loss before them."""
        return masked_loss - self.state.before - self._slack(self.state.before)

    def _slack(self, loss: float) -> float:
        """`tolerance` of a loss that still falls."""
        return self.tolerance(loss) + UNSETTLED * self.state.chance

    def _refuse(self) -> None:
        """Falls back to the most modules, among mergers, with half of the excess or none.

        They get a trial of their own.
        """
        graph, labels = self._graph(), self.labels.numpy()
        merges = merge_order(module_masses(graph, labels))
        for undone in range(1, len(merges)):
            coarser = by_volume(graph, merged(labels, merges[:undone]))
            if self._excess(self._masked_loss(graph, coarser)) <= max(0, self.state.excess / 2):
                self.state.most = self.modules - undone
                self._begin_trial()
                return self._put_in_force(coarser, self._reads_of(graph, coarser))
        self._give_up()

    def _keep_a_way_back(self) -> None:
        state, schedule = self.state, self.schedule
        if schedule.undo and state.step == schedule.press_step:
            self.plain = parameters_to_vector(self.model.parameters()).detach().clone()
        if self._is_release and self.modules == 1:
            self._give_up()

    @torch.no_grad()
    def _give_up(self) -> None:
        """One module for good: without any to gain, the network owes nothing to the pressure."""
        if self.state.most == 1:
            return
        self.state.most = 1
        self._isolate(torch.zeros_like(self.labels), np.zeros((1, 1), bool))
        self.cut, self.means, self.constants = {}, {}, {}
        if len(self.plain):
            vector_to_parameters(self.plain, self.model.parameters())

    def _masked_loss(self, graph: UnitGraph, labels: NDArray[np.int64]) -> float:
        """Held-out loss without the interfaces of a partition that is not in force."""
        return self._loss_reading(self._reads_of(graph, labels), labels)

    def _loss_reading(self, reads: Reads, labels: NDArray[np.int64]) -> float:
        """Held-out loss of modules that read nothing but what they may."""
        may = torch.as_tensor(reads)
        kept = inside_modules(self.model, self.units, torch.as_tensor(labels), reads=may)
        constants = carried(self.model, kept, self.means)
        return self._loss_of(MaskedRun(self.model, kept, constants))

    def _graph(self) -> UnitGraph:
        """The graph of the weights, in a gauge that partitions are put in force with."""
        self.partition.gauge = self._gauge()
        return self.units.graph(self.model, self.partition.gauge, MOST_EDGES)

    def _gauge(self) -> Tensor:
        start = self.partition.gauge
        return self.units.gauge(self.model, start=start, rounds=20, tolerance=1e-6)

    def refresh(self) -> None:
        """Finds the partition anew from the model's current weights."""
        state, graph = self.state, self._graph()
        before, modules = self.labels.numpy(), self.modules
        found, reads = self._partition(graph)
        if self.reads.any() and found.max() < modules and self._costs_more(found, reads):
            found, reads = before, self.reads
        self._put_in_force(found, reads)
        if self.modules > modules:
            state.before = max(state.before, state.loss)
            self._begin_trial()
        clock = RefreshClock(self.schedule.probe_every, state.refresh_due, state.refresh_interval)
        still = self.modules > 1 and stands_still(before, found, graph.degrees())
        clock.refreshed(state.step, still)
        state.refresh_due, state.refresh_interval = clock.due, clock.interval

    def _partition(self, graph: UnitGraph) -> tuple[NDArray[np.int64], Reads]:
        """The modules that a graph shows, and what they may read."""
        found = self._found(graph)
        reads = self._reads_of(graph, found)
        if self.modules == 1:
            most = self.state.loss + self._slack(self.state.loss)
            reads = opened(reads, lambda more: self._loss_reading(more, found), most)
        if not reads.any():
            found = without_idle(self.units, graph, found)
            reads = self._reads_of(graph, found)
        if not holds_apart(self.units, graph, found):
            return np.zeros_like(found), np.zeros((1, 1), bool)
        return found, reads

    def _costs_more(self, labels: NDArray[np.int64], reads: Reads) -> bool:
        """Whether masking costs more than with the modules in force, beyond the tolerance."""
        loss = self._loss_of(self._isolated)
        return self._loss_reading(reads, labels) > loss + self.tolerance(loss)

    def _begin_trial(self) -> None:
        state = self.state
        state.made = state.step
        state.excess = state.excess_before = state.excess_earlier = math.inf

    @property
    def _may_split(self) -> bool:
        """Whether modules in force have passed, and time is left for a trial of further ones."""
        state, schedule = self.state, self.schedule
        last = schedule.release_step - self._trial_steps
        allowed = state.before + self.tolerance(state.before)
        return self.modules == 1 or (state.step <= last and state.masked_loss <= allowed)

    def _found(self, graph: UnitGraph) -> NDArray[np.int64]:
        """The partition that the graph shows, with no more modules than have not been refused."""
        if self.find is not None:
            labels = self.find(graph)
            merges = merge_order(module_masses(graph, labels))
            return by_volume(graph, merged(labels, merges[: len(merges) + 1 - self.state.most]))
        views = self._views(graph)
        evidence = next(views)
        nest = self._nest(evidence)
        mass = module_masses(evidence, nest.pieces)
        levels = Levels(
            mass, nest.merges, lambda k: self._masked_loss(graph, nest.labels_at(k)), self.schedule
        )
        modules = self._level(levels)
        found = [nest.labels_at(modules)]
        if modules > self.modules == 1:
            nests = (self._nest(evidence) for evidence in views)
            found += [nest.labels_at(modules) for nest in nests if nest.finest >= modules]
            found.sort(key=lambda labels: self._masked_loss(graph, labels))
        return by_volume(graph, found[0])

    def _nest(self, evidence: UnitGraph) -> Hierarchy:
        schedule = self.schedule
        return search_modules(
            evidence, min_gain=schedule.min_gain, inflations=schedule.inflations, expand=False
        )

    def _level(self, levels: Levels) -> int:
        """How many modules of a nest are put in force."""
        state = self.state
        most = state.loss + self._slack(state.loss)
        modules, state.clear = levels.clear(state.clear)
        modules = max(modules, levels.held(self.modules))
        if modules == 1 and not state.clear:
            modules, state.clear = levels.clear_beneath(most)
        if not self._may_split:
            modules = min(modules, self.modules)
        modules = min(modules, state.most)
        modules = levels.with_readers(modules, state.clear, state.most, most)
        return levels.paying(modules, self.tolerance) if self._is_release else modules

    def _views(self, graph: UnitGraph) -> Iterator[UnitGraph]:
        """The graph with edges between units that are active together, of each weight asked for."""
        if not self._wants_activity:
            yield graph
            return
        activity = self._activity
        if activity is None:
            activity = unit_activity(self.model, self.units, lambda: self._loss_of(self.model))
        for weight in self.schedule.coactivity:
            yield with_coactivity(graph, activity, weight, MOST_EDGES)

    @property
    def _wants_activity(self) -> bool:
        return self.find is None and any(self.schedule.coactivity)

    def _put_in_force(self, labels: NDArray[np.int64], reads: Reads) -> None:
        self._isolate(torch.as_tensor(labels), reads)
        self.constants = carried(self.model, self._isolated.kept, self.means)

    def _reads_of(self, graph: UnitGraph, labels: NDArray[np.int64]) -> Reads:
        """What modules of a partition may read: what the same modules in force do, and readers."""
        before = carried_over(self.reads, self.labels.numpy(), labels, graph.degrees())
        return before | reads_of(self.units, graph, labels)

    def _isolate(self, labels: Tensor, reads: Reads) -> None:
        """Takes a partition, and forgets what was worked out for the last one."""
        self.partition.set_labels(labels)
        self.reads = reads
        self._masked, self._crossing, self.state.total = None, None, 0.0

    @property
    def _isolated(self) -> MaskedRun:
        """The network without the interfaces of its modules."""
        if self._masked is None:
            may = torch.as_tensor(self.reads)
            kept = inside_modules(self.model, self.units, self.labels, reads=may)
            for name, cut in self.cut.items():
                kept[name] = kept[name] & ~cut.to(kept[name].device)
            self._masked = MaskedRun(self.model, factors(self.model, kept))
        self._masked.constants = self.constants
        return self._masked

    def _masks_this_step(self) -> bool:
        if self.modules == 1:
            return False
        if self.releasing:  # but not yet apart
            return True
        return is_drawn(self.schedule.seed, self.state.step, self.schedule.mask_share)

    def _loss_of(self, run: Run) -> float:
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            loss = float(self.held_out(run))
        self.model.train(training)
        return loss

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        return {
            "numbers": torch.tensor(list(asdict(self.state).values()), dtype=torch.float64),
            "labels": self.labels,
            "gauge": self.partition.gauge,
            "reads": torch.as_tensor(self.reads),
            "plain": self.plain,
            **{f"cut/{name}": cut for name, cut in self.cut.items()},
            **{f"means/{name}": mean for name, mean in self.means.items()},
            **{f"constants/{name}": constant for name, constant in self.constants.items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run.

        Raises:
            CheckpointError: if the state is of a network with another number of units.
        """
        check_units(state, self.units)
        self.partition.gauge = state["gauge"]
        self._isolate(state["labels"], state["reads"].numpy())
        values = zip(asdict(BudgetState()).items(), state["numbers"].tolist(), strict=True)
        self.state = BudgetState(**{name: type(old)(value) for (name, old), value in values})
        self.plain = state["plain"]
        self.cut, self.means, self.constants = (
            {key.removeprefix(kind): state[key] for key in state if key.startswith(kind)}
            for kind in ("cut/", "means/", "constants/")
        )
