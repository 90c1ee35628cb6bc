"""What is being explained: a network, its units, its modules and its task."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import DataError
from partwise.explain.intervals import DRAWS, EVIDENCE_DRAWS, Resampling
from partwise.graph import UnitGraph, UnitMap
from partwise.interventions.lesions import Lesions, without_interfaces
from partwise.interventions.masks import MaskedRun
from partwise.modules import module_masses
from partwise.tasks import Rows, Split, Task

Made = TypeVar("Made")
ROWS = "(a value per unit and row; wrap a network of pictures so that it takes flat rows)"
Wires = dict[str, Tensor]
"""Parameter name -> which of its entries stay, as `MaskedRun` wants them."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network taken apart.

    Attributes:
        model: the network.
        units: its unit map.
        graph: its unit graph.
        labels: (n,) module of each unit.
        task: where samples come from; its true modules are never read here.
        samples: at most this many rows per split, each of them once.
        seed: seed of the rows.
    """

    model: nn.Module
    units: UnitMap
    graph: UnitGraph
    labels: NDArray[np.int64]
    task: Task
    samples: int = 1000
    seed: int = 0
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        wide = (len(self.units.inputs), len(self.units.outputs))
        if wide != (len(self.task.inputs), len(self.task.outputs)):
            raise DataError(
                f"the network has {wide[0]} inputs and {wide[1]} outputs, task "
                f"{self.task.name} has {len(self.task.inputs)} and {len(self.task.outputs)}; "
                f"give task_from_arrays as many columns of x and answers {ROWS}"
            )
        x = self.task.batch("claims", 1, self.seed)[0]
        if x.dim() != 2:
            raise DataError(
                f"a batch of task {self.task.name} is {tuple(x.shape)}, wanted (rows, inputs) "
                f"{ROWS}"
            )

    @property
    def modules(self) -> int:
        """Number of modules."""
        return int(self.labels.max()) + 1

    @cached_property
    def unit_names(self) -> list[str]:
        """A name per unit: the task's for inputs and outputs, `layer[k]` for the rest."""
        names = [f"{group.name}[{k}]" for group in self.graph.groups for k in range(len(group))]
        names[: len(self.task.inputs)] = self.task.inputs
        names[len(names) - len(self.task.outputs) :] = self.task.outputs
        return names

    @property
    def interfaces(self) -> list[tuple[int, int]]:
        """Pairs of modules that share at least one edge."""
        mass = module_masses(self.graph, self.labels)
        return [pair for pair in combinations(range(self.modules), 2) if mass[pair] > 0]

    def batch(self, split: Split) -> Rows:
        """The rows of a split, always the same ones."""
        return self.once(
            ("rows", split), lambda: self.task.rows(split, self.samples, (self.seed, 77))
        )

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for each key."""
        if key not in self._known:
            self._known[key] = make()
        found: Made = self._known[key]
        return found

    def resampling(self, split: Split, rows: float | None = None) -> Resampling:
        """How the rows of a split are weighed anew for intervals, source by source.

        Args:
            split: which rows.
            rows: how many the intervals shall be as wide as; as many as there are if left out.
        """
        sources = self.batch(split).sources
        draws = DRAWS if split == "claims" else EVIDENCE_DRAWS
        return self.once(("resampling", split, rows), lambda: Resampling(sources, draws, rows=rows))

    def members(self, module: int) -> Tensor:
        """(n,) bool: the units of a module that a lesion holds: its hidden units.

        Its inputs where it has no hidden units. Outputs are spared: a question that loses its
        outputs suffers whatever they belong to.
        """
        own = (self.labels == module) & self.is_held
        hidden = own & (np.arange(self.units.n) >= len(self.units.inputs))
        return torch.as_tensor(hidden if hidden.any() else own)

    @cached_property
    def is_held(self) -> NDArray[np.bool_]:
        """(n,) bool: inputs and hidden units."""
        return np.arange(self.units.n) < self.units.outputs.start

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """(n,) bool: inputs and hidden units that vary over the evidence and are read."""
        spread = self.lesions.activations(self.batch("train").x).std(0, correction=0).numpy()
        return self.is_held & (spread > 1e-6) & (self.graph.degrees() > 0)

    @cached_property
    def lesions(self) -> Lesions:
        """Lesions whose means come from the evidence samples."""
        return Lesions(self.model, self.units, self.batch("train").x)

    @torch.no_grad()
    def losses(self, split: Split) -> Tensor:
        """(b, heads) loss of the whole network on a split."""
        batch = self.batch(split)
        return self.once(("losses", split), lambda: self.task.losses(self.model(batch.x), batch.y))

    def losses_without_units(self, split: Split, held: Tensor) -> Tensor:
        """(b, heads) loss with the units of `held` (n,) bool at their means over the evidence."""
        batch = self.batch(split)
        return self.task.losses(self.lesions.outputs(batch.x, held), batch.y)

    def losses_without_module(self, split: Split, module: int) -> Tensor:
        """(b, heads) loss with the module's inputs and hidden units held at their means."""
        return self.once(
            ("module", split, module),
            lambda: self.losses_without_units(split, self.members(module)),
        )

    def losses_without_interface(self, split: Split, pair: tuple[int, int]) -> Tensor:
        """(b, heads) loss with the edges between two modules removed."""
        batch = self.batch(split)
        labels = torch.as_tensor(self.labels)
        outputs = without_interfaces(self.model, self.units, labels, batch.x, pair)
        return self.task.losses(outputs, batch.y)

    @torch.no_grad()
    def losses_with_wires(self, split: Split, kept: Wires) -> Tensor:
        """(b, heads) loss with only some entries of the weights."""
        batch = self.batch(split)
        return self.task.losses(MaskedRun(self.model, kept)(batch.x), batch.y)

    @torch.no_grad()
    def losses_with_resampled(
        self, split: Split, inputs: tuple[int, ...], giver: NDArray[np.int64]
    ) -> Tensor:
        """(b, heads) loss after these inputs were taken from another sample, (b,) `giver`."""
        batch = self.batch(split)
        x, chosen = batch.x.clone(), torch.as_tensor(inputs)
        x[:, chosen] = batch.x[torch.as_tensor(giver)][:, chosen]
        return self.task.losses(self.model(x), batch.y)

    def variables(self, split: Split) -> dict[str, Tensor]:
        """What a program may read of a split: `x{k}` and `answer{k}`, each (b,)."""
        batch = self.batch(split)
        inputs = {f"x{k}": batch.x[:, k] for k in range(batch.x.shape[1])}
        return inputs | {f"answer{k}": batch.y[:, k] for k in range(batch.y.shape[1])}
