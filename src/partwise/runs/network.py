"""A network as the stages after training see it, wherever it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from partwise.errors import CheckpointError, DataError, UnreadableModelError
from partwise.graph import UnitMap, unit_map
from partwise.graph.transformer import transformer_map
from partwise.modules import Partition
from partwise.runs.open_run import OpenRun, open_run
from partwise.tasks import Data, Task, Text
from partwise.tasks.streams import Corpus
from partwise.train import Recipe
from partwise.train.data import load_data, text_of
from partwise.train.exported import load_exported
from partwise.train.factories import network_from
from partwise.train.hf import load_pretrained
from partwise.train.network import load_chain, load_weights
from partwise.train.onnx_network import load_onnx
from partwise.train.recipe_files import recipe_from
from partwise.train.run_files import is_run
from partwise.train.text import pretrained_corpus
from partwise.train.weight_files import kind_of, read_state

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
CONTEXT = 64
"""Tokens of a document for a pretrained model, where nobody says, or what it can read at most."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network, its data, and where the stages leave their files.

    Attributes:
        model: in evaluation mode.
        units: its unit map.
        run: the run it came from, or None.
        path: the directory for what the stages write; None where there is none.
        origin: what was read from a bare file, and what was assumed, in words.
        read_data: gives the data; None where nothing names any.
    """

    model: nn.Module
    units: UnitMap
    run: OpenRun | None = None
    path: Path | None = None
    origin: str = ""
    read_data: Callable[[], Data] | None = field(default=None, repr=False)

    @property
    def directory(self) -> Path:
        """The directory that the stages write to.

        Raises:
            DataError: for a bare file, which has none.
        """
        if self.path is None:
            raise DataError("a bare network is no run; say where to write with --out")
        return self.path

    @cached_property
    def data(self) -> Data:
        """What the network is for.

        Raises:
            DataError: where nothing names any.
        """
        if self.read_data is None:
            wanted = "--text" if self.is_language_model else "--data"
            raise DataError(f"a bare network names no data; give {wanted}, or a run's directory")
        return self.read_data()

    @property
    def has_data(self) -> bool:
        """Whether something names data."""
        return self.read_data is not None

    @property
    def is_language_model(self) -> bool:
        """Whether it reads tokens."""
        return any(group.kind == "token" for group in self.units.groups)

    @property
    def task(self) -> Task:
        """What the network is for, where that is rows of numbers.

        Raises:
            DataError: where nothing names it, or it is text.
        """
        if isinstance(self.data, Text):
            raise DataError(f"{self.data.name} is text; this needs rows of numbers")
        return self.data

    @property
    def recipe(self) -> Recipe | None:
        """The run's recipe; None where there is no run."""
        return None if self.run is None else self.run.recipe

    @property
    def in_force(self) -> Partition | None:
        """The modules that the training held apart; None where there was one."""
        return None if self.run is None else self.run.partition

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        if self.run is not None:
            return self.run.title
        return "A network, taken apart" if self.path is None else self.path.name

    def metrics(self) -> list[dict[str, Any]]:
        """The rows that its training logged."""
        return [] if self.run is None else self.run.metrics()


def open_network(
    path: Path | str,
    layers: Sequence[str] | None = None,
    activation: str | None = None,
    *,
    texts: Sequence[str] = (),
    data: str | None = None,
    targets: Sequence[str] = (),
    factory: str | None = None,
    context: int | None = None,
    out: Path | None = None,
) -> Network:
    """The network of a run, of a file, or of a pretrained language model.

    A file is a state dict of linear layers (safetensors, or `torch.save`), an exported program
    (`.pt2`) or an ONNX graph (`.onnx`); with `factory`, any state dict that fits what it makes.

    Args:
        path: a run's directory, a directory in Hugging Face's layout or a hub name, or a file.
        layers: a state dict's layers in the order they run, where its names do not tell.
        activation: what stands between a state dict's layers, ReLU where nobody says; see
            `ACTIVATIONS`.
        texts: text sources that a language model shall be read on, in place of a run's own.
        data: a table (`.npz`, `.csv`, `.parquet`), or `module:function` that gives a task.
        targets: the columns of `data` that are to be predicted.
        factory: `module:function` that makes the network, whose weights `path` holds; its code is
            run.
        context: tokens of a document for a pretrained model.
        out: where the stages write; a run's own directory where it is left out.

    Raises:
        CheckpointError: if there is none, it is damaged or does not fit, or its order is untold.
        UnreadableModelError: if it has an operation that cannot be read.
        MissingExtraError: for a file that needs an extra which is not installed.
        RecipeError: if the run's recipe or the factory is wrong.
        DataError: if an option is given where the file knows it, or the data cannot be read.
    """
    place = Path(path)
    if factory is not None:
        return _made(place, factory, data, targets, texts, out)
    if place.is_dir() and is_run(place):
        _refuse_options(place, "a run", layers=layers, activation=activation, data=data)
        return _of_run(place, texts, out)
    if place.is_dir() or not place.exists():
        _refuse_options(place, "a directory", layers=layers, activation=activation)
        return _pretrained(str(path), texts, context, out)
    return _of_file(place, layers, activation, data, targets, out)


def _of_run(path: Path, texts: Sequence[str], out: Path | None) -> Network:
    run = open_run(path)
    if texts and run.kind != "text":
        raise DataError(f"{path} holds no language model; leave out --text")

    def read() -> Data:
        return run.read(texts) if texts else run.data

    return Network(run.model, run.units, run, path if out is None else out, read_data=read)


def _pretrained(name: str, texts: Sequence[str], context: int | None, out: Path | None) -> Network:
    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        raise CheckpointError(
            f"{name} has no checkpoint of a run, nor a pretrained model; train one first "
            "(partwise train)"
        )
    if not path.exists() and not HUB_NAME.fullmatch(name):
        raise CheckpointError(f"no checkpoint at {name}: there is no such file or directory")
    model, tokenizer = load_pretrained(name)
    units = transformer_map(model)
    longest = getattr(model.config, "max_position_embeddings", None) or CONTEXT
    length = min(CONTEXT, longest) if context is None else context
    if length > longest:
        raise DataError(f"--context {length} is more than the {longest} tokens it can read")

    def encode(contents: dict[str, str]) -> Corpus:
        return pretrained_corpus(contents, tokenizer, len(model.get_input_embeddings().weight))

    def read() -> Data:
        return text_of(texts, length, encode)

    words = f"{type(model).__name__}, a pretrained language model"
    return Network(model.eval(), units, None, out, words, read if texts else None)


def _of_file(
    path: Path,
    layers: Sequence[str] | None,
    activation: str | None,
    data: str | None,
    targets: Sequence[str],
    out: Path | None,
) -> Network:
    read = _table_reader(data, targets)
    kind = kind_of(path)
    if kind in ("torch", "safetensors"):
        chain = load_chain(path, layers, activation)
        model: nn.Module = chain.model
        return Network(model.eval(), unit_map(model), None, out, chain.words, read)
    words = "an ONNX graph" if kind == "ONNX" else "an " + kind
    _refuse_options(path, words, layers=layers, activation=activation)
    model, example = load_onnx(path) if kind == "ONNX" else load_exported(path)
    try:
        units = unit_map(model, example)
    except UnreadableModelError as error:
        raise UnreadableModelError(f"{path}: {error}") from error
    name = "ONNX graph" if kind == "ONNX" else kind.capitalize()
    origin = f"{name}, read with inputs {_shape_words(example)}"
    return Network(model, units, None, out, origin, read)


def _made(
    path: Path,
    factory: str,
    data: str | None,
    targets: Sequence[str],
    texts: Sequence[str],
    out: Path | None,
) -> Network:
    """A network that a factory makes, with the weights of a file."""
    if texts:
        raise DataError("--text is for pretrained models and runs; a factory's data go into --data")
    read = _table_reader(data, targets)
    known = None if read is None else read()
    model = network_from(factory, known)
    load_weights(model, read_state(path), str(path))
    example = known.batch("train", 2, 0).x if isinstance(known, Task) else None
    units = unit_map(model.eval(), example)
    return Network(model, units, None, out, f"made by {factory}", read)


def _table_reader(data: str | None, targets: Sequence[str]) -> Callable[[], Data] | None:
    if data is None:
        return None
    kind = "factory" if ":" in data and not Path(data).exists() else "file"
    fields: dict[str, Any] = {kind: data} | ({"targets": list(targets)} if targets else {})
    recipe = recipe_from({"data": fields}, "--data")
    return lambda: load_data(recipe).data


def _refuse_options(path: Path, kind: str, **options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise DataError(
                f"{path} is {kind}, which knows its own layers and activations; leave out "
                f"--{option}"
                if option != "data"
                else f"{path} is {kind}, which knows its own data; leave out --data"
            )


def _shape_words(example: Tensor | tuple[Any, ...]) -> str:
    inputs = (example,) if isinstance(example, Tensor) else example
    shapes = ["x".join(map(str, x.shape)) for x in inputs if isinstance(x, Tensor)]
    return ", ".join(shape or "a number" for shape in shapes)
