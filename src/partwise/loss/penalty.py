"""The cut-tree penalty: one extra term that makes a network come apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph import UnitGraph, UnitMap, WeightBlock, unit_map
from partwise.graph.unit_map import inverted
from partwise.interventions.masks import MaskedRun, factors, inside_modules
from partwise.loss.masses import block_masses, entry_masses, interface_share
from partwise.loss.press import Ends, Pressure, press, sides_of
from partwise.loss.refresh import RefreshClock, stands_still
from partwise.loss.resuming import check_units, is_drawn
from partwise.modules import module_masses, search_modules
from partwise.modules.nest import by_volume, splits_kept

MOST_EDGES = 2**17
"""Networks with more weights are sampled to about as many edges before modules are searched."""


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


class CutTreePenalty:
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
            loss = criterion(penalty.run(x), y) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()

    Args:
        model: any module that `unit_map` can read.
        schedule: when and how hard it presses; the keyword arguments override single fields.
        inputs: number of input features, where the first layer does not tell.
        units: the model's unit map, where it was read already.
        find: what finds the partition, (n,) labels of a graph; `search_modules` as the schedule
            says when left out.
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
        base = schedule if schedule is not None else CutTreeSchedule()
        self.schedule = CutTreeSchedule(**{**vars(base), **fields})
        self.model = model
        self.units = unit_map(model, inputs) if units is None else units
        self.find = self._search if find is None else find
        self.step = 0
        self.clock = RefreshClock(self.schedule.refresh_every, self.schedule.start)
        self.labels = torch.zeros(self.units.n, dtype=torch.long)
        self.modules = 1
        self.gauge = torch.ones(self.units.n, dtype=torch.float64)
        self._members: list[tuple[Tensor, Tensor]] = []
        self._ends: Ends | None = None
        self._no_ends = Ends()
        self._masked: MaskedRun | None = None

    @property
    def weight(self) -> float:
        """Strength at the current step, ramp included."""
        since = self.step - self.schedule.start
        return self.schedule.strength * min(1.0, max(0.0, since / max(1, self.schedule.ramp)))

    def __call__(self) -> Tensor:
        """The penalty at this step, a scalar; advances the schedule by one step.

        Without `l1`, zero before `start` and while the network is one module.
        """
        since = self.step - self.schedule.start
        if since >= 0 and self.step >= self.clock.due and self.schedule.strength:
            self.refresh()
        disorder = self.weight if self.modules > 1 else 0.0
        self.step += 1
        return self.pressed(Pressure(l1=self.schedule.l1, disorder=disorder))

    def pressed(self, pressure: Pressure) -> Tensor:
        """The pressure on the weights, for the partition in force; zero where it asks nothing."""
        if pressure.disorder or pressure.interface:
            return press(self.units.weights(self.model), pressure, self.ends)
        if pressure.l1:
            return press(self.units.weights(self.model), pressure, self._no_ends)
        return self.units.blocks[0].tensor(self.model).new_zeros(())

    def refresh(self) -> None:
        """Finds the partition anew from the model's current weights."""
        self.gauge, graph = self.balanced()
        before, found = self.labels.numpy(), self.find(graph)
        self.set_labels(torch.as_tensor(found))
        still = self.modules > 1 and stands_still(before, found, graph.degrees())
        self.clock.refreshed(self.step, still)

    def balanced(self) -> tuple[Tensor, UnitGraph]:
        """The gauge of the weights now, from the last one on, and their graph in it."""
        gauge = self.units.gauge(self.model, start=self.gauge, rounds=20, tolerance=1e-6)
        return gauge, self.units.graph(self.model, gauge, MOST_EDGES)

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

    def set_labels(self, labels: Tensor) -> None:
        """Puts a partition in force, (n,) long."""
        self.labels, self._masked = labels, None
        self.modules = int(labels.max()) + 1
        like = next(self.model.parameters())
        members = torch.nn.functional.one_hot(labels, self.modules).to(like)
        gauge = self.gauge.to(like)
        self._members = [self._block_members(block, members, gauge) for block in self.units.blocks]
        weights = self.units.weights(self.model)
        sides = [
            sides_of(weight, rows, columns)
            for weight, (rows, columns) in zip(weights, self._members, strict=True)
        ]
        self._ends = Ends(tuple(sides), self.modules)

    @property
    def ends(self) -> Ends:
        """Modules and scales at the two ends of all weights."""
        if self._ends is None:
            self.set_labels(self.labels)
        assert self._ends is not None
        return self._ends

    def _block_members(
        self, block: WeightBlock, members: Tensor, gauge: Tensor
    ) -> tuple[Tensor, Tensor]:
        row_scale, scale = block.scales(gauge, inverted(gauge))
        read = block.factors(self.model, 1, scale)
        written = block.factors(self.model, 0, row_scale)
        scale = scale if read is None else scale * read
        row_scale = row_scale if written is None else row_scale * written
        columns = members[block.columns] * scale[..., None]
        rows = members[block.rows] * row_scale[:, None]
        return rows, columns[0] if len(columns) == 1 else columns

    def newman_q(self) -> Tensor:
        """Newman's Q of the partition in force under the current weights, differentiable."""
        return 1 - self.pressed(Pressure(disorder=1.0))

    def masses(self) -> Tensor:
        """(k, k) capacity between modules under the current weights, differentiable."""
        if not self._members:
            self.set_labels(self.labels)
        return torch.stack(
            [
                (block_masses if columns.dim() == 2 else entry_masses)(weight, rows, columns)
                for weight, (rows, columns) in zip(
                    self.units.weights(self.model), self._members, strict=True
                )
            ]
        ).sum(0)

    @torch.no_grad()
    def interface_frac(self) -> float:
        """Share of all capacity that joins two different modules of the partition in force."""
        return float(interface_share(self.masses()))

    def run(self, *inputs: Tensor) -> Tensor:
        """The model's output; in a share of the steps with its interface weights masked."""
        if not self._masks_this_step():
            return self.model(*inputs)
        if self._masked is None:
            kept = inside_modules(self.model, self.units, self.labels)
            self._masked = MaskedRun(self.model, factors(self.model, kept))
        return self._masked(*inputs)

    def _masks_this_step(self) -> bool:
        s = self.schedule
        if self.modules == 1 or self.step < s.start + s.mask_after or not s.strength:
            return False
        return is_drawn(s.seed, self.step, s.mask_share)

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit: steps, partition and gauge."""
        return {
            "step": torch.tensor(self.step),
            "refresh": torch.tensor([self.clock.due, self.clock.interval]),
            "labels": self.labels,
            "gauge": self.gauge,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run.

        Raises:
            CheckpointError: if the state is of a network with another number of units.
        """
        check_units(state, self.units)
        self.step, self.gauge = int(state["step"]), state["gauge"]
        self.clock.due, self.clock.interval = state["refresh"].tolist()
        self.set_labels(state["labels"])
