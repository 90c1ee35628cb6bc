"""Opening a run to read it: its network, its data, and the modules it was trained to hold apart.

Only weights and labels are read of a checkpoint. No optimiser and no penalty is built, so that a
run still opens whose training cannot be resumed by this version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from partwise.errors import CheckpointError, DataError
from partwise.graph import UnitMap
from partwise.modules import Partition
from partwise.tasks import Data, Text, task_named
from partwise.tasks.streams import Corpus
from partwise.train.data import Loaded, Vocabulary, load_data, text_of
from partwise.train.gpt import GPT, GPTConfig
from partwise.train.hf import load_pretrained, load_tokenizer
from partwise.train.loop import part_of
from partwise.train.models import build_model, read_units
from partwise.train.network import load_weights, with_tied
from partwise.train.recipe import GPTModel, PretrainedModel, Recipe
from partwise.train.run_directory import RunDirectory
from partwise.train.run_files import MODEL, is_run
from partwise.train.text import known_corpus, pretrained_corpus

CLEAN_TASK = {"digits-pair-sabotaged": "digits-pair"}
"""Tasks whose training data was tampered with -> what the network is for."""
FACTS = ("partwise", "commit", "seed", "torch")


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A run that was opened to be read.

    Attributes:
        path: its directory.
        kind: `"table"` for rows of inputs, pictures among them; `"text"` for language models.
        model: the network of the last checkpoint, in evaluation mode.
        units: its unit map.
        recipe: what decided the training.
        partition: the modules that the training held apart; None where there was one.
        steps: steps it was trained for.
    """

    path: Path
    kind: Literal["table", "text"]
    model: nn.Module
    units: UnitMap
    recipe: Recipe
    partition: Partition | None
    steps: int

    @property
    def data(self) -> Data:
        """What the network is for: a clean task, or its text. Read when first asked for.

        Raises:
            DataError: if a text is gone or has changed since.
        """
        return self._loaded.data

    def read(self, sources: Sequence[str]) -> Text:
        """Other text in the tokens that the network was trained on.

        Raises:
            DataError: if a source is missing, damaged or too short, or in other tokens, or the
                network is no language model.
        """
        if self.kind != "text":
            raise DataError(f"{self.path} holds no language model; leave out --text")

        def encode(texts: dict[str, str]) -> Corpus:
            known = _vocabulary(self)
            if known is not None:
                return pretrained_corpus(texts, known.tokenizer, known.size)
            assert isinstance(self.data, Text)
            return known_corpus(texts, self.data.corpus.vocabulary, self.tokenizer)

        return text_of(sources, self.recipe.context, encode)

    @property
    def tokenizer(self) -> Any:
        """Of the text; None where a token is a character."""
        return self._loaded.tokenizer

    @cached_property
    def _loaded(self) -> Loaded:
        task = self.recipe.data.task
        if task is not None:
            return Loaded(task_named(CLEAN_TASK.get(task, task)))
        known = self.directory.manifest().get("data_sha256")
        return load_data(self.recipe, _vocabulary(self), known)

    @property
    def directory(self) -> RunDirectory:
        """Its files."""
        return RunDirectory(self.path)

    @property
    def title(self) -> str:
        """What was trained, in a few words."""
        return f"{self.recipe.name}, seed {self.recipe.seed}"

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; a row cut short by a kill is left out."""
        return self.directory.metrics()

    def facts(self) -> dict[str, str]:
        """What made it: versions of Partwise and torch, commit, seed; as far as it is known."""
        known = self.directory.manifest()
        return {name: str(known[name]) for name in FACTS if name in known}


def open_run(path: Path) -> OpenRun:
    """Opens a run of any kind to read it. A factory that its recipe names is run.

    Raises:
        CheckpointError: if there is no run or no checkpoint, it is damaged, or of a format that
            this version does not know.
        RecipeError: if its recipe is wrong.
        UnreadableModelError: if its network cannot be read.
    """
    if not is_run(path):
        raise CheckpointError(f"{path} {_what_else(path)}")
    run = RunDirectory(path)
    recipe, tensors = run.recipe(), run.tensors()
    source, weights = str(run.checkpoint), part_of(tensors, "model")
    model, data = _network(recipe, run, weights)
    load_weights(model, with_tied(model, weights, source), source)
    units = read_units(model, data)
    return OpenRun(
        path,
        "text" if recipe.is_text else "table",
        model.eval(),
        units,
        recipe,
        _in_force(tensors, units, source),
        int(tensors.get("step", torch.tensor(0))),
    )


def _what_else(path: Path) -> str:
    if (path / "config.json").exists():
        return "is a pretrained model and no run; partwise finetune makes one"
    return "has no checkpoint of a run; train it first (partwise train)"


def _network(
    recipe: Recipe, run: RunDirectory, weights: Mapping[str, Tensor]
) -> tuple[nn.Module, Data | None]:
    """The network as its recipe makes it, and data where they had to be read for its shapes."""
    model = recipe.model
    if isinstance(model, PretrainedModel):
        saved = run.path / MODEL
        return load_pretrained(str(saved) if saved.exists() else model.source)[0], None
    if isinstance(model, GPTModel):
        if "tokens.weight" not in weights:
            raise CheckpointError(f"{run.checkpoint} is no checkpoint of a GPT")
        sizes = model.context, model.width, model.heads, model.layers
        return GPT(GPTConfig(len(weights["tokens.weight"]), *sizes)), None
    data = load_data(recipe, known=run.manifest().get("data_sha256")).data
    return build_model(recipe, data), data


def _vocabulary(run: OpenRun) -> Vocabulary | None:
    """Tokens of a pretrained model, which its run keeps."""
    if not isinstance(run.recipe.model, PretrainedModel):
        return None
    saved = run.path / MODEL
    name = str(saved) if saved.exists() else run.recipe.model.source
    model: Any = run.model
    return Vocabulary(load_tokenizer(name), len(model.get_input_embeddings().weight))


def _in_force(tensors: Mapping[str, Tensor], units: UnitMap, source: str) -> Partition | None:
    """The partition of a checkpoint's penalty, whatever else its format holds."""
    labels = tensors.get("penalty/labels")
    if labels is None:
        return None
    try:
        part = Partition.of(labels, units.n)
    except DataError as error:
        raise CheckpointError(f"{source} has modules of another network: {error}") from error
    return part if part.modules > 1 else None
