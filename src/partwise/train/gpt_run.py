"""Runs of language models: from text files to a directory, from scratch or from a checkpoint.

`partwise train --model gpt` and `partwise finetune` call these functions. A run directory holds
`gpt.json` (what decides the run), `metrics.jsonl`, `model/` and `state.safetensors`. A model from
transformers is saved in its own layout and loads with plain `from_pretrained`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from partwise.errors import CheckpointError, DataError, OutputError, RecipeError, TrainingError
from partwise.files import (
    append_line,
    new_directory,
    read_json,
    read_tensors,
    tensor_bytes,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)
from partwise.tasks.streams import SPLITS, Corpus, character_corpus
from partwise.train.gpt import GPT
from partwise.train.gpt_budget import Reference, twin_reference
from partwise.train.gpt_loop import GPTTrainer, train_gpt
from partwise.train.gpt_recipe import GPTRecipe, recipe_from_json
from partwise.train.hf import load_pretrained, save_pretrained
from partwise.train.network import load_weights
from partwise.train.sources import is_hub_name, read_source, source_name
from partwise.train.text import bpe_corpus, pretrained_corpus
from partwise.train.tracking import Track, refuse_missing_tracker, tracking

SETTINGS, STATE, MODEL = "gpt.json", "state.safetensors", "model"
Watch = Callable[[int, Mapping[str, float | int | None]], None]
"""Gets the number of steps done, and the metrics where a step has some."""


def watch_nothing(step: int, metrics: Mapping[str, float | int | None]) -> None:
    """Looks away."""


def train_from_scratch(
    out: Path,
    texts: Sequence[Path | str],
    recipe: GPTRecipe,
    bpe: int | None = None,
    checkpoint_every: int = 500,
    watch: Watch = watch_nothing,
) -> nn.Module:
    """Trains a small GPT on text; each source is a stream.

    Args:
        out: the run directory, which must not hold anything yet.
        texts: txt, jsonl or parquet files, or hub names of data sets (see `read_source`).
        recipe: sizes, optimisation and penalty.
        bpe: size of a byte-level BPE vocabulary; a token per character when left out.
        checkpoint_every: steps between checkpoints.
        watch: called after every step.

    Raises:
        DataError: for text that is missing, empty, binary, not UTF-8 or too short.
        OutputError: if `out` is taken or cannot be written.
        TrainingError: if the loss becomes NaN; the last good checkpoint stays.
    """
    return _start(out, texts, recipe, checkpoint_every, watch, bpe=bpe)


def finetune(
    out: Path,
    model: str,
    texts: Sequence[Path | str],
    recipe: GPTRecipe,
    checkpoint_every: int = 500,
    watch: Watch = watch_nothing,
) -> nn.Module:
    """Fine-tunes a pretrained model with the penalty; tokenizer, config and names are kept.

    Args:
        out: the run directory, which must not hold anything yet.
        model: a local directory in Hugging Face's layout, or a hub name.
        texts: as `train_from_scratch`.
        recipe: optimisation and penalty; its sizes are unused.
        checkpoint_every: steps between checkpoints.
        watch: called after every step.

    Raises:
        MissingExtraError: if transformers is not installed.
        CheckpointError: if the model cannot be loaded.
        UnreadableModelError: if its architecture cannot be read.
        DataError: as `train_from_scratch`, or if the tokenizer is another model's.
    """
    return _start(out, texts, recipe, checkpoint_every, watch, model=model)


def is_gpt_run(path: Path) -> bool:
    """Whether a directory is a run of this page."""
    return (path / SETTINGS).is_file()


def resume(out: Path, watch: Watch = watch_nothing) -> nn.Module:
    """Goes on where the last checkpoint of a run left off, bit for bit.

    Raises:
        DataError: if the directory holds no run, or a text has changed since.
        CheckpointError: if the checkpoint is damaged.
    """
    trainer, tokenizer, settings = open_gpt_run(out)
    kept = [row for row in gpt_metrics(out) if row["step"] <= trainer.step]
    write_text(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
    return _train(out, trainer, tokenizer, settings, watch)


def open_gpt_run(out: Path) -> tuple[GPTTrainer, Any, dict[str, Any]]:
    """A run as its last checkpoint left it, its tokenizer (None: characters) and settings.

    Raises:
        DataError, CheckpointError: as `resume`.
    """
    settings = read_json(out / SETTINGS)
    trainer, tokenizer = _trainer(settings)
    trainer.reference = Reference.of(settings.get("reference"))
    if (out / STATE).exists():
        state = read_tensors(out / STATE)
        weights = {k.removeprefix("model/"): v for k, v in state.items() if k.startswith("model/")}
        load_weights(trainer.model, untied(trainer.model, weights), str(out))
        trainer.load_tensors({k: v for k, v in state.items() if not k.startswith("model/")})
    return trainer, tokenizer, settings


def gpt_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a line cut short by a kill is left out."""
    path, rows = out / "metrics.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _start(
    out: Path,
    texts: Sequence[Path | str],
    recipe: GPTRecipe,
    checkpoint_every: int,
    watch: Watch,
    bpe: int | None = None,
    model: str | None = None,
) -> nn.Module:
    names = [str(each) for each in texts]
    sources = [name if is_hub_name(name) else str(Path(name).resolve()) for name in names]
    settings = {
        "texts": [{"source": name, "sha256": None} for name in sources],
        "recipe": asdict(recipe),
        "bpe": bpe,
        "model": str(Path(model).resolve()) if model and Path(model).is_dir() else model,
        "checkpoint_every": checkpoint_every,
        "id": secrets.token_hex(8),
    }
    refuse_missing_tracker(recipe.track)
    trainer, tokenizer = _trainer(settings)
    trainer.reference = _reference(recipe.reference, settings)
    settings["reference"] = None if trainer.reference is None else asdict(trainer.reference)
    write_json(new_directory(out) / SETTINGS, settings)
    return _train(out, trainer, tokenizer, settings, watch)


def _reference(text: str, settings: dict[str, Any]) -> Reference | None:
    """What a recipe's `reference` stands for."""
    if not text:
        return None
    if is_gpt_run(Path(text)):
        twin = Path(text)
        return twin_reference(text, read_json(twin / SETTINGS), gpt_metrics(twin), settings)
    try:
        return Reference((0,), (float(text),))
    except ValueError as error:
        raise RecipeError(
            f"reference = {text}, wanted nats per token or the directory of a plain twin's run"
        ) from error


def _trainer(settings: dict[str, Any]) -> tuple[GPTTrainer, Any]:
    """The trainer at step 0, and the tokenizer where there is one; notes the texts' hashes."""
    recipe = recipe_from_json(settings["recipe"])
    if settings["model"] is None:
        corpus, tokenizer = corpus_and_tokenizer(settings)
        _refuse_short_text(corpus, recipe.context)
        return GPTTrainer.new(recipe, corpus), tokenizer
    model, tokenizer = load_pretrained(settings["model"])
    _refuse_long_context(recipe, model)
    table = model.get_input_embeddings().weight
    corpus = pretrained_corpus(_texts(settings["texts"]), tokenizer, len(table))
    _refuse_short_text(corpus, recipe.context)
    return GPTTrainer.of(model, recipe, corpus), tokenizer


def corpus_and_tokenizer(settings: dict[str, Any]) -> tuple[Corpus, Any]:
    """The text that a run's settings name, and the tokenizer where there is one.

    Raises:
        DataError: if a text is missing or has changed since.
    """
    if settings["model"] is not None:
        model, tokenizer = load_pretrained(settings["model"])
        table = model.get_input_embeddings().weight
        return pretrained_corpus(_texts(settings["texts"]), tokenizer, len(table)), tokenizer
    texts = _texts(settings["texts"])
    if settings["bpe"] is not None:
        return bpe_corpus(texts, settings["bpe"])
    return character_corpus(texts), None


def _texts(sources: list[dict[str, Any]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for each in sources:
        text = read_source(each["source"])
        digest = hashlib.sha256(text.encode()).hexdigest()
        if each["sha256"] not in (None, digest):
            raise DataError(
                f"{each['source']} has changed since the run began; restore it or start anew"
            )
        each["sha256"] = digest
        texts[source_name(each["source"], texts)] = text
    if not texts:
        raise DataError("no text given; pass at least one UTF-8 file")
    return texts


def _train(
    out: Path, trainer: GPTTrainer, tokenizer: Any, settings: dict[str, Any], watch: Watch
) -> nn.Module:
    every = settings["checkpoint_every"]
    track: Track

    def log(row: dict[str, float | int | None]) -> None:
        append_line(out / "metrics.jsonl", json.dumps(row))
        track(row)
        watch(trainer.step, row)

    def after(step: int) -> None:
        watch(step, {})
        if step % every == 0 or step == trainer.recipe.steps:
            own = {f"model/{k}": v for k, v in _own_weights(trainer.model).items()}
            write_bytes(out / STATE, tensor_bytes(own | trainer.tensors()))
            _save_model(out, trainer, tokenizer)

    try:
        known = settings["recipe"], settings.get("id")
        with tracking(trainer.recipe.track, out, trainer.step, *known) as track:
            model = train_gpt(trainer, log, log_every=every, on_step=after)
    except TrainingError as error:
        kept = trainer.step // every * every
        words = f"the checkpoint of step {kept} is kept in {out}" if kept else "no checkpoint yet"
        raise TrainingError(f"{error}; {words}") from error
    if not (out / MODEL).exists():
        _save_model(out, trainer, tokenizer)
    return model


def _save_model(out: Path, trainer: GPTTrainer, tokenizer: Any) -> None:
    """Writes `model/` whole or not at all."""
    fresh, old = out / f".{MODEL}.new", out / f".{MODEL}.old"
    try:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir()
        if isinstance(trainer.model, GPT):
            _save_small(fresh, trainer.model, trainer.corpus, tokenizer)
        else:
            save_pretrained(fresh, trainer.model, tokenizer)
        if (out / MODEL).exists():
            (out / MODEL).rename(old)
        fresh.rename(out / MODEL)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {out / MODEL}: {error}; free some space") from error


def _save_small(out: Path, model: GPT, corpus: Corpus, tokenizer: Any) -> None:
    write_tensors(out / "model.safetensors", model.state_dict())
    write_json(out / "config.json", asdict(model.config))
    if tokenizer is None:
        write_json(out / "vocabulary.json", list(corpus.vocabulary))
    else:
        write_text(out / "tokenizer.json", tokenizer.to_str())


def _own_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, a tied one once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def untied(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A full state dict from `_own_weights`: tied names get their tensor back."""
    names = {id(tensor): name for name, tensor in _own_weights(model).items()}
    state = model.state_dict(keep_vars=True)
    missing = [name for name in names.values() if name not in weights]
    if missing:
        raise CheckpointError(f"the checkpoint has no '{missing[0]}': it is another network's")
    return {name: weights[names[id(tensor)]] for name, tensor in state.items()}


def _refuse_long_context(recipe: GPTRecipe, model: Any) -> None:
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and recipe.context > longest:
        raise DataError(
            f"sequences of {recipe.context} tokens are longer than the model's context of "
            f"{longest}; set context to at most {longest}"
        )


def _refuse_short_text(corpus: Corpus, context: int) -> None:
    for stream in corpus.streams:
        for split in SPLITS:
            stream.sequences(split, 1, context + 1, np.random.default_rng(0))
