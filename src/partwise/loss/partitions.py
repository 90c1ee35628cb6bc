"""Which partition a capability budget puts in force: the search of `BudgetedPenalty`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from partwise.graph import UnitGraph
from partwise.graph.coactivity import unit_activity, with_coactivity
from partwise.loss.apart import Apart, Labels
from partwise.loss.budget_schedule import Limits
from partwise.loss.levels import Levels
from partwise.loss.penalty import MOST_EDGES
from partwise.loss.reads import Reads, opened
from partwise.loss.roles import holds_apart, without_idle
from partwise.modules import Hierarchy, module_masses, search_modules
from partwise.modules.nest import by_volume, merge_order, merged

Find = Callable[[UnitGraph], Labels]


@dataclass(frozen=True)
class PartitionSearch:
    """Finds the partition to put in force now.

    Attributes:
        apart: the modules in force.
        limits: what losses the budget allows.
        find: what finds the partition of a graph, in place of the cut tree.
        activity: (n, s) activity of the units (see `unit_activity`), if it was measured already.
    """

    apart: Apart
    limits: Limits
    find: Find | None = None
    activity: NDArray[np.float32] | None = None

    def partition(self, graph: UnitGraph) -> tuple[Labels, Reads]:
        """The modules that a graph shows, and what they may read.

        Those in force stay where the graph shows no others and they work alone. Where some of them
        read others, they stay unless there are more now, or masking these costs no more, within
        the tolerance.
        """
        apart = self.apart
        labels, reads = self._shown(graph)
        if labels.max() == 0 and apart.modules > 1:
            stay = self._works_alone()
        elif apart.reads.any() and labels.max() < apart.modules:
            stay = self._costs_more(labels, reads)
        else:
            stay = False
        return (apart.labels, apart.reads) if stay else (labels, reads)

    def _shown(self, graph: UnitGraph) -> tuple[Labels, Reads]:
        apart, state = self.apart, self.limits.state
        clear = state.clear
        labels = self._found(graph)
        reads = apart.readings(graph, labels)
        if apart.modules == 1:
            loss_of = partial(apart.loss_of_modules, labels)
            reads = opened(reads, loss_of, self.limits.masked())
        if not reads.any():
            labels = without_idle(apart.units, graph, labels)
            reads = apart.readings(graph, labels)
        if not holds_apart(apart.units, graph, labels):
            state.clear = clear  # no bar for others
            return np.zeros_like(labels), np.zeros((1, 1), bool)
        return labels, reads

    def _works_alone(self) -> bool:
        """Whether the network without the interfaces in force does as well as the whole."""
        apart = self.apart
        return self.limits.allows(apart.loss(), apart.loss_of(apart.model))

    def _costs_more(self, labels: Labels, reads: Reads) -> bool:
        """Whether masking costs more than with the modules in force, beyond the tolerance."""
        apart = self.apart
        return not self.limits.allows(apart.loss_of_modules(labels, reads), apart.loss())

    def _found(self, graph: UnitGraph) -> Labels:
        """The partition that the graph shows, with no more modules than have not been refused."""
        apart, limits = self.apart, self.limits
        if self.find is not None:
            labels = self.find(graph)
            merges = merge_order(module_masses(graph, labels))
            refused = max(0, len(merges) + 1 - limits.state.max_modules)
            return by_volume(graph, merged(labels, merges[:refused]))
        views = self.views(graph)
        evidence = next(views)
        nest = self.nest(evidence)
        mass = module_masses(evidence, nest.pieces)
        levels = Levels(
            mass,
            nest.merges,
            lambda modules: apart.masked_loss(graph, nest.labels_at(modules)),
            limits.schedule,
        )
        modules = self._level(levels)
        labels = nest.labels_at(modules)
        if modules > apart.modules == 1:
            least = levels.masked_loss(modules)
            for other in map(self.nest, views):
                if other.finest < modules:
                    continue
                loss = apart.masked_loss(graph, other.labels_at(modules))
                if loss < least:
                    labels, least = other.labels_at(modules), loss
        return by_volume(graph, labels)

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
        apart, activity = self.apart, self.activity
        if activity is None:
            activity = unit_activity(apart.model, apart.units, lambda: apart.loss_of(apart.model))
        for weight in weights:
            yield with_coactivity(graph, activity, weight, MOST_EDGES)

    def _level(self, levels: Levels) -> int:
        """How many modules of a nest are put in force."""
        limits, in_force = self.limits, self.apart.modules
        state, most = limits.state, limits.masked()
        modules, state.clear = levels.clear(state.clear)
        modules = max(modules, levels.held(in_force))
        if modules == 1 and not state.clear:
            modules, state.clear = levels.clear_beneath(limits.under_pressure())
        if in_force > 1 and not self._may_split:
            modules = min(modules, in_force)
        modules = min(modules, state.max_modules)
        modules = levels.with_readers(modules, state.clear, state.max_modules, most)
        last = state.step == limits.schedule.release_step
        return levels.paying(modules, limits.allows) if last else modules

    def fallback(self, excess: float) -> tuple[Labels, Reads] | None:
        """The most modules, among mergers of those in force, with at most this excess."""
        apart = self.apart
        graph, labels = apart.graph(), apart.labels
        merges = merge_order(module_masses(graph, labels))
        for undone in range(1, len(merges)):
            coarser = by_volume(graph, merged(labels, merges[:undone]))
            reads = apart.readings(graph, coarser)
            if self.limits.excess(apart.loss_of_modules(coarser, reads)) <= excess:
                return coarser, reads
        return None

    @property
    def _may_split(self) -> bool:
        """Whether modules in force have passed, and time is left for a trial of further ones."""
        state, schedule = self.limits.state, self.limits.schedule
        last = schedule.release_step - schedule.trial_steps
        return state.step <= last and self.limits.allows(state.masked_loss, state.before)
