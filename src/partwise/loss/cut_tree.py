"""The cut-tree penalty: one extra term that makes a network come apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from partwise.graph import UnitGraph, UnitMap, unit_map
from partwise.loss.balanced import Balanced
from partwise.loss.control import CutTreeSchedule, FixedStrength
from partwise.loss.finder import INFLATIONS, KEEP_CONTRAST, Find, Found, GraphFinder, Labels
from partwise.loss.in_force import InForce
from partwise.loss.penalty import Penalty
from partwise.loss.press import Pressure
from partwise.modules import Partition, module_masses, search_modules
from partwise.modules.nest import by_volume, splits_kept

MIN_CONTRAST = 0.7
"""Least separation of a split that is made, as a share of the largest."""


class CutTreeFinder(GraphFinder):
    """Finds the modules that a cut tree shows, as many as in force where it still shows them."""

    def partition(self, graph: UnitGraph) -> Found:
        """The modules that a graph shows."""
        labels = self._search(graph) if self.find is None else self.find(graph)
        return Found(Partition.of(labels, graph.n))

    def _search(self, graph: UnitGraph) -> Labels:
        min_gain = self.controller.schedule.min_gain
        found = search_modules(graph, min_gain, INFLATIONS, min_contrast=MIN_CONTRAST, expand=False)
        mass = module_masses(graph, found.pieces)
        held = 1 + splits_kept(mass, found.merges, min_gain, KEEP_CONTRAST)
        modules = max(found.modules, min(held, self.in_force.modules))
        return by_volume(graph, found.labels_at(modules))


class CutTreePenalty(Penalty):
    """Penalty that rewards a network for the modules that its cut tree shows.

    Every `refresh_every` steps, less often once nothing moves, the model's weights become a unit
    graph, the graph a cut tree and the tree a partition. Between refreshes the penalty is
    strength · (1 - Q) with Newman's Q of that partition under the current weights, in the balanced
    gauge of the last refresh: one pass over the weights, no graph in sight. Q is scale free, so
    shrinking all weights gains nothing.

    Beside the penalty, `run` evaluates the model with the interface weights masked in a share of
    the steps, so that what is left of the interface is not relied on.

        penalty = CutTreePenalty(model)

    Args:
        model: any module that `unit_map` can read.
        schedule: when and how hard it presses; the keyword arguments override single fields.
        units: the model's unit map, where it was read already.
        find: what finds the partition, (n,) labels of a graph, in place of the cut tree.
    """

    capacity: Balanced
    finder: CutTreeFinder
    controller: FixedStrength

    def __init__(
        self,
        model: nn.Module,
        schedule: CutTreeSchedule | None = None,
        *,
        units: UnitMap | None = None,
        find: Find | None = None,
        **fields: Any,
    ):
        schedule = replace(CutTreeSchedule() if schedule is None else schedule, **fields)
        in_force = InForce(model, unit_map(model) if units is None else units)
        capacity, controller = Balanced(in_force), FixedStrength(schedule)
        finder = CutTreeFinder(in_force, capacity, controller, find)
        super().__init__(in_force, capacity, finder, controller)

    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        if self.controller.schedule.strength and self.steps_done >= self.finder.due:
            self.refresh()

    def _term(self) -> Tensor:
        """But for sparsity, zero before `start` and while the network is one module."""
        disorder = self.controller.weight if self.modules > 1 else 0.0
        return self.capacity.pressed(Pressure(l1=self.schedule.l1, disorder=disorder))
