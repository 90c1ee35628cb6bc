"""Weight matrices before and after their rows and columns are sorted by module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.report.content import WeightPicture
from partwise.report.png import signed_picture

MOST_CELLS = 384  # per side; larger matrices are pooled
SIDE = 400.0  # of the longest matrix, in drawing units
LARGEST_CELL = 24.0
MARGIN = 20.0


@dataclass(frozen=True)
class Run:
    """Neighbouring rows or columns of one module, in drawing units."""

    module: int
    start: float
    length: float


@dataclass(frozen=True)
class MatrixPanel:
    """One drawing of a matrix; module runs along both edges."""

    uri: str
    width: float
    height: float
    columns: tuple[Run, ...]
    rows: tuple[Run, ...]

    @property
    def blocks(self) -> list[tuple[Run, Run]]:
        """Pairs of column and row runs that belong to the same module."""
        return [(c, r) for c in self.columns for r in self.rows if c.module == r.module]


@dataclass(frozen=True)
class MatrixFigure:
    """A matrix twice: as trained, and sorted by module."""

    name: str
    shape: tuple[int, int]
    inside: float
    before: MatrixPanel
    after: MatrixPanel


def matrix_figures(pictures: Sequence[WeightPicture]) -> list[MatrixFigure]:
    """Figures of all matrices, drawn to one scale."""
    longest = max(min(max(p.matrix.shape), MOST_CELLS) for p in pictures)
    return [_figure(picture, min(SIDE / longest, LARGEST_CELL)) for picture in pictures]


def _figure(picture: WeightPicture, cell: float) -> MatrixFigure:
    matrix, rows, columns = picture.matrix, picture.row_modules, picture.column_modules
    by_row, by_column = np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")
    size = np.abs(matrix)
    inside = size[rows[:, None] == columns[None]].sum() / (size.sum() or 1.0)
    return MatrixFigure(
        picture.name,
        (matrix.shape[0], matrix.shape[1]),
        float(inside),
        _panel(matrix, rows, columns, cell),
        _panel(matrix[np.ix_(by_row, by_column)], rows[by_row], columns[by_column], cell),
    )


def _panel(
    matrix: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    cell: float,
) -> MatrixPanel:
    row_step, column_step = (-(-size // MOST_CELLS) for size in matrix.shape)
    small = _pooled(_pooled(matrix, column_step).T, row_step).T
    return MatrixPanel(
        signed_picture(small),
        round(small.shape[1] * cell, 2),
        round(small.shape[0] * cell, 2),
        _runs(columns[::column_step], cell),
        _runs(rows[::row_step], cell),
    )


def _pooled(matrix: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Along rows, the entry of largest magnitude of every `step` neighbours."""
    if step == 1:
        return matrix
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % step)))
    groups = padded.reshape(len(matrix), -1, step)
    return np.take_along_axis(groups, np.abs(groups).argmax(2)[..., None], 2)[..., 0]


def _runs(modules: NDArray[np.int64], cell: float) -> tuple[Run, ...]:
    starts = np.flatnonzero(np.r_[True, modules[1:] != modules[:-1]])
    stops = np.r_[starts[1:], len(modules)]
    return tuple(
        Run(int(modules[a]), round(float(a) * cell, 2), round(float(b - a) * cell, 2))
        for a, b in zip(starts, stops, strict=True)
    )
