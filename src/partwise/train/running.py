"""Runs from beginning to end: by a recipe, from text, from a pretrained model, after a stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from partwise.errors import DataError, TrainingError
from partwise.train.loop import Metrics, Trainer, train
from partwise.train.recipe import PretrainedModel, Recipe
from partwise.train.recipe_files import recipe_fields, recipe_from
from partwise.train.run_directory import RunDirectory
from partwise.train.sources import is_hub_name
from partwise.train.tracking import Track, refuse_missing_tracker, tracking

Watch = Callable[[int, Mapping[str, Any]], None]
"""Gets the number of steps done, and the metrics where a step has some."""


def watch_nothing(step: int, metrics: Mapping[str, Any]) -> None:
    """Looks away."""


def start_run(out: Path, recipe: Recipe, watch: Watch = watch_nothing) -> Trainer:
    """Trains by a recipe, into a new directory.

    Args:
        out: the run directory, which must not hold anything yet.
        recipe: what decides the run.
        watch: called after every step.

    Raises:
        DataError: for data that are missing, damaged or too short.
        OutputError: if `out` is taken or cannot be written.
        TrainingError: if the loss becomes NaN; the last good checkpoint stays.
    """
    recipe = with_absolute_paths(recipe)
    refuse_missing_tracker(recipe.training.track)
    trainer = Trainer.new(recipe)
    return train_run(RunDirectory.create(out, recipe), trainer, watch=watch)


def resume(out: Path, watch: Watch = watch_nothing) -> nn.Module:
    """Goes on where the last checkpoint of a run left off, bit for bit.

    Raises:
        RecipeError: if the directory holds no run.
        DataError: if data have changed since.
        CheckpointError: if the checkpoint is damaged, or an earlier version's.
    """
    run = RunDirectory(out)
    return train_run(run, run.resume(), watch=watch).model


def train_from_scratch(
    out: Path,
    texts: Sequence[Path | str],
    recipe: Recipe | None = None,
    watch: Watch = watch_nothing,
) -> nn.Module:
    """Trains a small GPT on text; each source is a stream.

    Args:
        out: the run directory, which must not hold anything yet.
        texts: txt, jsonl or parquet files, or hub names of data sets (see `read_source`).
        recipe: everything else; a language model's defaults when left out.
        watch: called after every step.

    Raises:
        DataError: for text that is missing, empty, binary, not UTF-8 or too short.
        OutputError: if `out` is taken or cannot be written.
        TrainingError: if the loss becomes NaN; the last good checkpoint stays.
    """
    return start_run(out, text_recipe(texts, recipe), watch).model


def finetune(
    out: Path,
    model: str,
    texts: Sequence[Path | str],
    recipe: Recipe | None = None,
    watch: Watch = watch_nothing,
) -> nn.Module:
    """Fine-tunes a pretrained model with the penalty; tokenizer, config and names are kept.

    Args:
        out: the run directory, which must not hold anything yet.
        model: a local directory in Hugging Face's layout, or a hub name.
        texts: as `train_from_scratch`.
        recipe: everything else; sizes other than the context are unused.
        watch: called after every step.

    Raises:
        MissingExtraError: if transformers is not installed.
        CheckpointError: if the model cannot be loaded.
        UnreadableModelError: if its architecture cannot be read.
        DataError: as `train_from_scratch`, or if the tokenizer is another model's.
    """
    chosen = text_recipe(texts, recipe)
    source = PretrainedModel(source=model, context=chosen.context)
    return start_run(out, chosen.model_copy(update={"model": source}), watch).model


def text_recipe(texts: Sequence[Path | str], recipe: Recipe | None = None) -> Recipe:
    """A recipe of a language model, put to other texts.

    Raises:
        DataError: if there are none.
    """
    if not texts:
        raise DataError("no text given; pass at least one UTF-8 file")
    sources = [str(each) for each in texts]
    if recipe is None:
        return recipe_from({"data": {"texts": sources}})
    fields = recipe_fields(recipe)
    return recipe_from({**fields, "data": {**_bpe(recipe), "texts": sources}})


def _bpe(recipe: Recipe) -> dict[str, Any]:
    return {} if recipe.data.bpe is None else {"bpe": recipe.data.bpe}


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe, so that a run can be resumed from any working directory."""
    data, model = recipe.data, recipe.model
    texts = tuple(name if is_hub_name(name) else _absolute(name) for name in data.texts)
    file = None if data.file is None else _absolute(data.file)
    changes: dict[str, Any] = {"data": data.model_copy(update={"texts": texts, "file": file})}
    if isinstance(model, PretrainedModel) and Path(model.source).is_dir():
        changes["model"] = model.model_copy(update={"source": _absolute(model.source)})
    return recipe.model_copy(update=changes)


def _absolute(name: str) -> str:
    return str(Path(name).resolve())


def train_run(
    run: RunDirectory,
    trainer: Trainer,
    on_log: Callable[[Metrics], None] = lambda metrics: None,
    watch: Watch = watch_nothing,
) -> Trainer:
    """Trains to the end of the recipe, with checkpoints and a log on the way.

    Args:
        run: where they are written.
        trainer: where to begin.
        on_log: gets every line of the log.
        watch: called after every step.

    Raises:
        TrainingError: if the loss becomes NaN; the last good checkpoint stays.
        OutputError: if the disk is full.
    """
    recipe = trainer.recipe
    every, steps = recipe.training.checkpoint_every, recipe.training.steps
    track: Track

    def log(metrics: Metrics) -> None:
        run.log(metrics)
        track(metrics)
        on_log(metrics)
        watch(trainer.step, metrics)

    def after(step: int) -> None:
        watch(step, {})
        if step % every == 0 or step == steps:
            run.save(trainer)

    known = recipe_fields(recipe), run.manifest().get("id")
    try:
        with tracking(recipe.training.track, run.path, trainer.step, *known) as track:
            train(trainer, log, after)
    except TrainingError as error:
        kept = trainer.step // every * every
        words = f"the checkpoint of step {kept} is kept in {run.path}" if kept else "none is kept"
        raise TrainingError(f"{error}; {words}") from error
    return trainer
