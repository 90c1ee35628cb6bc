"""Which partition a capability budget puts in force: the search of `BudgetedPenalty`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.graph import UnitGraph
from partwise.graph.coactivity import unit_activity, with_coactivity
from partwise.loss.balanced import MOST_EDGES
from partwise.loss.budget_schedule import Limits
from partwise.loss.idle import LossOf
from partwise.loss.in_force import InForce, Reads
from partwise.loss.levels import Levels
from partwise.loss.reads import carried_over, opened
from partwise.loss.roles import holds_apart, reads_of, without_idle
from partwise.modules import Hierarchy, Partition, module_masses, search_modules
from partwise.modules.nest import by_volume, merge_order, merged

Labels = NDArray[np.int64]
Find = Callable[[UnitGraph], Labels]


class Found(NamedTuple):
    """What a search says should be in force.

    Attributes:
        partition: the modules.
        reads: (k, k) bool, whether the row's module may read the column's.
        clear: see `BudgetState`.
    """

    partition: Partition
    reads: Reads
    clear: float


@dataclass(frozen=True)
class PartitionSearch:
    """Finds the partition to put in force now, and changes nothing.

    Attributes:
        in_force: the modules in force.
        loss_of: held-out loss of what runs the network.
        limits: what losses the budget allows.
        find: what finds the partition of a graph, in place of the cut tree.
        activity: (n, s) activity of the units (see `unit_activity`), if it was measured already.
    """

    in_force: InForce
    loss_of: LossOf
    limits: Limits
    find: Find | None = None
    activity: NDArray[np.float32] | None = None

    def partition(self, graph: UnitGraph) -> Found:
        """The modules that a graph shows, and what they may read.

        Those in force stay where the graph shows no others and they work alone. Where some of them
        read others, they stay unless there are more now, or masking these costs no more, within
        the tolerance.
        """
        now, shown = self.in_force, self._shown(graph)
        if shown.partition.modules == 1 and now.modules > 1:
            stay = self._works_alone()
        elif now.reads.any() and shown.partition.modules < now.modules:
            stay = self._costs_more(shown)
        else:
            stay = False
        return Found(now.partition, now.reads, shown.clear) if stay else shown

    def _shown(self, graph: UnitGraph) -> Found:
        units, (labels, clear) = self.in_force.units, self._found(graph)
        reads = self._readings(graph, labels)
        if self.in_force.modules == 1:
            reads = opened(
                reads, lambda reads: self._masked_loss(labels, reads), self.limits.masked()
            )
        if not reads.any():
            labels = without_idle(units, graph, labels)
            reads = self._readings(graph, labels)
        if not holds_apart(units, graph, labels):  # and no bar for others
            return Found(Partition.whole(graph.n), np.zeros((1, 1), bool), self.limits.state.clear)
        return Found(Partition.of(labels), reads, clear)

    def _works_alone(self) -> bool:
        """Whether the network without the interfaces in force does as well as the whole."""
        now = self.in_force
        return self.limits.allows(self.loss_of(now.run), self.loss_of(now.model))

    def _costs_more(self, shown: Found) -> bool:
        """Whether masking costs more than with the modules in force, beyond the tolerance."""
        masked = self.loss_of(self.in_force.run_as(shown.partition, shown.reads))
        return not self.limits.allows(masked, self.loss_of(self.in_force.run))

    def _readings(self, graph: UnitGraph, labels: Labels) -> Reads:
        """What modules may read: what the same ones in force may, and what they must."""
        now = self.in_force
        before = carried_over(now.reads, now.partition.labels, labels, graph.degrees())
        return before | reads_of(now.units, graph, labels)

    def _masked_loss(self, labels: Labels, reads: Reads) -> float:
        """Held-out loss with other modules than those in force, that read only what they may."""
        return self.loss_of(self.in_force.run_as(Partition.of(labels), reads))

    def masked_loss(self, graph: UnitGraph, labels: Labels) -> float:
        """The same, with what they may read on a graph."""
        return self._masked_loss(labels, self._readings(graph, labels))

    def _found(self, graph: UnitGraph) -> tuple[Labels, float]:
        """The partition that the graph shows, with no more modules than have not been refused.

        And how clear its clearest split was when there were the first.
        """
        state = self.limits.state
        if self.find is not None:
            labels = self.find(graph)
            merges = merge_order(module_masses(graph, labels))
            refused = max(0, len(merges) + 1 - state.max_modules)
            return by_volume(graph, merged(labels, merges[:refused])), state.clear
        views = self.views(graph)
        evidence = next(views)
        nest = self.nest(evidence)
        mass = module_masses(evidence, nest.pieces)
        levels = Levels(
            mass,
            nest.merges,
            lambda modules: self.masked_loss(graph, nest.labels_at(modules)),
            self.limits.schedule,
        )
        modules, clear = self._level(levels)
        labels = nest.labels_at(modules)
        if modules > self.in_force.modules == 1:
            others = [other.labels_at(modules) for other in self._others(views, modules)]
            losses = [levels.masked_loss(modules), *(self.masked_loss(graph, o) for o in others)]
            labels = [labels, *others][int(np.argmin(losses))]
        return by_volume(graph, labels), clear

    def _others(self, views: Iterator[UnitGraph], modules: int) -> Iterator[Hierarchy]:
        """The nests of other views that have as many modules."""
        return (nest for nest in map(self.nest, views) if nest.finest >= modules)

    def nest(self, evidence: UnitGraph) -> Hierarchy:
        """The nest of modules that a graph shows."""
        schedule = self.limits.schedule
        return search_modules(
            evidence, min_gain=schedule.min_gain, inflations=schedule.inflations, expand=False
        )

    def views(self, graph: UnitGraph) -> Iterator[UnitGraph]:
        """The graph with edges between units that are active together, of each weight asked for."""
        weights = self.limits.schedule.coactivity
        if not any(weights):
            yield graph
            return
        model, units, activity = self.in_force.model, self.in_force.units, self.activity
        if activity is None:
            activity = unit_activity(model, units, lambda: self.loss_of(model))
        for weight in weights:
            yield with_coactivity(graph, activity, weight, MOST_EDGES)

    def _level(self, levels: Levels) -> tuple[int, float]:
        """How many modules of a nest are put in force, and how clear the first splits were."""
        limits, in_force = self.limits, self.in_force.modules
        state, most = limits.state, limits.masked()
        modules, clear = levels.clear(state.clear)
        modules = max(modules, levels.held(in_force))
        if modules == 1 and not clear:
            modules, clear = levels.clear_beneath(limits.under_pressure())
        if in_force > 1 and not self._may_split:
            modules = min(modules, in_force)
        modules = min(modules, state.max_modules)
        return levels.with_readers(modules, clear, state.max_modules, most), clear

    def fallback(self, graph: UnitGraph, excess: float) -> Found | None:
        """The most modules, among mergers of those in force, with at most this excess."""
        labels, clear = self.in_force.partition.labels, self.limits.state.clear
        merges = merge_order(module_masses(graph, labels))
        for undone in range(1, len(merges)):
            coarser = by_volume(graph, merged(labels, merges[:undone]))
            reads = self._readings(graph, coarser)
            if self.limits.excess(self._masked_loss(coarser, reads)) <= excess:
                return Found(Partition.of(coarser), reads, clear)
        return None

    @property
    def _may_split(self) -> bool:
        """Whether modules in force have passed, and time is left for a trial of further ones."""
        state, schedule = self.limits.state, self.limits.schedule
        last = schedule.release_step - schedule.trial_steps
        return state.step <= last and self.limits.allows(state.masked_loss, state.before)
