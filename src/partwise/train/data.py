"""What a recipe's `[data]` stands for: a task's samples, or text."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.errors import DataError, MissingExtraError, RecipeError
from partwise.tasks import Data, Task, Text, task_from_arrays, task_named
from partwise.tasks.streams import SPLITS, Corpus, character_corpus
from partwise.train.factories import factory_named
from partwise.train.recipe import DataRecipe, Recipe
from partwise.train.sources import read_source, source_name
from partwise.train.text import bpe_corpus, pretrained_corpus


@dataclass(frozen=True, eq=False)
class Loaded:
    """Data, and what belongs to it.

    Attributes:
        data: the samples.
        tokenizer: of text; None where a token is a character.
        sha256: source -> hash of what was read from it; embedded tasks and factories have none.
    """

    data: Data
    tokenizer: Any = None
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of a pretrained model.

    Attributes:
        tokenizer: callable as transformers' tokenizers are.
        size: rows of the model's embedding table.
    """

    tokenizer: Any
    size: int


def load_data(
    recipe: Recipe,
    vocabulary: Vocabulary | None = None,
    known: Mapping[str, str] | None = None,
) -> Loaded:
    """The data of a recipe.

    Args:
        recipe: what names it; a factory's code is run.
        vocabulary: of the model, where it is a pretrained one.
        known: source -> hash that it had when the run began.

    Raises:
        DataError: if it is missing, damaged, too short, or has changed.
        RecipeError: if a factory gives something else.
    """
    data = recipe.data
    if data.texts:
        return _texts(recipe, vocabulary, known or {})
    if data.file is not None:
        sha256 = {data.file: _unchanged(data.file, _file_hash(Path(data.file)), known or {})}
        return Loaded(_table(Path(data.file), data), None, sha256)
    if data.factory is not None:
        made = factory_named(data.factory)()
        if not isinstance(made, Task | Text):
            raise RecipeError(f"{data.factory} gave a {type(made).__name__}, wanted a Task or Text")
        return Loaded(made)
    assert data.task is not None
    return Loaded(task_named(data.task))


def text_of(
    sources: Sequence[str], context: int, encode: Callable[[dict[str, str]], Corpus]
) -> Text:
    """Text sources in tokens that are known already.

    Args:
        sources: as `read_source` takes them; each is a stream.
        context: tokens of a document.
        encode: stream name -> text, to a corpus.

    Raises:
        DataError: if a source is missing, damaged or too short, or in other tokens.
    """
    contents: dict[str, str] = {}
    for source in sources:
        contents[source_name(source, contents)] = read_source(source)
    corpus = encode(contents)
    _refuse_short_text(corpus, context)
    return Text(corpus, context, ", ".join(contents))


def _texts(recipe: Recipe, vocabulary: Vocabulary | None, known: Mapping[str, str]) -> Loaded:
    contents: dict[str, str] = {}
    sha256: dict[str, str] = {}
    for source in recipe.data.texts:
        text = read_source(source)
        sha256[source] = _unchanged(source, hashlib.sha256(text.encode()).hexdigest(), known)
        contents[source_name(source, contents)] = text
    corpus: Corpus
    tokenizer: Any = None
    if vocabulary is not None:
        tokenizer = vocabulary.tokenizer
        corpus = pretrained_corpus(contents, tokenizer, vocabulary.size)
    elif recipe.data.bpe is not None:
        corpus, tokenizer = bpe_corpus(contents, recipe.data.bpe)
    else:
        corpus = character_corpus(contents)
    _refuse_short_text(corpus, recipe.context)
    return Loaded(Text(corpus, recipe.context, recipe.name), tokenizer, sha256)


def _refuse_short_text(corpus: Corpus, context: int) -> None:
    for stream in corpus.streams:
        for split in SPLITS:
            stream.sequences(split, 1, context + 1, np.random.default_rng(0))


def _unchanged(source: str, digest: str, known: Mapping[str, str]) -> str:
    if known.get(source, digest) != digest:
        raise DataError(f"{source} has changed since the run began; restore it or start anew")
    return digest


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _table(path: Path, recipe: DataRecipe) -> Task:
    """The task over a file's rows."""
    if path.suffix == ".npz":
        x, y = _arrays(path, recipe.targets)
        return task_from_arrays(path.stem, x, y, recipe.target_kind)
    columns = _columns(path)
    targets = recipe.targets
    missing = [name for name in targets if name not in columns]
    if missing or not targets or len(targets) == len(columns):
        raise DataError(
            f"{path} has columns {', '.join(columns)}; set data.targets to those that are to be "
            f"predicted{f', {missing[0]} is none' if missing else ''}"
        )
    inputs = [name for name in columns if name not in targets]
    words = [name for name in inputs if columns[name].dtype.kind not in "biuf"]
    if words:
        raise DataError(f"column {words[0]} of {path} holds no numbers; inputs must be numbers")
    x = np.stack([columns[name].astype(np.float64) for name in inputs], 1)
    y = {name: columns[name] for name in targets}
    return task_from_arrays(path.stem, x, y, recipe.target_kind, inputs=inputs)


def _arrays(path: Path, targets: Sequence[str]) -> tuple[NDArray[Any], Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no intact .npz file ({error})") from error
    wanted = ["x", *(targets or ("y",))]
    if missing := [name for name in wanted if name not in arrays]:
        raise DataError(f"{path} holds {', '.join(arrays)}; wanted an array {missing[0]} as well")
    return arrays["x"], {t: arrays[t] for t in targets} if targets else arrays["y"]


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".parquet":
        return _parquet_columns(path)
    if path.suffix != ".csv":
        raise DataError(f"{path} is no table that can be read; wanted .npz, .csv or .parquet")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            names, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no intact .csv file ({error})") from error
    uneven = [i for i, row in enumerate(rows, 2) if len(row) != len(names)]
    if uneven or not rows:
        raise DataError(
            f"{path} " + (f"has another width in line {uneven[0]}" if uneven else "holds no rows")
        )
    return {
        name: _column(list(cells))
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }


def _column(cells: list[str]) -> NDArray[Any]:
    """Numbers where all cells are; else words."""
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return np.array(cells)


def _parquet_columns(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet needs pyarrow; pip install 'partwise[hf]'") from error
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is no intact .parquet file ({error})") from error
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}
