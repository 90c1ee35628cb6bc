"""All pressure on the weights as one term: value and gradient in one pass, after one that Q needs.

Sparsity pressure, Newman's Q and the share of capacity at interfaces are all functions of |w|
whose derivative is known in closed form: a number for every weight alike, and one looked up by
the modules at its two ends. So no chain of small operations is recorded, which would take longer
than the arithmetic on a small network, and would move every weight a dozen times on a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from partwise.graph import UnitMap
from partwise.loss import press_kernels as kernels

COMPILED = (torch.float32, torch.float64)
"""Types of weights on the CPU that the compiled kernels take."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Modules and scales of the two sides of one weight tensor, seen as an (r, e) matrix.

    An entry's capacity is |weight| times the scales of its row and its column.

    Attributes:
        row, column: (r,) and (e,) long, module that each row writes to and each column reads;
            `column` is (r, e) where every row reads units of its own.
        row_scale, column_scale: as `row` and `column`, in the type of the weights.
    """

    row: Tensor
    column: Tensor
    row_scale: Tensor
    column_scale: Tensor

    @classmethod
    def of(
        cls, weight: Tensor, row: Tensor, row_scale: Tensor, column: Tensor, column_scale: Tensor
    ) -> Sides:
        """Sides of a weight tensor (r, c, ...), whose kernels are seen as columns of one unit.

        Args:
            weight: the tensor.
            row, row_scale: (r,) module and scale of each row.
            column, column_scale: (c,), (1, c) or (r, c), likewise.
        """
        kernel = weight[0, 0].numel()
        if column.dim() == 2 and len(column) == 1:
            column, column_scale = column[0], column_scale[0]
        repeated = (each.repeat_interleave(kernel, -1) for each in (column, column_scale))
        column, column_scale = repeated
        return cls(row, column, row_scale, column_scale)

    @cached_property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """The four tensors in the order above, as the compiled kernels take them."""
        parts = self.row, self.column, self.row_scale, self.column_scale
        return tuple(part.contiguous().numpy() for part in parts)


@dataclass(frozen=True, eq=False)
class Ends:
    """What is at the two ends of all weights.

    Attributes:
        sides: of each tensor; none where capacities do not count.
        modules: number k of modules; 0 without sides.
    """

    sides: tuple[Sides, ...] = ()
    modules: int = 0
    _seen: dict[int, tuple[int, NDArray[np.floating]]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """A copy remembers no places: a copied array is nobody's numbers any more."""
        return {**vars(self), "_seen": {}}

    @cached_property
    def are_plain(self) -> bool:
        """Whether all rows of a tensor read the same units, as the compiled kernels want it."""
        return all(each.column.dim() == 1 for each in self.sides)

    def matrix(self, i: int, weight: Tensor) -> NDArray[np.floating]:
        """Tensor i's own numbers as an (r, e) array; a copy only where they are not in order.

        Remembered for as long as the numbers stay in one place.
        """
        place, matrix = self._seen.get(i, (0, None))
        if matrix is None or place != weight.data_ptr():
            matrix = weight.detach().contiguous().view(len(weight), -1).numpy()
            if weight.is_contiguous():
                self._seen[i] = weight.data_ptr(), matrix
        return matrix


@dataclass(frozen=True, eq=False)
class Pressure:
    """What the weights are asked for.

    Attributes:
        l1: weight of the sum over weight tensors of their mean |w|.
        disorder: weight of 1 - Newman's Q.
        interface: weight of the capacities, each times its entry of `tables`.
        tables: (tensors, k, k), in which an entry is for the capacity of one tensor that joins
            the row's module to the column's.
    """

    l1: float = 0.0
    disorder: float = 0.0
    interface: float = 0.0
    tables: NDArray[np.float64] | None = None


def press(weights: Sequence[Tensor], pressure: Pressure, ends: Ends | None = None) -> Tensor:
    """The pressure on the weights, a scalar, differentiable once.

    Args:
        weights: tensors (r, c, ...) of one type, on one device.
        pressure: what is added up.
        ends: of these weights, always the same ones; its sides may be left out where capacities
            do not count.
    """
    ends = Ends() if ends is None else ends
    can_compile = weights[0].device.type == "cpu" and weights[0].dtype in COMPILED
    run = _CompiledPress if can_compile and ends.are_plain else _Press
    value: Tensor = run.apply(pressure, ends, *weights)
    return value


def l1_penalty(model: nn.Module, units: UnitMap) -> Tensor:
    """Sum over weight tensors of their mean |w|, a scalar: the sparsity that modules need.

    Taking the mean per tensor keeps small layers, such as outputs, as sparse as large ones.
    """
    return press(units.weights(model), Pressure(l1=1.0))


def newman_q_of_masses(masses: Tensor) -> Tensor:
    """Newman's Q of a (k, k) matrix of module masses, differentiable; 0 for one module.

    In closed form, with its derivatives, it is `press_kernels.q_and_table`.
    """
    symmetric = masses + masses.T
    total = symmetric.sum()
    volume = symmetric.sum(1) / total
    return symmetric.trace() / total - (volume**2).sum()


class _CompiledPress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pressure: Pressure, ends: Ends, *weights: Tensor) -> Tensor:
        matrices = [ends.matrix(i, weight) for i, weight in enumerate(weights)]
        value, tables = _disorder(matrices, pressure, ends)
        ctx.save_for_backward(*weights)
        dtype, shapes = weights[0].dtype, [weight.shape for weight in weights]
        ctx.write = partial(_slopes, matrices, dtype, shapes, pressure, ends, tables)
        ctx.slopes, linear = ctx.write()
        return weights[0].new_tensor(value + linear)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # weights that have changed since are refused
        slopes = ctx.write()[0] if ctx.slopes is None else ctx.slopes
        ctx.slopes = None  # the engine adds other gradients to them
        factor, needed = grads[0].item(), ctx.needs_input_grad[2:]
        if factor != 1:
            slopes = [slope.mul_(factor) for slope in slopes]
        return None, None, *(s if n else None for s, n in zip(slopes, needed, strict=True))


def _disorder(
    matrices: Sequence[NDArray[np.floating]], pressure: Pressure, ends: Ends
) -> tuple[float, NDArray[np.float64]]:
    """Cost of 1 - Q, and the (tensors, k, k) derivatives of all that is asked by capacity."""
    if not pressure.disorder and pressure.tables is not None:
        return 0.0, pressure.interface * pressure.tables
    masses = np.zeros((len(matrices), ends.modules, ends.modules))
    if not pressure.disorder or not ends.sides:
        return 0.0, masses
    for matrix, side, mass in zip(matrices, ends.sides, masses, strict=True):
        kernels.add_masses(matrix, *side.arrays, mass)
    shares = masses if pressure.tables is None else pressure.tables
    tables = np.empty_like(masses)
    strengths = float(pressure.disorder), float(pressure.interface)
    return kernels.disorder_of(masses, *strengths, shares, tables), tables


def _slopes(
    matrices: Sequence[NDArray[np.floating]],
    dtype: torch.dtype,
    shapes: Sequence[torch.Size],
    pressure: Pressure,
    ends: Ends,
    tables: NDArray[np.float64],
) -> tuple[list[Tensor], float]:
    """Derivatives by the entries, in the weights' shapes, and the sum of both's products.

    That is the value, but for Q: all other terms are linear in |w|, and Q's derivatives add up
    to 0 in this way.
    """
    slopes, total = [], 0.0
    for i, matrix in enumerate(matrices):
        # Torch's memory is used again, while large arrays of numpy's ask for new pages each time.
        # And no tensor's view: to one that owns its numbers the engine adds others in place.
        slope, each = torch.empty(shapes[i], dtype=dtype), pressure.l1 / matrix.size
        written = slope.view(matrix.shape).numpy()
        if ends.sides:
            arrays = ends.sides[i].arrays
            total += kernels.write_gradient(matrix, *arrays, tables[i], each, written)
        else:
            total += kernels.write_magnitude_gradient(matrix, each, written)
        slopes.append(slope)
    return slopes, total


class _Press(torch.autograd.Function):
    """The same by tensor operations, for other devices, types and layers of several groups."""

    @staticmethod
    def forward(ctx: Any, pressure: Pressure, ends: Ends, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*weights)
        ctx.pressure, ctx.sides = pressure, ends.sides
        value = weights[0].new_zeros(())
        for weight in weights:
            value = value + pressure.l1 * weight.abs().mean()
        if not ends.sides:
            return value
        cost, ctx.tables = _cost_of_tensors(masses_of(weights, ends), pressure)
        return value + cost

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes: list[Tensor | None] = []
        for i, weight in enumerate(ctx.saved_tensors):
            if not ctx.needs_input_grad[2 + i]:
                slopes.append(None)
                continue
            each = weight.new_tensor(ctx.pressure.l1 / weight.numel())
            if ctx.sides:
                rows, columns = _members(ctx.sides[i], len(ctx.tables[i]))
                each = each + ((rows @ ctx.tables[i])[:, None] @ columns.mT).view(weight.shape)
            slopes.append(grads[0] * each * weight.sign())
        return None, None, *slopes


def _cost_of_tensors(masses: Tensor, pressure: Pressure) -> tuple[Tensor, Tensor]:
    cost, tables = masses.new_zeros(()), torch.zeros_like(masses)
    if pressure.disorder:
        with torch.enable_grad():
            table = masses.sum(0).detach().requires_grad_()
            q = newman_q_of_masses(table)
            (slope,) = torch.autograd.grad(q, table)
        cost, tables = pressure.disorder * (1 - q.detach()), tables - pressure.disorder * slope
    if pressure.tables is not None:
        costs = torch.as_tensor(pressure.interface * pressure.tables).to(masses)
        cost, tables = cost + (masses * costs).sum(), tables + costs
    return cost, tables


def masses_of(weights: Sequence[Tensor], ends: Ends) -> Tensor:
    """(tensors, k, k) capacity through which each module reads each module; differentiable."""
    pairs = zip(weights, ends.sides, strict=True)
    return torch.stack([_masses(weight, sides, ends.modules) for weight, sides in pairs])


def _masses(weight: Tensor, sides: Sides, modules: int) -> Tensor:
    capacity, (rows, columns) = weight.abs().flatten(1), _members(sides, modules)
    if columns.dim() == 2:
        return rows.T @ (capacity @ columns)
    return torch.einsum("rk,re,rel->kl", rows, capacity, columns)


def _members(sides: Sides, modules: int) -> tuple[Tensor, Tensor]:
    """Scaled memberships, (r, k) of rows and (e, k) or (r, e, k) of columns."""
    ids = torch.arange(modules, device=sides.row.device)
    return (
        (sides.row[..., None] == ids) * sides.row_scale[..., None],
        (sides.column[..., None] == ids) * sides.column_scale[..., None],
    )
