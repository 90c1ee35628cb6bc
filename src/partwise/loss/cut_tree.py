"""The cut-tree penalty: one extra term that makes a network come apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph import UnitGraph, UnitMap, unit_map
from partwise.loss.balanced import Balanced
from partwise.loss.penalty import Penalty, is_drawn
from partwise.loss.press import Pressure
from partwise.loss.refresh import RefreshClock, stands_still
from partwise.modules import Partition, module_masses, search_modules
from partwise.modules.nest import by_volume, splits_kept


@dataclass(frozen=True)
class CutTreeSchedule:
    """When and how hard the penalty presses.

    Attributes:
        strength: weight of the penalty, in units of the task loss per unit of Newman's Q.
        start: steps of plain training before the first cut tree.
        ramp: steps over which the strength rises from 0 to full.
        refresh_every: steps between cut trees; twice as many after each that finds the same.
        inflations: powers of the capacities that trees are built for.
        min_gain: Q that a split must earn to be kept.
        min_contrast: least separation of a split that is made, as a share of the largest.
        keep_contrast: the same, for as many splits as are in force; lower, so that the pressure on
            some splits does not undo others that take longer.
        l1: sparsity pressure beside it, from the first step on: weight of `l1_penalty`, in the
            same pass over the weights.
        mask_share: share of steps in which the network runs without its interface weights.
        mask_after: steps after `start` before masking begins.
        seed: seed of the choice of masked steps.
    """

    strength: float = 1.0
    start: int = 1000
    ramp: int = 1000
    refresh_every: int = 100
    inflations: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    min_gain: float = 0.01
    min_contrast: float = 0.7
    keep_contrast: float = 0.45
    l1: float = 0.0
    mask_share: float = 0.3
    mask_after: int = 500
    seed: int = 0


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
        for x, y in batches:
            run = penalty.step(optimizer)
            loss = criterion(run(x), y) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()

    Args:
        model: any module that `unit_map` can read.
        schedule: when and how hard it presses; the keyword arguments override single fields.
        inputs: number of input features, where the first layer does not tell.
        units: the model's unit map, where it was read already.
        find: what finds the partition, (n,) labels of a graph; `search_modules` as the schedule
            says when left out.

    Attributes:
        steps_done: steps so far.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: CutTreeSchedule | None = None,
        *,
        inputs: int | None = None,
        units: UnitMap | None = None,
        find: Callable[[UnitGraph], NDArray[np.int64]] | None = None,
        **fields: float | int | Sequence[float],
    ):
        super().__init__(model, unit_map(model, inputs) if units is None else units)
        base = schedule if schedule is not None else CutTreeSchedule()
        self.schedule = CutTreeSchedule(**{**vars(base), **fields})
        self.find = self._search if find is None else find
        self.steps_done = 0
        self.clock = RefreshClock(self.schedule.refresh_every, self.schedule.start)
        self.balanced = Balanced(self.in_force)

    @property
    def weight(self) -> float:
        """Strength at the current step, ramp included."""
        since = self.steps_done - self.schedule.start
        return self.schedule.strength * min(1.0, max(0.0, since / max(1, self.schedule.ramp)))

    def interface_frac(self) -> float:
        """Share of all capacity that joins two different modules of the partition in force."""
        return self.balanced.interface_frac()

    def newman_q(self) -> Tensor:
        """Newman's Q of the partition in force under the current weights, differentiable."""
        return self.balanced.newman_q()

    def masses(self) -> Tensor:
        """(k, k) capacity between modules under the current weights, differentiable."""
        return self.balanced.masses()

    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        s = self.schedule
        if s.strength and self.steps_done >= max(s.start, self.clock.due):
            self.refresh()

    def _runner(self) -> Callable[..., Any]:
        return self.in_force.run if self._masks_this_step() else self.model

    def _masks_this_step(self) -> bool:
        s = self.schedule
        if self.modules == 1 or self.steps_done < s.start + s.mask_after or not s.strength:
            return False
        return is_drawn(s.seed, self.steps_done, s.mask_share)

    def _end(self) -> Tensor:
        """Without `l1`, zero before `start` and while the network is one module."""
        disorder = self.weight if self.modules > 1 else 0.0
        self.steps_done += 1
        return self.balanced.pressed(Pressure(l1=self.schedule.l1, disorder=disorder))

    def refresh(self) -> None:
        """Finds the partition anew from the model's current weights."""
        graph, before = self.balanced.graph(), self.partition
        self.in_force.put(Partition.of(self.find(graph), self.units.n))
        after = self.partition
        still = after.modules > 1 and stands_still(before.labels, after.labels, graph.degrees())
        self.clock.refreshed(self.steps_done, still)

    def _search(self, graph: UnitGraph) -> NDArray[np.int64]:
        schedule = self.schedule
        found = search_modules(
            graph,
            schedule.min_gain,
            schedule.inflations,
            min_contrast=schedule.min_contrast,
            expand=False,
        )
        mass = module_masses(graph, found.pieces)
        held = 1 + splits_kept(mass, found.merges, schedule.min_gain, schedule.keep_contrast)
        modules = max(found.modules, min(held, self.modules))
        return by_volume(graph, found.labels_at(modules))

    def _own_state(self) -> dict[str, Tensor]:
        return {
            "steps_done": torch.tensor(self.steps_done),
            "gauge": self.balanced.gauge,
            **self.clock.state_dict(),
        }

    def _take_state(self, state: Mapping[str, Tensor]) -> None:
        self.steps_done = int(state["steps_done"])
        self.balanced.gauge = state["gauge"].cpu()
        self.clock.load_state_dict(state)
