"""A run is a directory; each stage reads the files of the stage before."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partwise.errors import CheckpointError
from partwise.files import (
    append_line,
    new_directory,
    read_json,
    read_tensors,
    tensor_bytes,
    write_bytes,
    write_json,
    write_text,
)
from partwise.train.loop import Trainer
from partwise.train.network import load_weights
from partwise.train.recipe import Recipe, read_recipe, recipe_toml


class RunDirectory:
    """The files of one training run.

    `recipe.toml` (resolved), `manifest.json` (commit, seed, versions, checkpoint hash),
    `checkpoint.safetensors`, `metrics.jsonl`, and what later stages add: `modules.json`,
    `descriptions.jsonl`, `audit.json`, `report.html`.

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
        write_text(path / "recipe.toml", recipe_toml(recipe))
        write_json(path / "manifest.json", _manifest(recipe))
        return run

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's path."""
        return self.path / "checkpoint.safetensors"

    def recipe(self) -> Recipe:
        """The run's recipe.

        Raises:
            RecipeError: if it is missing or damaged.
        """
        return read_recipe(self.path / "recipe.toml")

    def save(self, trainer: Trainer) -> None:
        """Writes a checkpoint, so that a kill at any moment leaves either the old or the new.

        The manifest names both hashes before the file changes hands.
        """
        content = tensor_bytes(trainer.tensors())
        manifest = read_json(self.path / "manifest.json")
        known = [hashlib.sha256(content).hexdigest(), *manifest["checkpoint_sha256"][:1]]
        write_json(self.path / "manifest.json", manifest | {"checkpoint_sha256": known})
        write_bytes(self.checkpoint, content)

    def log(self, metrics: dict[str, Any]) -> None:
        """Appends a line to `metrics.jsonl`."""
        append_line(self.path / "metrics.jsonl", json.dumps(metrics))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a line cut short by a kill is left out."""
        path, rows = self.path / "metrics.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def trainer(self) -> Trainer:
        """The trainer as the last checkpoint left it; at step 0 if none was written yet.

        Raises:
            CheckpointError: if the checkpoint is damaged, was changed after it was written, or
                does not fit the recipe's network.
        """
        trainer = Trainer.new(self.recipe())
        if self.checkpoint.exists():
            self._refuse_changed()
            _restore(trainer, read_tensors(self.checkpoint), str(self.checkpoint))
        return trainer

    def resume(self) -> Trainer:
        """`trainer`, with log lines that ran ahead of the checkpoint dropped."""
        trainer = self.trainer()
        kept = [json.dumps(row) + "\n" for row in self.metrics() if row["step"] <= trainer.step]
        write_text(self.path / "metrics.jsonl", "".join(kept))
        return trainer

    def _refuse_changed(self) -> None:
        known = read_json(self.path / "manifest.json").get("checkpoint_sha256", [])
        digest = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()
        if digest not in known:
            raise CheckpointError(
                f"{self.checkpoint} is not the file this run wrote (sha256 {digest[:12]}…); "
                "restore it from a copy or train again"
            )


def _restore(trainer: Trainer, tensors: dict[str, torch.Tensor], source: str) -> None:
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "optimizer": {}, "penalty": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part in parts:
            parts[part][rest] = tensor
    if "step" not in tensors:
        raise CheckpointError(f"{source} is no checkpoint of a run by this version of Partwise")
    load_weights(trainer.model, parts["model"], source)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, moment = name.partition("/")
        moments.setdefault(int(index), {})[moment] = tensor
    whole = trainer.optimizer.state_dict()
    trainer.optimizer.load_state_dict({**whole, "state": moments})
    trainer.penalty.load_state_dict(parts["penalty"])
    trainer.step = int(tensors["step"])


def _manifest(recipe: Recipe) -> dict[str, Any]:
    return {
        "partwise": version("partwise"),
        "commit": _commit(),
        "seed": recipe.seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "checkpoint_sha256": [],
    }


def _commit() -> str | None:
    """The commit of the checkout this code runs from; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
