"""A run is a directory; each stage reads the files of the stage before."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from partwise.errors import CheckpointError, OutputError
from partwise.files import (
    append_line,
    new_directory,
    read_tensors,
    tensor_bytes,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)
from partwise.tasks import Text
from partwise.train.data import Loaded
from partwise.train.gpt import GPT
from partwise.train.hf import save_pretrained
from partwise.train.loop import Trainer
from partwise.train.recipe import Recipe
from partwise.train.recipe_files import recipe_toml
from partwise.train.reference import Reference
from partwise.train.run_files import (
    MANIFEST,
    METRICS,
    MODEL,
    RECIPE,
    checkpoint_path,
    new_manifest,
    read_manifest,
    read_rows,
    read_run_recipe,
    refuse_to_resume_old,
)


class RunDirectory:
    """The files of one training run (see `run_files`).

    Later stages add `modules.json`, `descriptions.jsonl`, `audit.json` and `report.html`.

    Args:
        path: the directory; see `create` for a new one.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> RunDirectory:
        """A new run, with its recipe and manifest.

        Raises:
            OutputError: if the directory exists and is not empty, or cannot be written.
        """
        run = cls(new_directory(path))
        write_text(path / RECIPE, recipe_toml(recipe))
        write_json(path / MANIFEST, new_manifest(recipe))
        return run

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's path."""
        return checkpoint_path(self.path)

    def recipe(self) -> Recipe:
        """The run's recipe.

        Raises:
            RecipeError: if it is missing or damaged.
        """
        return read_run_recipe(self.path)

    def manifest(self) -> dict[str, Any]:
        """What is known of the run beside its recipe.

        Raises:
            CheckpointError: if it is of a format that this version does not know.
            DataError: if it is missing or damaged.
        """
        return read_manifest(self.path)

    def save(self, trainer: Trainer) -> None:
        """Writes a checkpoint, so that a kill at any moment leaves either the old or the new.

        The manifest names both hashes before the file changes hands. A language model is written
        to `model/` as well, where one of transformers' loads with `from_pretrained`.
        """
        content, manifest = tensor_bytes(trainer.tensors()), self.manifest()
        known = [hashlib.sha256(content).hexdigest(), *manifest["checkpoint_sha256"][:1]]
        manifest |= {"checkpoint_sha256": known, "data_sha256": trainer.loaded.sha256}
        if trainer.budget is not None and trainer.budget.reference is not None:
            manifest["reference"] = asdict(trainer.budget.reference)
        write_json(self.path / MANIFEST, manifest)
        write_bytes(self.checkpoint, content)
        if isinstance(trainer.data, Text):
            _save_language_model(self.path, trainer.model, trainer.loaded)

    def log(self, metrics: dict[str, Any]) -> None:
        """Appends a line to `metrics.jsonl`."""
        append_line(self.path / METRICS, json.dumps(metrics))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a line cut short by a kill is left out."""
        return read_rows(self.path)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the last checkpoint holds.

        Raises:
            CheckpointError: if there is none, it is damaged, or was changed after it was written.
        """
        if not self.checkpoint.exists():
            raise CheckpointError(f"{self.path} has no checkpoint; train it first (partwise train)")
        known = self.manifest().get("checkpoint_sha256")
        digest = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()
        if known is not None and digest not in known:
            raise CheckpointError(
                f"{self.checkpoint} is not the file this run wrote (sha256 {digest[:12]}…); "
                "restore it from a copy or train again"
            )
        return read_tensors(self.checkpoint)

    def trainer(self) -> Trainer:
        """The trainer as the last checkpoint left it; at step 0 if none was written yet.

        Raises:
            CheckpointError: if the checkpoint is damaged, was changed after it was written, does
                not fit the recipe's network, or is of an earlier version.
            DataError: if data have changed since.
        """
        recipe, manifest = self.recipe(), self.manifest()
        refuse_to_resume_old(self.path)
        trainer = Trainer.new(
            recipe,
            known=manifest.get("data_sha256"),
            reference=Reference.of(manifest.get("reference")),
        )
        if self.checkpoint.exists():
            trainer.load_tensors(self.tensors(), str(self.checkpoint))
        return trainer

    def resume(self) -> Trainer:
        """`trainer`, with log lines that ran ahead of the checkpoint dropped."""
        trainer = self.trainer()
        kept = [json.dumps(row) + "\n" for row in self.metrics() if row["step"] <= trainer.step]
        write_text(self.path / METRICS, "".join(kept))
        return trainer


def _save_language_model(out: Path, model: nn.Module, loaded: Loaded) -> None:
    """Writes `model/` whole or not at all."""
    fresh, old = out / f".{MODEL}.new", out / f".{MODEL}.old"
    try:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir()
        if isinstance(model, GPT):
            _save_small(fresh, model, loaded)
        elif hasattr(model, "save_pretrained"):
            save_pretrained(fresh, model, loaded.tokenizer)
        if (out / MODEL).exists():
            (out / MODEL).rename(old)
        fresh.rename(out / MODEL)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {out / MODEL}: {error}; free some space") from error


def _save_small(out: Path, model: GPT, loaded: Loaded) -> None:
    assert isinstance(loaded.data, Text)
    write_tensors(out / "model.safetensors", model.state_dict())
    write_json(out / "config.json", {"format": "partwise.gpt/1", **asdict(model.config)})
    if loaded.tokenizer is None:
        write_json(out / "vocabulary.json", list(loaded.data.corpus.vocabulary))
    else:
        write_text(out / "tokenizer.json", loaded.tokenizer.to_str())
