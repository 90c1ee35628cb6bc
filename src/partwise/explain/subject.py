"""What is being explained: a network, its units, its modules and its task."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.capability.lesions import Lesions, without_interfaces
from partwise.errors import DataError
from partwise.graph import UnitGraph, UnitMap
from partwise.modules import module_masses
from partwise.tasks import Batch, Split, Task


@dataclass(frozen=True, eq=False)
class Subject:
    """A network taken apart.

    Attributes:
        model: the network.
        units: its unit map.
        graph: its unit graph.
        labels: (n,) module of each unit.
        task: where samples come from; its true modules are never read here.
        samples: samples per split.
        seed: seed of the samples.
    """

    model: nn.Module
    units: UnitMap
    graph: UnitGraph
    labels: NDArray[np.int64]
    task: Task
    samples: int = 1000
    seed: int = 0
    _batches: dict[Split, Batch] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        wide = (len(self.units.groups[0]), len(self.units.groups[-1]))
        if wide != (len(self.task.inputs), len(self.task.outputs)):
            raise DataError(
                f"the network has {wide[0]} inputs and {wide[1]} outputs, task "
                f"{self.task.name} has {len(self.task.inputs)} and {len(self.task.outputs)}"
            )

    @property
    def modules(self) -> int:
        """Number of modules."""
        return int(self.labels.max()) + 1

    @property
    def interfaces(self) -> list[tuple[int, int]]:
        """Pairs of modules that share at least one edge."""
        mass = module_masses(self.graph, self.labels)
        return [pair for pair in combinations(range(self.modules), 2) if mass[pair] > 0]

    def batch(self, split: Split) -> Batch:
        """The samples of a split, always the same ones."""
        if split not in self._batches:
            self._batches[split] = self.task.batch(split, self.samples, (self.seed, 77))
        return self._batches[split]

    def members(self, module: int) -> Tensor:
        """(n,) bool: the units of a module."""
        return torch.as_tensor(self.labels == module)

    @cached_property
    def lesions(self) -> Lesions:
        """Lesions whose means come from the evidence samples."""
        return Lesions(self.model, self.units, self.batch("train").x)

    @torch.no_grad()
    def losses(self, split: Split) -> Tensor:
        """(b, heads) loss of the whole network on a split."""
        batch = self.batch(split)
        return self.task.losses(self.model(batch.x), batch.y)

    def losses_without_module(self, split: Split, module: int) -> Tensor:
        """(b, heads) loss with the module's units held at their means."""
        batch = self.batch(split)
        return self.task.losses(self.lesions.outputs(batch.x, self.members(module)), batch.y)

    def losses_without_interface(self, split: Split, pair: tuple[int, int]) -> Tensor:
        """(b, heads) loss with the edges between two modules removed."""
        batch = self.batch(split)
        labels = torch.as_tensor(self.labels)
        outputs = without_interfaces(self.model, self.units, labels, batch.x, pair)
        return self.task.losses(outputs, batch.y)

    @torch.no_grad()
    def losses_with_resampled(self, split: Split, inputs: tuple[int, ...]) -> Tensor:
        """(b, heads) loss after these inputs were exchanged with another sample's."""
        batch = self.batch(split)
        other = torch.as_tensor(np.random.default_rng(self.seed).permutation(len(batch.x)))
        x, chosen = batch.x.clone(), torch.as_tensor(inputs)
        x[:, chosen] = batch.x[other][:, chosen]
        return self.task.losses(self.model(x), batch.y)

    def variables(self, split: Split) -> dict[str, Tensor]:
        """What a program may read of a split: `x{k}` and `answer{k}`, each (b,)."""
        batch = self.batch(split)
        inputs = {f"x{k}": batch.x[:, k] for k in range(batch.x.shape[1])}
        return inputs | {f"answer{k}": batch.y[:, k] for k in range(batch.y.shape[1])}
