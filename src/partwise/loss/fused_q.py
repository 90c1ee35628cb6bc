# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Newman's Q of a partition straight from the weights: one pass for Q, one for its gradient.

The derivative of Q by the capacity of an entry depends on the modules of its two ends only, so
the gradient is a lookup in a (k, k) table, times the scales and the sign of the weight. With a
closed form for that table no chain of small operations is recorded: on a network of a few
thousand weights those take longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

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

    @cached_property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """The four tensors in the order above, as the compiled kernels take them."""
        parts = self.row, self.column, self.row_scale, self.column_scale
        return tuple(part.contiguous().numpy() for part in parts)


def sides_of(weight: Tensor, rows: Tensor, columns: Tensor) -> Sides:
    """Sides of a weight tensor from scaled memberships.

    Args:
        weight: (r, c, ...); capacities are summed over trailing kernel dimensions.
        rows: (r, k) as in `block_masses`.
        columns: (c, k) as in `block_masses`, or (r, c, k) as in `entry_masses`.
    """
    kernel = weight[0, 0].numel()
    column, scale = columns.argmax(-1), columns.sum(-1)
    return Sides(
        rows.argmax(-1),
        column.repeat_interleave(kernel, -1),
        rows.sum(-1),
        scale.repeat_interleave(kernel, -1),
    )


def fused_q(weights: Sequence[Tensor], sides: Sequence[Sides], modules: int) -> Tensor:
    """Newman's Q of a partition under |weights|, a scalar, differentiable once.

    The value and the gradient of `newman_q_of_masses` on the sum of `block_masses`.

    Args:
        weights: tensors (r, c, ...) of one type, on one device.
        sides: of each tensor.
        modules: number k of modules.
    """
    return _FusedQ.apply(modules, tuple(sides), *weights)


class _FusedQ(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, modules: int, sides: tuple[Sides, ...], *weights: Tensor) -> Tensor:
        ctx.sides, ctx.is_compiled = sides, _is_compiled(weights[0])
        ctx.save_for_backward(*weights)
        if not ctx.is_compiled:
            q, ctx.table = _q_by_tensors(weights, sides, modules)
            return q
        ctx.matrices = [_matrix(weight) for weight in weights]
        value, ctx.table = _q_compiled(ctx.matrices, sides, modules)
        return weights[0].new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, matrices = ctx.saved_tensors, ctx.matrices if ctx.is_compiled else None
        table = ctx.table * (grads[0] if matrices is None else grads[0].item())
        slopes: list[Tensor | None] = []
        for i, (weight, side) in enumerate(zip(weights, ctx.sides, strict=True)):
            if not ctx.needs_input_grad[2 + i]:
                slopes.append(None)
            elif matrices is None:
                slopes.append(_gradient_by_tensors(weight, side, table))
            else:
                slopes.append(_gradient_compiled(matrices[i], side, table).view(weight.shape))
        return None, None, *slopes


def _is_compiled(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in COMPILED


def _q_by_tensors(
    weights: Sequence[Tensor], sides: Sequence[Sides], modules: int
) -> tuple[Tensor, Tensor]:
    """Q, and the (k, k) table of its derivatives by capacity."""
    masses = sum(
        (_masses(*pair, modules) for pair in zip(weights, sides, strict=True)),
        weights[0].new_zeros(modules, modules),
    )
    total, eye = 2 * masses.sum(), torch.eye(modules, dtype=masses.dtype, device=masses.device)
    inside, volume = 2 * masses.trace() / total, (masses.sum(0) + masses.sum(1)) / total
    squares = (volume**2).sum()
    table = 2 * (eye - inside - volume[:, None] - volume + 2 * squares) / total
    return inside - squares, table


def _masses(weight: Tensor, sides: Sides, modules: int) -> Tensor:
    """(k, k) capacity through which each module reads each module."""
    capacity, (rows, columns) = weight.abs().flatten(1), _members(sides, modules)
    if columns.dim() == 2:
        return rows.T @ (capacity @ columns)
    return torch.einsum("rk,re,rel->kl", rows, capacity, columns)


def _gradient_by_tensors(weight: Tensor, sides: Sides, table: Tensor) -> Tensor:
    rows, columns = _members(sides, len(table))
    slope = (rows @ table)[:, None] @ columns.mT
    return weight.sign() * slope.view(weight.shape)


def _members(sides: Sides, modules: int) -> tuple[Tensor, Tensor]:
    """Scaled memberships, (r, k) of rows and (e, k) or (r, e, k) of columns."""
    ids = torch.arange(modules, device=sides.row.device)
    return (
        (sides.row[..., None] == ids) * sides.row_scale[..., None],
        (sides.column[..., None] == ids) * sides.column_scale[..., None],
    )


def _q_compiled(
    matrices: Sequence[NDArray[np.floating]], sides: Sequence[Sides], modules: int
) -> tuple[float, NDArray[np.float64]]:
    masses = np.zeros((modules, modules))
    for matrix, side in zip(matrices, sides, strict=True):
        add: Any = _add_masses if side.column.dim() == 1 else _add_entry_masses
        add(matrix, *side.arrays, masses)
    return _q_and_table(masses)


def _gradient_compiled(
    matrix: NDArray[np.floating], side: Sides, table: NDArray[np.float64]
) -> Tensor:
    """(r, e) derivative of Q by the entries of a matrix, for a table of derivatives by capacity."""
    slope = np.empty_like(matrix)
    write: Any = _write_gradient if side.column.dim() == 1 else _write_entry_gradient
    write(matrix, *side.arrays, table, slope)
    return torch.from_numpy(slope)


def _matrix(weight: Tensor) -> NDArray[np.floating]:
    """A weight's own numbers as an (r, e) array; a copy only where they are not in order."""
    matrix = weight.detach().contiguous()
    return (matrix if matrix.dim() == 2 else matrix.flatten(1)).numpy()


@njit(cache=True, nogil=True)
def _add_masses(weight, row, column, row_scale, column_scale, masses):
    """Adds the capacities of an (r, e) weight to (k, k) `masses`.

    Rows of one module are added up first: that loop is over consecutive entries only.
    """
    r, e = weight.shape
    by_column = np.zeros((len(masses), e), weight.dtype)
    for i in range(r):
        scale, sums, entries = row_scale[i], by_column[row[i]], weight[i]
        for j in range(e):
            sums[j] += scale * abs(entries[j])
    for a in range(len(masses)):
        for j in range(e):
            masses[a, column[j]] += by_column[a, j] * column_scale[j]


@njit(cache=True, nogil=True)
def _add_entry_masses(weight, row, column, row_scale, column_scale, masses):
    r, e = weight.shape
    for i in range(r):
        for j in range(e):
            capacity = row_scale[i] * abs(weight[i, j]) * column_scale[i, j]
            masses[row[i], column[i, j]] += capacity


@njit(cache=True, nogil=True, error_model="numpy")
def _q_and_table(masses):
    """Q, and the (k, k) table of its derivatives by capacity.

    With total t, inside share s and volumes v: Q = s - sum v^2, and a capacity from module b to
    module a changes it by 2 ([a = b] - s - v_a - v_b + 2 sum v^2) / t.
    """
    k = len(masses)
    total = 2 * masses.sum()
    volume, inside = np.zeros(k), 2 * np.trace(masses) / total
    for a in range(k):
        volume[a] = (masses[a].sum() + masses[:, a].sum()) / total
    squares = (volume**2).sum()
    table = np.empty((k, k))
    for a in range(k):
        for b in range(k):
            table[a, b] = 2 * ((a == b) - inside - volume[a] - volume[b] + 2 * squares) / total
    return inside - squares, table


@njit(cache=True, nogil=True)
def _write_gradient(weight, row, column, row_scale, column_scale, table, slope):
    r, e = weight.shape
    lookup = np.empty((len(table), e), weight.dtype)
    for a in range(len(table)):
        for j in range(e):
            lookup[a, j] = table[a, column[j]] * column_scale[j]
    for i in range(r):
        scale, entries, slopes, out = row_scale[i], weight[i], lookup[row[i]], slope[i]
        for j in range(e):
            out[j] = scale * slopes[j] * np.sign(entries[j])


@njit(cache=True, nogil=True)
def _write_entry_gradient(weight, row, column, row_scale, column_scale, table, slope):
    r, e = weight.shape
    for i in range(r):
        for j in range(e):
            step = row_scale[i] * column_scale[i, j] * table[row[i], column[i, j]]
            slope[i, j] = np.sign(weight[i, j]) * step
