"""A network taken apart: which module may read which, and what is left without other interfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.graph import UnitGraph
from partwise.graph.activity import evaluating
from partwise.interventions.masks import MaskedRun, between_modules, factors, inside_modules, wide
from partwise.loss.constants import carried, commit, holds_constants, mean_inputs
from partwise.loss.idle import Run, idle_inputs, idle_wires
from partwise.loss.penalty import CutTreePenalty
from partwise.loss.reads import Reads, carried_over
from partwise.loss.roles import reads_of

Labels = NDArray[np.int64]
HeldOut = Callable[[Run], Tensor | float]
"""Held-out loss of a network, given the function that runs it."""


class Apart:
    """The modules in force, and the network without the interfaces that they may not read.

    What such an interface carries on average stays, as a constant (see `constants`).

    Args:
        partition: what presses on the weights for the partition in force.
        held_out: held-out loss of a network, given the function that runs it.

    Attributes:
        reads: (k, k) bool, whether the row's module may read the column's.
        cut: parameter name -> bool, entries that were removed for good, though modules may have
            them.
        means: parameter name -> (c,) what weights read on average, as last measured.
        constants: parameter name -> (r,) what masked entries bring on average.
    """

    def __init__(self, partition: CutTreePenalty, held_out: HeldOut):
        self.partition, self.held_out = partition, held_out
        self.model, self.units = partition.model, partition.units
        self.reads: Reads = np.zeros((1, 1), bool)
        self.cut: dict[str, Tensor] = {}
        self.means: dict[str, Tensor] = {}
        self.constants: dict[str, Tensor] = {}
        self._run: MaskedRun | None = None

    @property
    def modules(self) -> int:
        """Number of modules in force."""
        return self.partition.modules

    @property
    def labels(self) -> Labels:
        """(n,) module of each unit."""
        labels: Labels = self.partition.labels.numpy()
        return labels

    @property
    def run(self) -> MaskedRun:
        """Runs the network without its interfaces."""
        if self._run is None:
            kept = self._inside(self.labels, self.reads)
            for name, cut in self.cut.items():
                kept[name] = kept[name] & ~cut.to(kept[name].device)
            self._run = MaskedRun(self.model, factors(self.model, kept))
        self._run.constants = self.constants
        return self._run

    def _inside(self, labels: Labels, reads: Reads) -> dict[str, Tensor]:
        """Parameter name -> bool, the weights that modules keep which read what they may."""
        of, may = torch.as_tensor(labels), torch.as_tensor(reads)
        return inside_modules(self.model, self.units, of, reads=may)

    def put_in_force(self, labels: Labels, reads: Reads) -> None:
        """Takes a partition, and works out anew what its interfaces bring on average."""
        self.partition.set_labels(torch.as_tensor(labels))
        self.reads, self._run = reads, None
        self.follow()

    def dissolve(self) -> None:
        """One module, with all weights there are."""
        self.cut, self.means, self.constants = {}, {}, {}
        self.put_in_force(np.zeros_like(self.labels), np.zeros((1, 1), bool))

    def follow(self) -> None:
        """Works out what interfaces bring on average, now that weights have moved."""
        self.constants = carried(self.model, self.run.kept, self.means)

    def measure_means(self, run: Callable[[], object]) -> None:
        """Measures what weights read in `run`."""
        self.means = mean_inputs(self.model, self.units, run)

    def settle(self) -> None:
        """Biases take over what interfaces bring on average; where there are any, these go."""
        commit(self.model, self.run.kept, self.means)
        self.means, self.constants = {}, {}

    def drop_idle_inputs(self, most: float) -> None:
        """Disconnects inputs that carry next to nothing, for a loss of at most `most`.

        Layers that cannot hold their means as constants go on reading them.
        """
        _, graph = self.partition.balanced()
        used = torch.from_numpy(graph.degrees())
        idle = idle_inputs(self.units, used, self.run, self.loss_of, most)
        entries = {}
        for block in self.units.blocks:
            if holds_constants(self.model, block):
                like = self.model.get_parameter(block.parameter)
                entries[block.parameter] = wide(idle[block.columns], like)
        self.remove(entries)

    def drop_idle_wires(self, most: float) -> None:
        """Cuts wires from what may be read that carry next to nothing, likewise."""
        labels = self.partition.labels
        crossing = between_modules(self.model, self.units, labels, self.run.kept)
        self.remove(idle_wires(self.units, crossing, self.run, self.loss_of, most))

    def remove(self, entries: Mapping[str, Tensor]) -> None:
        """Removes weights for good; what they bring on average goes into the biases."""
        means = mean_inputs(self.model, self.units, self.loss)
        for name, cut in entries.items():
            self.cut[name] = self.cut.get(name, False) | cut.cpu()
        self._run = None
        commit(self.model, self.run.kept, means)

    def graph(self) -> UnitGraph:
        """The graph of the weights now; its gauge is the one that partitions are in force with."""
        self.partition.gauge, graph = self.partition.balanced()
        return graph

    def readings(self, graph: UnitGraph, labels: Labels) -> Reads:
        """What the modules of a partition may read.

        That is what the same modules in force may, and what those without inputs must.
        """
        before = carried_over(self.reads, self.labels, labels, graph.degrees())
        return before | reads_of(self.units, graph, labels)

    def loss(self) -> float:
        """Held-out loss of the network without its interfaces."""
        return self.loss_of(self.run)

    def loss_of_modules(self, labels: Labels, reads: Reads) -> float:
        """The same for other modules, that read nothing but what they may."""
        kept = self._inside(labels, reads)
        constants = carried(self.model, kept, self.means)
        return self.loss_of(MaskedRun(self.model, kept, constants))

    def masked_loss(self, graph: UnitGraph, labels: Labels) -> float:
        """The same for other modules, that read what `readings` says."""
        return self.loss_of_modules(labels, self.readings(graph, labels))

    def least_spread(self) -> float:
        """Spread over held-out samples of the output that varies least, as a share of the mean.

        1 for networks that give anything but a tensor with samples along its first dimension.
        """
        seen: list[Tensor] = []

        def watch(*inputs: Tensor) -> Tensor:
            output: Tensor = self.model(*inputs)
            seen.append(output)
            return output

        self.loss_of(watch)
        if not seen or not all(isinstance(each, Tensor) and each.dim() > 1 for each in seen):
            return 1.0
        spread = torch.cat(seen).flatten(1).std(0)
        return float(spread.min() / spread.mean())

    def loss_of(self, run: Run) -> float:
        """Held-out loss of what runs the network."""
        with evaluating(self.model), torch.no_grad():
            return float(self.held_out(run))

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        return {
            "labels": self.partition.labels,
            "gauge": self.partition.gauge,
            "reads": torch.as_tensor(self.reads),
            **{f"cut/{name}": cut for name, cut in self.cut.items()},
            **{f"means/{name}": mean for name, mean in self.means.items()},
            **{f"constants/{name}": constant for name, constant in self.constants.items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.partition.gauge = state["gauge"].cpu()
        self.partition.set_labels(state["labels"].cpu())
        self.reads, self._run = state["reads"].cpu().numpy(), None
        self.cut, self.means, self.constants = (
            {
                name: state[kind + name].to(weight.device)
                for name, weight in self.model.named_parameters()
                if kind + name in state
            }
            for kind in ("cut/", "means/", "constants/")
        )
