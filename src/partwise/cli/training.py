"""One way to train, whatever is trained: from a recipe to a run, with a bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from partwise.cli.console import Output, errors
from partwise.cli.figures import training_words
from partwise.cli.opening import one_thread, quiet_libraries, refuse_no_run
from partwise.errors import DataError, OutputError

if TYPE_CHECKING:
    from partwise.train import Recipe

FINETUNE_LR = 1e-4
"""A pretrained model forgets at the rate that suits a fresh one."""


def text_recipe(
    output: Output,
    texts: Sequence[str],
    settings: Sequence[str],
    *,
    bpe: int | None = None,
    model: str | None = None,
) -> Recipe:
    """The recipe of a GPT on text, or of a pretrained `model` that is trained on.

    Raises:
        DataError: if there is no text.
        RecipeError: if a setting is wrong.
    """
    if not texts:
        raise DataError("no text given; name at least one UTF-8 file with --text")
    with output.waiting("load"):
        from partwise.train import recipe_from
    fields: dict[str, Any] = {"data": {"texts": list(texts)}}
    if bpe is not None:
        fields["data"]["bpe"] = bpe
    if model is not None:
        fields["model"] = {"kind": "pretrained", "source": model}
        fields["training"] = {"lr": FINETUNE_LR}
    return recipe_from(fields, settings=settings)


def refuse_taken(path: Path) -> None:
    """Refuses an output directory that holds something, before anything is loaded.

    Raises:
        OutputError: if it does.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    resumed = (path / "recipe.toml").is_file()
    go_on = f", or go on with it: partwise train --resume {path}" if resumed else ""
    raise OutputError(f"{path} exists already; choose another output or remove it first{go_on}")


def start(output: Output, path: Path, recipe: Recipe) -> None:
    """Trains by a recipe, into a new directory."""
    from partwise.train import start_run

    refuse_taken(path)
    _train(output, path, recipe, partial(start_run, path, recipe))


def go_on(output: Output, path: Path) -> None:
    """Goes on with a run that was interrupted."""
    refuse_no_run(path)
    with output.waiting("load"):
        from partwise.train import RunDirectory, resume
    _train(output, path, RunDirectory(path).recipe(), partial(resume, path))


def _train(output: Output, path: Path, recipe: Recipe, begin: Callable[..., Any]) -> None:
    quiet_libraries()
    if not recipe.is_text:
        one_thread()
    steps = recipe.training.steps
    try:
        with output.bars() as bars:
            begin(watch=lambda step, metrics: bars.watch("train", step, steps, metrics))
    except KeyboardInterrupt:
        if (path / "recipe.toml").is_file():
            errors().print(f"Go on with: partwise train --resume {escape(str(path))}")
        raise
    _print(output, path, recipe)


def _print(output: Output, path: Path, recipe: Recipe) -> None:
    from partwise.train import RunDirectory

    row = RunDirectory(path).metrics()[-1]
    output.print(f"{escape(str(path))}: {escape(training_words(row))}")
    budget = recipe.penalty.budget
    if budget and not recipe.is_text and row["modules"] == 1:
        output.note(
            f"No modules could be held apart within the budget of {budget:.1%}: the task may have "
            "none, or they cost more, which a larger budget allows."
        )
    output.result({"run": path, "recipe": recipe.name, "of": recipe.training.steps, **row})
