"""The files of a run, their format, and those of earlier versions that can still be read.

`recipe.toml` (resolved), `manifest.json` (format, versions, commit, seed, hashes),
`checkpoint.safetensors`, `metrics.jsonl`, and `model/` for language models. Before format 2,
tables had a manifest without a format, and language models `gpt.json` and `state.safetensors`.
"""

from __future__ import annotations

import json
import platform
import secrets
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partwise.errors import CheckpointError
from partwise.files import read_json
from partwise.train.old_recipes import translated_gpt
from partwise.train.recipe import Recipe
from partwise.train.recipe_files import read_recipe, recipe_from

FORMAT = "partwise.run/2"
RECIPE, MANIFEST, METRICS, MODEL = "recipe.toml", "manifest.json", "metrics.jsonl", "model"
CHECKPOINT = "checkpoint.safetensors"
OLD_GPT, OLD_GPT_CHECKPOINT = "gpt.json", "state.safetensors"


def is_run(path: Path) -> bool:
    """Whether a directory is a run of any kind."""
    return (path / RECIPE).is_file() or _is_old_gpt(path)


def checkpoint_path(path: Path) -> Path:
    """Where a run's checkpoint is, or will be."""
    return path / (OLD_GPT_CHECKPOINT if _is_old_gpt(path) else CHECKPOINT)


def read_run_recipe(path: Path) -> Recipe:
    """A run's recipe, of this format or an earlier one.

    Raises:
        RecipeError: if it is missing or damaged.
    """
    if _is_old_gpt(path):
        return recipe_from(translated_gpt(read_json(path / OLD_GPT)), str(path / OLD_GPT))
    return read_recipe(path / RECIPE)


def read_manifest(path: Path) -> dict[str, Any]:
    """A run's manifest; of earlier versions, what they knew of it.

    Raises:
        CheckpointError: if the run is of a format that this version does not know.
        DataError: if it is missing or damaged.
    """
    if _is_old_gpt(path):
        old = read_json(path / OLD_GPT)
        texts = {each["source"]: each["sha256"] for each in old["texts"]}
        return {
            "seed": old["recipe"]["seed"], "data_sha256": texts, "reference": old.get("reference")
        }  # fmt: skip
    manifest: dict[str, Any] = read_json(path / MANIFEST)
    known = manifest.get("format", FORMAT)
    if known != FORMAT:
        raise CheckpointError(
            f"{path} is a run of format {known}, this version of Partwise reads {FORMAT}; open it "
            f"with the version that wrote it ({manifest.get('partwise', 'unknown')}), or upgrade"
        )
    return manifest


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; a line cut short by a kill is left out."""
    file, rows = path / METRICS, []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def refuse_to_resume_old(path: Path) -> None:
    """Refuses to go on with what an earlier version began.

    Raises:
        CheckpointError: if a run's directory is of an earlier format.
    """
    if _is_old_gpt(path) or "format" not in read_manifest(path):
        raise CheckpointError(
            f"{path} was begun by an earlier version of Partwise, whose checkpoints hold too "
            "little to go on with bit for bit; it can be read, or trained again by its recipe"
        )


def new_manifest(recipe: Recipe) -> dict[str, Any]:
    """What is known of a run before its first checkpoint."""
    return {
        "format": FORMAT,
        "partwise": version("partwise"),
        "commit": _commit(),
        "seed": recipe.seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "id": secrets.token_hex(8),
        "checkpoint_sha256": [],
    }


def _is_old_gpt(path: Path) -> bool:
    return (path / OLD_GPT).is_file()


def _commit() -> str | None:
    """The commit of the checkout this code runs from; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
