"""Which partition a capability budget puts in force: the finder of `BudgetedPenalty`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from partwise.graph import UnitGraph
from partwise.graph.coactivity import unit_activity, with_coactivity
from partwise.loss.balanced import MOST_EDGES, Balanced
from partwise.loss.budget_control import Budget
from partwise.loss.finder import INFLATIONS, Find, Found, GraphFinder, Labels
from partwise.loss.idle import LossOf
from partwise.loss.in_force import InForce, Reads
from partwise.loss.levels import MIN_GAIN, Levels
from partwise.loss.reads import carried_over, holds_apart, opened, reads_of, without_idle
from partwise.modules import Hierarchy, Partition, module_masses, search_modules
from partwise.modules.nest import by_volume

COACTIVITY = (0.5, 1.0)
"""What edges between units that are active together weigh, as multiples of all capacity. The first
view decides how many modules there are; when the first are made, that of the partitions into as
many which masking costs least is put in force."""


class BudgetFinder(GraphFinder):
    """Finds modules in weights and co-activity, by what masking them costs on held-out samples.

    Args:
        in_force: the modules in force.
        capacity: what the weights are worth.
        controller: what losses are allowed.
        loss_of: held-out loss of what runs the network.
        find: what finds the partition of a graph, in place of the cut tree.

    Attributes:
        activity: (n, s) activity of the units (see `unit_activity`), where it was measured on this
            step already.
    """

    controller: Budget

    def __init__(
        self,
        in_force: InForce,
        capacity: Balanced,
        controller: Budget,
        loss_of: LossOf,
        find: Find | None = None,
    ):
        super().__init__(in_force, capacity, controller, find)
        self.loss_of = loss_of
        self.activity: NDArray[np.float32] | None = None

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
            most = self.controller.masked()
            reads = opened(reads, lambda reads: self._masked_loss(labels, reads), most)
        if not reads.any():
            labels = without_idle(units, graph, labels)
            reads = self._readings(graph, labels)
        if not holds_apart(units, graph, labels):  # and no bar for others
            return Found(Partition.whole(graph.n), clear=self.controller.state.clear)
        return Found(Partition.of(labels), reads, clear)

    def _works_alone(self) -> bool:
        """Whether the network without the interfaces in force does as well as the whole."""
        now = self.in_force
        return self.controller.allows(self.loss_of(now.run), self.loss_of(now.model))

    def _costs_more(self, shown: Found) -> bool:
        """Whether masking costs more than with the modules in force, beyond the tolerance."""
        masked = self.loss_of(self.in_force.run_as(shown.partition, shown.reads))
        return not self.controller.allows(masked, self.loss_of(self.in_force.run))

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
        """The partition that the graph shows, and how clear its clearest first split was."""
        if self.find is not None:
            return by_volume(graph, self.find(graph)), self.controller.state.clear
        views = self.views(graph)
        evidence = next(views)
        nest = self.nest(evidence)
        levels = Levels(
            module_masses(evidence, nest.pieces),
            nest.merges,
            lambda modules: self.masked_loss(graph, nest.labels_at(modules)),
            self.controller.schedule.min_separation,
        )
        modules, clear = self._level(levels)
        labels = nest.labels_at(modules)
        if modules > self.in_force.modules == 1:
            others = (each for each in map(self.nest, views) if each.finest >= modules)
            all_labels = [labels, *(each.labels_at(modules) for each in others)]
            losses = [levels.masked_loss(modules)]
            losses += [self.masked_loss(graph, each) for each in all_labels[1:]]
            labels = all_labels[int(np.argmin(losses))]
        return by_volume(graph, labels), clear

    def nest(self, evidence: UnitGraph) -> Hierarchy:
        """The nest of modules that a graph shows."""
        return search_modules(evidence, MIN_GAIN, INFLATIONS, expand=False)

    def views(self, graph: UnitGraph, weights: Sequence[float] = COACTIVITY) -> Iterator[UnitGraph]:
        """The graph with edges between units that are active together, of each weight."""
        model, units, activity = self.in_force.model, self.in_force.units, self.activity
        if activity is None:
            activity = unit_activity(model, units, lambda: self.loss_of(model))
        for weight in weights:
            yield with_coactivity(graph, activity, weight, MOST_EDGES)

    def _level(self, levels: Levels) -> tuple[int, float]:
        """How many modules of a nest are put in force, and how clear the first splits were."""
        budget, in_force = self.controller, self.in_force.modules
        modules, clear = levels.clear(budget.state.clear)
        modules = max(modules, levels.held(in_force))
        if modules == 1 and not clear:
            modules, clear = levels.clear_beneath(budget.under_pressure())
        if in_force > 1 and not budget.may_split:
            modules = min(modules, in_force)
        return levels.with_readers(modules, clear, self.controller.masked()), clear
