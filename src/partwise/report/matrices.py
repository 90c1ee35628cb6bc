"""Weight matrices as pictures: before and after their rows and columns are sorted by module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from partwise.report.content import WeightPicture, module_shares
from partwise.report.png import signed_picture

MOST_CELLS = 384  # per side; larger matrices are pooled
SIDE = 400.0  # of the longest matrix, in drawing units
LARGEST_CELL = 24.0
CELLS_BY_LAYER = 240_000  # of all matrices of a language model
FEWEST_CELLS, MOST_CELLS_BY_LAYER = 16, 128  # per side of one of them
OUTSIDE = "outside of blocks"
LAYER = re.compile(r"(?:^|\.)(\d+)\.")


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
    """A matrix sorted by module, and as trained where there is room.

    Attributes:
        name: the parameter's name.
        shape: of the matrix, not of its drawing.
        inside: share of its capacity inside modules.
        shares: modules and the shares inside each, then -1 and the share between modules, with
            where each begins.
        before: as trained, or None.
        after: sorted.
    """

    name: str
    shape: tuple[int, int]
    inside: float
    shares: tuple[Run, ...]
    before: MatrixPanel | None
    after: MatrixPanel


@dataclass(frozen=True)
class MatrixLayer:
    """The matrices of one layer of a language model.

    Attributes:
        name: of the layer.
        figures: its matrices.
        inside: share of its capacity inside modules; every row of every matrix counts alike.
    """

    name: str
    figures: tuple[MatrixFigure, ...]
    inside: float


def matrix_figures(pictures: Sequence[WeightPicture]) -> list[MatrixFigure]:
    """Figures of all matrices, drawn to one scale."""
    if not pictures:
        return []
    longest = max(min(max(p.matrix.shape), MOST_CELLS) for p in pictures)
    cell = min(SIDE / longest, LARGEST_CELL)
    return [_figure(picture, MOST_CELLS, cell, with_before=True) for picture in pictures]


def matrix_layers(pictures: Sequence[WeightPicture]) -> list[MatrixLayer]:
    """All matrices by layer, small; the more there are, the coarser they are drawn."""
    room = int((CELLS_BY_LAYER / max(len(pictures), 1)) ** 0.5)
    most = min(max(room, FEWEST_CELLS), MOST_CELLS_BY_LAYER)
    layers: dict[str, list[MatrixFigure]] = {}
    for picture in pictures:
        layer, name = layer_and_rest(picture.name)
        longest = max(_pooled_size(size, most) for size in picture.matrix.shape)
        figure = _figure(picture, most, SIDE / longest, with_before=False)
        layers.setdefault(layer, []).append(replace(figure, name=name))
    return [
        MatrixLayer(
            name,
            tuple(figures),
            float(np.average([f.inside for f in figures], weights=[f.shape[0] for f in figures])),
        )
        for name, figures in layers.items()
    ]


def layer_and_rest(name: str) -> tuple[str, str]:
    """The layer that a parameter is in, in words, and its name there.

    >>> layer_and_rest("blocks.0.query.weight"), layer_and_rest("tokens.weight")
    (('block 0', 'query'), ('outside of blocks', 'tokens'))
    """
    bare = name.replace(".weight", "")
    match = LAYER.search(bare)
    return (f"block {match[1]}", bare[match.end() :]) if match else (OUTSIDE, bare)


def _figure(picture: WeightPicture, most: int, cell: float, *, with_before: bool) -> MatrixFigure:
    matrix, rows, columns = picture.matrix, picture.row_modules, picture.column_modules
    by_row, by_column = np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")
    masses = picture.masses
    if masses is None:
        modules = int(max(rows.max(initial=0), columns.max(initial=0))) + 1
        masses = module_shares(np.abs(matrix), rows, columns, modules)
    return MatrixFigure(
        picture.name,
        (matrix.shape[0], matrix.shape[1]),
        float(masses.trace()),
        _shares(masses),
        _panel(matrix, rows, columns, most, cell) if with_before else None,
        _panel(matrix[np.ix_(by_row, by_column)], rows[by_row], columns[by_column], most, cell),
    )


def _shares(masses: NDArray[np.float64]) -> tuple[Run, ...]:
    """The shares inside modules and between them, one after the other."""
    inside = masses.diagonal()
    parts = [*enumerate(inside.tolist()), (-1, max(0.0, float(masses.sum() - inside.sum())))]
    runs, start = [], 0.0
    for module, share in parts:
        if share > 0:
            runs.append(Run(module, start, share))
        start += share
    return tuple(runs)


def _panel(
    matrix: NDArray[np.floating],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    most: int,
    cell: float,
) -> MatrixPanel:
    row_step, column_step = (-(-size // most) for size in matrix.shape)
    small = _pooled(_pooled(matrix, column_step).T, row_step).T
    return MatrixPanel(
        signed_picture(small),
        round(small.shape[1] * cell, 2),
        round(small.shape[0] * cell, 2),
        _runs(columns[::column_step], cell),
        _runs(rows[::row_step], cell),
    )


def _pooled_size(size: int, most: int) -> int:
    """Cells along a side that is pooled until it has `most` or fewer."""
    return -(-size // -(-size // most))


def _pooled(matrix: NDArray[np.floating], step: int) -> NDArray[np.floating]:
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
