"""A partition: which units belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from partwise.errors import DataError

FORMAT = "partwise.partition/1"


@dataclass(frozen=True, eq=False)
class Partition:
    """The units of a network, each in one module.

    `partition[k]` are the units of module k. Two partitions are equal where every unit has the
    same number in both.

    Attributes:
        labels: (n,) int64, the module of each unit; numbered 0, 1, ... without a gap, read-only.

    >>> part = Partition.of([0, 1, 1])
    >>> part.modules, part[1].tolist(), part.sizes.tolist()
    (2, [1, 2], [1, 2])
    """

    labels: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Partition | ArrayLike | Tensor, n: int | None = None) -> Partition:
        """A partition from whatever holds a module number per unit.

        Args:
            labels: (n,) whole numbers from 0; a partition is returned as it is.
            n: how many units there must be.

        Raises:
            DataError: if they are no list of whole numbers from 0 without a gap, or not `n`.
        """
        part = labels if isinstance(labels, Partition) else cls(_checked(labels))
        if n is not None and len(part) != n:
            raise DataError(f"there are {len(part)} labels for {n} units")
        return part

    @classmethod
    def whole(cls, n: int) -> Partition:
        """All of `n` units in one module."""
        return cls(_frozen(np.zeros(n, np.int64)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, module: int) -> NDArray[np.int64]:
        """The units of a module, rising.

        Raises:
            DataError: if there is no such module.
        """
        return np.flatnonzero(self.holds(module))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partition) and np.array_equal(self.labels, other.labels)

    def __hash__(self) -> int:
        return hash(self.labels.tobytes())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The labels, where an array is wanted."""
        return np.array(self.labels, dtype=dtype, copy=copy)

    @cached_property
    def modules(self) -> int:
        """Number of modules."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(modules,) number of units in each."""
        return np.bincount(self.labels, minlength=self.modules)

    def holds(self, module: int) -> NDArray[np.bool_]:
        """(n,) whether each unit is in a module.

        Raises:
            DataError: if there is no such module.
        """
        if not 0 <= module < self.modules:
            raise DataError(f"there is no module {module}; they are 0 to {self.modules - 1}")
        return self.labels == module

    def pair(self, a: int, b: int) -> tuple[int, int]:
        """Two modules that an interface can join, in rising order.

        Raises:
            DataError: if one does not exist, or they are the same.
        """
        for module in (a, b):
            self.holds(module)
        if a == b:
            raise DataError(f"module {a} has no interface with itself; name two modules")
        return min(a, b), max(a, b)

    @property
    def tensor(self) -> Tensor:
        """(n,) the labels as a tensor of its own."""
        return torch.from_numpy(self.labels.copy())

    def to_json(self) -> dict[str, Any]:
        """Itself in plain values, with the format's version."""
        return {"format": FORMAT, "labels": self.labels.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], n: int | None = None) -> Partition:
        """What `to_json` gave.

        Raises:
            DataError: for another format, or as `of`.
        """
        if values.get("format") != FORMAT:
            raise DataError(f"format {values.get('format')!r} is not readable; wanted {FORMAT}")
        return cls.of(values.get("labels", ()), n)


def _checked(labels: ArrayLike | Tensor) -> NDArray[np.int64]:
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu" or not len(values):
        raise DataError(
            f"labels must be a list of whole numbers, one per unit; got {values.dtype} of shape "
            f"{values.shape}"
        )
    found = np.array(values, np.int64)
    if not np.array_equal(np.unique(found), np.arange(found.max() + 1)):
        raise DataError("modules must be numbered 0, 1, ... without a gap")
    return _frozen(found)


def _frozen(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    labels.flags.writeable = False
    return labels
