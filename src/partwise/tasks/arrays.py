"""Tasks from somebody's own arrays, data frames and pictures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from partwise.errors import DataError, DataWarning
from partwise.tasks.task import Batch, Head, Rows, Split, Task, some_of

SHARES = {"train": (0.0, 0.6), "claims": (0.6, 0.8), "final": (0.8, 1.0)}
DEALT: tuple[Split, ...] = ("train", "claims", "train", "final", "train")
"""To which splits each five rows that are alike go: 60 : 20 : 20."""
MOST_CLASSES = 1000
Kind = Literal["classes", "binary", "value"]


@dataclass(frozen=True, eq=False)
class _Question:
    """A column of answers, as a head judges it."""

    name: str
    kind: Kind
    values: NDArray[np.float64]
    classes: tuple[str, ...]  # the outputs' names; of a binary head or a value, one

    @property
    def outputs(self) -> list[str]:
        many = self.kind == "classes"
        return [f"{self.name} {each}" for each in self.classes] if many else [self.name]


def task_from_arrays(
    name: str,
    x: ArrayLike,
    y: Any,
    kind: Kind | Sequence[Kind] = "classes",
    *,
    inputs: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    picture: tuple[int, int] | None = None,
    splits: Sequence[str] | None = None,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    ranges: ArrayLike | None = None,
    seed: int = 0,
) -> Task:
    """A task over fixed rows, shuffled and dealt 60 : 20 : 20 to train, claims and final.

    Rows of each class (of similar values, for a value) are spread over the splits alike. Every
    held-out row counts once; rows of one group stay in one split and count as one.

    Args:
        name: what reports call it.
        x: (rows, inputs) finite numbers, or a data frame, whose column names are kept; pictures
            as (rows, height, width) or (rows, channels, height, width) are laid out in a line.
        y: (rows,) or (rows, heads), or a data frame or mapping with a column per head. Class
            labels may be numbers from 0, any other numbers or strings (numbered in their sorted
            order), or one-hot rows.
        kind: what `y` holds: `"classes"`, `"binary"` (two values) or `"value"`; one for all
            columns, or one each.
        inputs: a name per input.
        heads: a name per column of `y`.
        classes: all labels of a class head, in the order of the network's outputs.
        picture: height and width, if the inputs are pixels in row order.
        splits: `"train"`, `"claims"` or `"final"` for each row, in place of the dealing.
        groups: (rows,) rows with the same value belong together: a patient's visits, say. Or an
            array (rows, parts), what each row was put together from, each in one split only, where
            `splits` are given: rows that share a part are not independent.
        ranges: (inputs, 2) smallest and largest value each input can take; what the rows show
            when left out.
        seed: seed of the dealing.

    Raises:
        DataError: if shapes, names or labels do not fit, a value is not finite, or there are too
            few rows for three splits.
    """
    table, names, picture = _inputs(x, inputs, picture)
    questions = _questions(y, kind, heads, classes, len(table))
    held = _grouping(groups, len(table))
    if splits is not None:
        split = _given_splits(splits, len(table))
        _refuse_shared(held, split)
    elif held.ndim > 1:
        raise DataError("rows put together from several parts need splits; give one for each row")
    else:
        split = _dealt(questions, held, seed)
    rows = {each: np.flatnonzero(split == each) for each in get_args(Split)}
    if any(len(own) == 0 for own in rows.values()):
        raise DataError(
            f"{len(table)} rows in {len(np.unique(held))} groups leave a split empty; give more"
        )
    _say_missing(name, questions, rows)
    samples = torch.as_tensor(table, dtype=torch.float32)
    answers = torch.as_tensor(np.stack([q.values for q in questions], 1), dtype=torch.float32)

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        own = rows[split]
        chosen = torch.as_tensor(own[rng.integers(0, len(own), size)])
        return Batch(samples[chosen], answers[chosen])

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        own = rows[split]
        chosen = own[some_of(len(own), most, rng)]
        return Rows(samples[chosen], answers[chosen], held[chosen].reshape(len(chosen), -1))

    ends = np.cumsum([0, *(len(q.outputs) for q in questions)]).tolist()
    return Task(
        name,
        names,
        tuple(output for q in questions for output in q.outputs),
        tuple(
            Head(q.name, start, stop, q.kind)
            for q, (start, stop) in zip(questions, pairwise(ends), strict=True)
        ),
        sample,
        picture=picture,
        ranges=_ranges(ranges, table),
        distinct=distinct,
    )


def _inputs(
    x: Any, names: Sequence[str] | None, picture: tuple[int, int] | None
) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[int, int] | None]:
    """(rows, inputs) numbers, a name per input, and the picture's size where it is one."""
    columns = getattr(x, "columns", None)
    table = _numbers(x)
    if table.dim() not in (2, 3, 4):
        raise DataError(
            f"x is {tuple(table.shape)}; give (rows, inputs), (rows, height, width) or "
            "(rows, channels, height, width)"
        )
    if table.numel() == 0:
        raise DataError(f"x is {tuple(table.shape)}: it holds nothing")
    shape = tuple(table.shape[1:])
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    flat = table.reshape(len(table), -1).numpy()
    if not np.isfinite(flat).all():
        raise DataError("x holds NaN or infinite values; repair or drop those rows")
    if len(shape) == 2 and picture is None:
        picture = (shape[0], shape[1])
    if picture is not None and (len(picture) != 2 or np.prod(picture) != flat.shape[1]):
        raise DataError(f"a picture of {picture} pixels does not fit {flat.shape[1]} inputs")
    if names is None:
        names = _input_names(columns, shape, picture, flat.shape[1])
    if len(names) != flat.shape[1]:
        raise DataError(f"{len(names)} input names for {flat.shape[1]} inputs; give one each")
    return flat, tuple(map(str, names)), picture


def _numbers(x: Any) -> torch.Tensor:
    try:
        if isinstance(x, torch.Tensor):
            return x.detach().cpu().double()
        return torch.from_numpy(np.array(x, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"x holds what is no number ({error}); encode text columns first, for example with "
            "pandas.get_dummies"
        ) from error


def _input_names(
    columns: Any, shape: tuple[int, ...], picture: tuple[int, int] | None, wide: int
) -> Sequence[str]:
    if columns is not None and len(shape) == 1:
        return [str(column) for column in columns]
    if len(shape) == 3:
        spans = [range(size) for size in shape]
        return [f"channel {c} pixel {r},{k}" for c in spans[0] for r in spans[1] for k in spans[2]]
    if picture is not None:
        return [f"pixel {r},{k}" for r in range(picture[0]) for k in range(picture[1])]
    return [f"input {k}" for k in range(wide)]


def _questions(
    y: Any,
    kind: Kind | Sequence[Kind],
    heads: Sequence[str] | None,
    classes: Sequence[Any] | None,
    rows: int,
) -> list[_Question]:
    columns, found = _columns(y, kind)
    names = list(found) if heads is None else list(map(str, heads))
    kinds = [kind] * len(columns) if isinstance(kind, str) else list(kind)
    if not len(names) == len(kinds) == len(columns):
        raise DataError(
            f"y has {len(columns)} columns, with {len(names)} names, {len(kinds)} kinds"
        )
    for each in kinds:
        if each not in get_args(Kind):
            raise DataError(f"no kind {each!r}; there are {', '.join(get_args(Kind))}")
    for column in columns:
        if len(column) != rows:
            raise DataError(f"x has {rows} rows and y {len(column)}; give an answer for each row")
    if rows < 5:
        raise DataError(f"{rows} rows cannot be split three ways; give at least 5")
    made = zip(names, kinds, columns, strict=True)
    return [_question(name, each, column, classes) for name, each, column in made]


def _columns(y: Any, kind: Kind | Sequence[Kind]) -> tuple[list[NDArray[Any]], list[str]]:
    """The columns of the answers, and their names."""
    if isinstance(y, Mapping) or hasattr(y, "columns"):
        return [np.asarray(y[key]) for key in y], [str(key) for key in y]
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    table = np.asarray(y)
    title = str(getattr(y, "name", None) or "question 0")
    if table.ndim == 1:
        return [table], [title]
    if table.ndim != 2 or table.shape[1] == 0:
        raise DataError(f"y is {table.shape}; give (rows,) or (rows, heads)")
    if kind == "classes" and _is_one_hot(table):
        return [table.argmax(1)], [title]
    return list(table.T), [f"question {k}" for k in range(table.shape[1])]


def _is_one_hot(table: NDArray[Any]) -> bool:
    """Whether each row is 1 in one column and 0 in the others, of three or more columns.

    Two columns of which one is 1 could as well be two questions.
    """
    if table.shape[1] < 3 or table.dtype.kind not in "biuf":
        return False
    return bool(np.isin(table, (0, 1)).all() and (table.sum(1) == 1).all())


def _question(
    name: str, kind: Kind, column: NDArray[Any], classes: Sequence[Any] | None
) -> _Question:
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        raise DataError(f"y of '{name}' holds NaN or infinite values; repair or drop those rows")
    if kind == "value":
        try:
            return _Question(name, kind, column.astype(np.float64), (name,))
        except (TypeError, ValueError) as error:
            raise DataError(f"y of '{name}' is no number ({error}); wanted for 'value'") from error
    known = _labels(name, column, classes if kind == "classes" else None)
    if kind == "binary" and len(known) > 2:
        raise DataError(f"y of '{name}' has {len(known)} values; kind 'binary' wants two")
    place = {label: k for k, label in enumerate(known)}
    numbers = np.array([place[label] for label in column.tolist()], np.float64)
    return _Question(name, kind, numbers, tuple(map(str, known)) if kind == "classes" else (name,))


def _labels(name: str, column: NDArray[Any], classes: Sequence[Any] | None) -> list[Any]:
    """The labels of a column in the order of their numbers."""
    seen = set(column.tolist())
    if classes is not None:
        if strange := seen - set(classes):
            raise DataError(f"y of '{name}' holds {strange.pop()!r}, which is not among `classes`")
        return list(classes)
    if any(isinstance(label, float) and label != int(label) for label in seen):
        raise DataError(f"y of '{name}' holds numbers that are not whole; is its kind 'value'?")
    try:
        known = sorted(seen)
    except TypeError as error:
        raise DataError(f"labels of '{name}' are of mixed types ({error}); use one") from error
    if known[0] == 0 and known[-1] < MOST_CLASSES:
        known = list(range(int(known[-1]) + 1))  # numbers already, some perhaps not seen here
    if len(known) > MOST_CLASSES:
        raise DataError(f"y of '{name}' has {len(known)} classes, more than {MOST_CLASSES}")
    return known


def _grouping(groups: Sequence[Any] | NDArray[Any] | None, rows: int) -> NDArray[np.int64]:
    """(rows,) or (rows, parts), a number per group; each row its own where none are given."""
    if groups is None:
        return np.arange(rows)
    if len(groups) != rows:
        raise DataError(f"{len(groups)} groups for {rows} rows; give one each")
    if isinstance(groups, np.ndarray) and groups.ndim == 2:
        columns = [_grouping(column.tolist(), rows) for column in groups.T]
        return np.stack([column + k * rows for k, column in enumerate(columns)], 1)
    numbers = dict[Any, int]()
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups])


def _refuse_shared(held: NDArray[np.int64], split: NDArray[np.str_]) -> None:
    """Stops a part that is in two splits: what is tested on would have been seen."""
    if held.ndim == 1:
        return
    for number, column in enumerate(held.T):
        pairs = {(part, own) for part, own in zip(column.tolist(), split.tolist(), strict=True)}
        if len(pairs) > len(np.unique(column)):
            raise DataError(f"parts of column {number} of groups are in several splits; split them")


def _given_splits(splits: Sequence[str], rows: int) -> NDArray[np.str_]:
    found = np.asarray(splits, dtype=np.str_)
    if found.shape != (rows,):
        raise DataError(f"splits is {found.shape} for {rows} rows; give one for each row")
    if strange := set(found.tolist()) - set(get_args(Split)):
        raise DataError(f"no split {strange.pop()!r}; there are {', '.join(get_args(Split))}")
    return found


def _dealt(questions: list[_Question], held: NDArray[np.int64], seed: int) -> NDArray[np.str_]:
    """(rows,) a split per row: groups that are alike side by side, each five dealt at random."""
    rng = np.random.default_rng(seed)
    _, first = np.unique(held, return_index=True)
    chance = rng.permutation(len(first))
    keys = [q.values[first] for q in questions[::-1]]
    order = np.lexsort((chance, *keys))
    turn = np.empty(len(first), np.int64)
    turn[order] = np.arange(len(first))
    blocks = np.stack([rng.permutation(DEALT) for _ in range(len(first) // 5 + 1)]).ravel()
    by_group = blocks[turn]
    return by_group[np.searchsorted(held[first], held)]


def _say_missing(
    name: str, questions: list[_Question], rows: Mapping[Split, NDArray[np.int64]]
) -> None:
    """Warns of classes that a split lacks: nothing can be said of them there."""
    for q in questions:
        if q.kind == "value":
            continue
        seen = {split: set(q.values[own].tolist()) for split, own in rows.items()}
        everywhere = set[float]().union(*seen.values())
        for split, own in seen.items():
            if lacks := sorted(everywhere - own):
                shown = q.classes[int(lacks[0])] if q.kind == "classes" else f"{lacks[0]:g}"
                warnings.warn(
                    f"{name}: split '{split}' has no row where '{q.name}' is {shown}"
                    + (f" (nor {len(lacks) - 1} others)" if len(lacks) > 1 else ""),
                    DataWarning,
                    stacklevel=3,
                )


def _ranges(given: ArrayLike | None, table: NDArray[np.float64]) -> NDArray[np.float64]:
    if given is None:
        return np.stack([table.min(0), table.max(0)], 1)
    ranges = np.asarray(given, np.float64)
    if ranges.shape != (table.shape[1], 2) or not (ranges[:, 0] <= ranges[:, 1]).all():
        raise DataError(f"ranges is {ranges.shape}; give (smallest, largest) for each input")
    return ranges
