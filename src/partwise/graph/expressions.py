"""Tensors that are computed from a model's parameters alone, as small programs.

A pruned weight, a normalisation's gain and a transposed table are no parameters. What is kept of
them is how to compute them, so that any later state of the model gives their value then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from partwise.errors import GraphError


class Expression(Protocol):
    """What a tensor is computed from."""

    def value(self, model: nn.Module) -> Tensor:
        """The tensor in the model's present state; differentiable in its parameters.

        Raises:
            GraphError: if the model has lost a tensor that is needed.
        """
        ...

    def names(self) -> Iterator[str]:
        """Names of the parameters and buffers that it depends on."""
        ...


@dataclass(frozen=True)
class Stored:
    """A parameter or a buffer."""

    name: str
    is_parameter: bool = True

    @cached_property
    def _path(self) -> tuple[str, ...]:
        return tuple(self.name.split("."))

    def value(self, model: nn.Module) -> Tensor:
        """See `Expression`."""
        owner: nn.Module | None = model
        for step in self._path[:-1]:
            owner = None if owner is None else owner._modules.get(step)
        found: Tensor | None = None
        if owner is not None:
            table: Any = owner._parameters if self.is_parameter else owner._buffers
            found = table.get(self._path[-1])
        if found is None:
            raise GraphError(f"the model has no weight '{self.name}' any more")
        return found

    def names(self) -> Iterator[str]:
        """See `Expression`."""
        yield self.name


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that no state of the model changes."""

    tensor: Tensor

    def value(self, model: nn.Module) -> Tensor:
        """See `Expression`."""
        return self.tensor

    def names(self) -> Iterator[str]:
        """None."""
        return iter(())


@dataclass(frozen=True, eq=False)
class Computed:
    """The result of an operation on other expressions.

    Attributes:
        function: what computes it.
        args, kwargs: its arguments; expressions stand where tensors go.
        place: which of its results, where it has several.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    place: int | None = None

    def value(self, model: nn.Module) -> Tensor:
        """See `Expression`."""

        def known(part: Any) -> Tensor:
            value: Tensor = part.value(model)
            return value

        kinds = (Stored, Constant, Computed)
        args, kwargs = tree_map_only(kinds, known, (self.args, self.kwargs))
        result = self.function(*args, **kwargs)
        value: Tensor = result if self.place is None else result[self.place]
        return value

    def names(self) -> Iterator[str]:
        """See `Expression`."""
        for leaf in tree_leaves((self.args, self.kwargs)):
            if isinstance(leaf, Stored | Constant | Computed):
                yield from leaf.names()


KINDS = (Stored, Constant, Computed)
_SAME = {"detach", "alias", "lift_fresh", "_to_copy", "clone", "contiguous"}
_TURNED = {"t", "numpy_T", "mT"}


def plain_matrix(weight: Expression) -> tuple[Stored, bool] | None:
    """The parameter that a matrix is, and whether it is its transpose; None where it is computed.

    Seen through transposes; a matrix that was turned twice is the parameter itself.
    """
    turned = False
    while isinstance(weight, Computed):
        name = getattr(weight.function, "_opname", "")
        if name in _TURNED or (name in ("transpose", "permute") and _swaps(weight)):
            turned = not turned
        elif name not in _SAME or weight.kwargs.get("dtype") is not None:
            return None
        weight = weight.args[0]
    return (weight, turned) if isinstance(weight, Stored) and weight.is_parameter else None


def _swaps(turn: Computed) -> bool:
    """Whether a transpose or permutation swaps the two axes of a matrix."""
    axes = turn.args[1:] if len(turn.args) == 3 else turn.args[1]
    order = [axis % 2 for axis in axes]
    named = "transpose" in getattr(turn.function, "_opname", "")
    return sorted(order) == [0, 1] and (named or order == [1, 0])


def normalising_gain(weight: Expression | None, variance: Expression, eps: float) -> Expression:
    """What BatchNorm multiplies each channel with at inference: weight / sqrt(variance + eps)."""

    def gain(variance: Tensor, weight: Tensor | None = None) -> Tensor:
        spread = torch.rsqrt(variance + eps)
        return spread if weight is None else weight * spread

    return Computed(gain, (variance,) if weight is None else (variance, weight))
