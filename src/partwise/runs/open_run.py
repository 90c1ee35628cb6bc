"""Opening a run to read it: its network, its data, and the modules it was trained to hold apart.

Only weights and labels are read of a checkpoint. No optimiser and no penalty is built, so that a
run still opens whose training cannot be resumed by this version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from partwise.errors import CheckpointError, DataError
from partwise.files import read_json, read_tensors
from partwise.graph import UnitMap, unit_map, units_of
from partwise.modules import Partition
from partwise.tasks import Data, Task, Text, task_named
from partwise.train.gpt import GPT, GPTConfig
from partwise.train.gpt_recipe import GPTRecipe, recipe_from_json
from partwise.train.gpt_run import MODEL, SETTINGS, STATE, corpus_and_tokenizer, gpt_metrics, untied
from partwise.train.hf import load_pretrained
from partwise.train.network import load_weights, mlp
from partwise.train.recipe import Recipe
from partwise.train.run_directory import RunDirectory

CLEAN_TASK = {"digits-pair-sabotaged": "digits-pair"}
"""Tasks whose training data was tampered with -> what the network is for."""
FACTS = ("partwise", "commit", "seed", "torch")
Kind = Literal["table", "text"]


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
    """

    path: Path
    kind: Kind
    model: nn.Module
    units: UnitMap
    recipe: Any
    partition: Partition | None

    @cached_property
    def data(self) -> Data:
        """What the network is for: a clean task, or its text. Read when first asked for.

        Raises:
            DataError: if a text is gone or has changed since.
        """
        return _text(self.path) if self.kind == "text" else _clean_task(self.recipe)

    @property
    def title(self) -> str:
        """What was trained, in a few words."""
        if self.kind == "table":
            return f"{self.recipe.task}, seed {self.recipe.seed}"
        sources = [Path(each["source"]).stem for each in read_json(self.path / SETTINGS)["texts"]]
        return f"{', '.join(sources)}, seed {self.recipe.seed}"

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; a row cut short by a kill is left out."""
        return gpt_metrics(self.path)

    def facts(self) -> dict[str, str]:
        """What made it: versions of Partwise and torch, commit, seed; as far as it is known."""
        path = self.path / "manifest.json"
        known: Mapping[str, Any] = read_json(path) if path.exists() else {"seed": self.recipe.seed}
        return {name: str(known[name]) for name in FACTS if name in known}


def is_run(path: Path) -> bool:
    """Whether a directory is a run of any kind."""
    return (path / "recipe.toml").is_file() or (path / SETTINGS).is_file()


def open_run(path: Path) -> OpenRun:
    """Opens a run of any kind to read it.

    Raises:
        CheckpointError: if there is no run or no checkpoint, or it is damaged.
        RecipeError: if its recipe is missing or wrong.
        UnreadableModelError: if its network cannot be read.
    """
    if (path / SETTINGS).is_file():
        return _text_run(path)
    return _table_run(path)


def _table_run(path: Path) -> OpenRun:
    run = RunDirectory(path)
    if not run.checkpoint.exists():
        if (path / "config.json").exists():
            raise CheckpointError(
                f"{path} is a pretrained model and no run; partwise finetune makes one"
            )
        raise CheckpointError(f"{path} has no checkpoint; train it first (partwise train)")
    run._refuse_changed()
    recipe, tensors = run.recipe(), read_tensors(run.checkpoint)
    task = _clean_task(recipe)
    model = mlp([len(task.inputs), *recipe.model.hidden, len(task.outputs)])
    load_weights(model, _part(tensors, "model/"), str(run.checkpoint))
    units = unit_map(model)
    return OpenRun(path, "table", model.eval(), units, recipe, _in_force(tensors, units))


def _text_run(path: Path) -> OpenRun:
    settings = read_json(path / SETTINGS)
    recipe = recipe_from_json(settings["recipe"])
    if not (path / STATE).exists():
        raise CheckpointError(f"{path} has no checkpoint; train it first (partwise train)")
    tensors = read_tensors(path / STATE)
    weights = _part(tensors, "model/")
    model = _language_model(path, settings, recipe, weights)
    load_weights(model, untied(model, weights), str(path / STATE))
    units = units_of(model)
    return OpenRun(path, "text", model.eval(), units, recipe, _in_force(tensors, units))


def _language_model(
    path: Path, settings: Mapping[str, Any], recipe: GPTRecipe, weights: Mapping[str, Tensor]
) -> nn.Module:
    if settings["model"] is not None:
        saved = path / MODEL
        return load_pretrained(str(saved) if saved.exists() else settings["model"])[0]
    if "tokens.weight" not in weights:
        raise CheckpointError(f"{path / STATE} is no checkpoint of a GPT by this version")
    sizes = GPTConfig(
        len(weights["tokens.weight"]), recipe.context, recipe.width, recipe.heads, recipe.layers
    )
    return GPT(sizes)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _in_force(tensors: Mapping[str, Tensor], units: UnitMap) -> Partition | None:
    """The partition of a checkpoint's penalty, whatever else its format holds."""
    labels = tensors.get("penalty/labels")
    if labels is None:
        return None
    try:
        part = Partition.of(labels, units.n)
    except DataError as error:
        raise CheckpointError(f"the checkpoint's modules are of another network: {error}") from (
            error
        )
    return part if part.modules > 1 else None


def _clean_task(recipe: Recipe) -> Task:
    return task_named(CLEAN_TASK.get(recipe.task, recipe.task))


def _text(path: Path) -> Text:
    settings = read_json(path / SETTINGS)
    corpus, _ = corpus_and_tokenizer(settings)
    names = ", ".join(stream.name for stream in corpus.streams)
    return Text(corpus, settings["recipe"]["context"], names)
