"""What is true of a compiled network. For scoring only: no writer and no decompiler reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partwise.modules import Partition


@dataclass(frozen=True)
class Component:
    """An operation's place in the network.

    Attributes:
        role: what it does, of `zoo.roles`.
        kind: `"embedding"`, `"head"` or `"neurons"`.
        block: the block it is in; -1 for an embedding.
        units: the heads or neurons, as units of `units_of`; the tokens of an embedding.
        channels: the residual channels that it alone writes, as units.
        reads: positions, in `Truth.components`, of the operations that it reads; ascending.
    """

    role: str
    kind: str
    block: int
    units: tuple[int, ...]
    channels: tuple[int, ...]
    reads: tuple[int, ...]


@dataclass(frozen=True)
class Truth:
    """The operations of a compiled network, in order of computation.

    Attributes:
        components: one for each operation.
        output: position of the component that gives the answer.
        units: number of units of the network.
    """

    components: tuple[Component, ...]
    output: int
    units: int

    @property
    def partition(self) -> Partition:
        """The true modules: one for each operation; units that do nothing are one more."""
        labels = np.full(self.units, len(self.components))
        for i, component in enumerate(self.components):
            labels[[*component.units, *component.channels]] = i
        return Partition.of(np.unique(labels, return_inverse=True)[1])
