"""Capacities |weight| in the balanced gauge, for the partition in force."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from partwise.graph import UnitGraph, WeightBlock
from partwise.graph.unit_map import inverted
from partwise.loss.in_force import InForce
from partwise.loss.press import Ends, Pressure, Sides, masses_of, press

MOST_EDGES = 2**17
"""Networks with more weights are sampled to about as many edges before modules are searched."""


class Balanced:
    """What the weights are worth to a partition, in the gauge of its last refresh.

    Args:
        in_force: the partition.

    Attributes:
        gauge: (n,) what multiplies all that is written to a unit (see `UnitMap.gauge`).
    """

    def __init__(self, in_force: InForce):
        self.in_force = in_force
        self.gauge = torch.ones(in_force.units.n, dtype=torch.float64)
        self._no_ends = Ends()

    def graph(self) -> UnitGraph:
        """Balances the weights as they are, from the last gauge on; their graph in that gauge."""
        model, units = self.in_force.model, self.in_force.units
        self.gauge = units.gauge(model, start=self.gauge, rounds=20, tolerance=1e-6)
        self.in_force.forget()
        return units.graph(model, self.gauge, MOST_EDGES)

    def pressed(self, pressure: Pressure) -> Tensor:
        """The pressure on the weights, a scalar; zero where it asks nothing."""
        model, units = self.in_force.model, self.in_force.units
        if pressure.disorder or pressure.interface:
            return press(units.weights(model), pressure, self.ends)
        if pressure.l1:
            return press(units.weights(model), pressure, self._no_ends)
        return units.blocks[0].tensor(model).new_zeros(())

    def masses(self) -> Tensor:
        """(k, k) capacity between modules under the current weights, differentiable."""
        weights = self.in_force.units.weights(self.in_force.model)
        return masses_of(weights, self.ends).sum(0)

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        return {"gauge": self.gauge}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.gauge = state["gauge"].cpu()

    @property
    def ends(self) -> Ends:
        """Modules and scales at the two ends of all weights."""
        return self.in_force.derived(self._ends)

    def _ends(self) -> Ends:
        model, units = self.in_force.model, self.in_force.units
        gauge = self.gauge.to(next(model.parameters()))
        sides = [
            self._sides(block, weight, gauge)
            for block, weight in zip(units.blocks, units.weights(model), strict=True)
        ]
        return Ends(tuple(sides), self.in_force.modules)

    def _sides(self, block: WeightBlock, weight: Tensor, gauge: Tensor) -> Sides:
        model, labels = self.in_force.model, self.in_force.labels.to(gauge.device)
        row_scale, column_scale = block.scales(gauge, inverted(gauge))
        written, read = (
            block.factors(model, 0, row_scale),
            block.factors(model, 1, column_scale),
        )
        row_scale = row_scale if written is None else row_scale * written
        column_scale = column_scale if read is None else column_scale * read
        column = labels[block.columns].expand(column_scale.shape)
        return Sides.of(weight, labels[block.rows], row_scale, column, column_scale)
