"""Runs of language models: from text files to a directory, from scratch or from a checkpoint.

`partwise train --model gpt` and `partwise finetune` call these functions. A run directory holds
`gpt.json` (what decides the run), `metrics.jsonl`, `model/` and `state.safetensors`. A model from
transformers is saved in its own layout and loads with plain `from_pretrained`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from partwise.capability.language_eval import PairedDifference, sequence_losses
from partwise.errors import DataError
from partwise.files import (
    new_directory,
    read_json,
    read_tensors,
    tensor_bytes,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)
from partwise.loss.shares import ShareSchedule
from partwise.tasks.streams import Corpus, character_corpus, read_text
from partwise.train.gpt_loop import GPTRecipe, GPTTrainer, train_gpt
from partwise.train.hf import load_pretrained, save_pretrained
from partwise.train.network import load_weights
from partwise.train.text import bpe_corpus, pretrained_corpus, stream_name


def train_from_scratch(
    out: Path,
    texts: Sequence[Path],
    recipe: GPTRecipe,
    bpe: int | None = None,
    checkpoint_every: int = 500,
) -> nn.Module:
    """Trains a small GPT on text files; each file is a stream.

    Args:
        out: the run directory, which must not hold anything yet.
        texts: UTF-8 text files.
        recipe: sizes, optimisation and penalty.
        bpe: size of a byte-level BPE vocabulary; a token per character when left out.
        checkpoint_every: steps between checkpoints.

    Raises:
        DataError: for text that is missing, empty, binary, not UTF-8 or too short.
        OutputError: if `out` is taken or cannot be written.
        TrainingError: if the loss becomes NaN; the last good checkpoint stays.
    """
    return _start(out, texts, recipe, checkpoint_every, bpe=bpe)


def finetune(
    out: Path,
    model: str,
    texts: Sequence[Path],
    recipe: GPTRecipe,
    checkpoint_every: int = 500,
) -> nn.Module:
    """Fine-tunes a pretrained model with the penalty; tokenizer, config and names are kept.

    Args:
        out: the run directory, which must not hold anything yet.
        model: a local directory in Hugging Face's layout, or a hub name.
        texts: UTF-8 text files; each is a stream.
        recipe: optimisation and penalty; its sizes are unused.
        checkpoint_every: steps between checkpoints.

    Raises:
        MissingExtraError: if transformers is not installed.
        CheckpointError: if the model cannot be loaded.
        UnreadableModelError: if its architecture cannot be read.
        DataError: as `train_from_scratch`, or if the tokenizer is another model's.
    """
    return _start(out, texts, recipe, checkpoint_every, model=model)


def resume(out: Path) -> nn.Module:
    """Goes on where the last checkpoint of a run left off, bit for bit.

    Raises:
        DataError: if the directory holds no run, or a text has changed since.
        CheckpointError: if the checkpoint is damaged.
    """
    trainer, tokenizer, settings = _loaded(out)
    kept = [row for row in _metrics(out) if row["step"] <= trainer.step]
    write_text(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
    return _train(out, trainer, tokenizer, settings)


def load_run(out: Path) -> GPTTrainer:
    """A run as its last checkpoint left it.

    Raises:
        DataError, CheckpointError: as `resume`.
    """
    return _loaded(out)[0]


def evaluate(run: Path, baseline: Path, sequences: int = 512) -> PairedDifference:
    """Held-out loss of a run beside a baseline's, in nats per token, on the same sequences.

    Raises:
        DataError: if the two were trained on other texts or tokens, so that nothing compares.
        CheckpointError: if a checkpoint is damaged.
    """
    a, b = load_run(run), load_run(baseline)
    same_text = [s.name for s in a.corpus.streams] == [s.name for s in b.corpus.streams] and all(
        torch.equal(s.ids, t.ids) for s, t in zip(a.corpus.streams, b.corpus.streams, strict=True)
    )
    if not same_text or a.recipe.context != b.recipe.context:
        raise DataError(
            f"{run} and {baseline} read other tokens or contexts; train both on the same texts"
        )
    ours, theirs = (
        sequence_losses(each.model, each.corpus, each.recipe.context, sequences) for each in (a, b)
    )
    return PairedDifference.of(ours, theirs, "nats per token")


def _loaded(out: Path) -> tuple[GPTTrainer, Any, dict[str, Any]]:
    settings = read_json(out / "gpt.json")
    trainer, tokenizer = _trainer(settings)
    if (out / "state.safetensors").exists():
        state = read_tensors(out / "state.safetensors")
        weights = {k.removeprefix("model/"): v for k, v in state.items() if k.startswith("model/")}
        load_weights(trainer.model, _untied(trainer.model, weights), str(out))
        trainer.load_tensors({k: v for k, v in state.items() if not k.startswith("model/")})
    return trainer, tokenizer, settings


def _start(
    out: Path,
    texts: Sequence[Path],
    recipe: GPTRecipe,
    checkpoint_every: int,
    bpe: int | None = None,
    model: str | None = None,
) -> nn.Module:
    settings = {
        "texts": [{"path": str(path.resolve()), "sha256": _digest(path)} for path in texts],
        "recipe": asdict(recipe),
        "bpe": bpe,
        "model": model,
        "checkpoint_every": checkpoint_every,
    }
    trainer, tokenizer = _trainer(settings)
    write_json(new_directory(out) / "gpt.json", settings)
    return _train(out, trainer, tokenizer, settings)


def _trainer(settings: dict[str, Any]) -> tuple[GPTTrainer, Any]:
    """The trainer at step 0, and the tokenizer where there is one."""
    fields = dict(settings["recipe"])
    shares = {**fields.pop("shares")}
    shares["inflations"] = tuple(shares["inflations"])
    recipe = GPTRecipe(**fields, shares=ShareSchedule(**shares))
    texts = _texts(settings["texts"])
    tokenizer: Any = None
    if settings["model"] is not None:
        model, tokenizer = load_pretrained(settings["model"])
        _refuse_long_context(recipe, model)
        table = model.get_input_embeddings().weight
        known = pretrained_corpus(texts, tokenizer, len(table))
        return GPTTrainer.of(model, recipe, known), tokenizer
    corpus: Corpus
    if settings["bpe"] is not None:
        corpus, tokenizer = bpe_corpus(texts, settings["bpe"])
    else:
        corpus = character_corpus(texts)
    return GPTTrainer.new(recipe, corpus), tokenizer


def _texts(sources: list[dict[str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for source in sources:
        path = Path(source["path"])
        if _digest(path) != source["sha256"]:
            raise DataError(f"{path} has changed since the run began; restore it or start anew")
        texts[stream_name(path, texts)] = read_text(path)
    if not texts:
        raise DataError("no text given; pass at least one UTF-8 file")
    return texts


def _train(out: Path, trainer: GPTTrainer, tokenizer: Any, settings: dict[str, Any]) -> nn.Module:
    every = settings["checkpoint_every"]

    def log(row: dict[str, float | int]) -> None:
        with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save(step: int) -> None:
        if step % every == 0 or step == trainer.recipe.steps:
            own = {f"model/{k}": v for k, v in _own_weights(trainer.model).items()}
            write_bytes(out / "state.safetensors", tensor_bytes(own | trainer.tensors()))

    model = train_gpt(trainer, log, log_every=every, on_step=save)
    if settings["model"] is not None:
        save_pretrained(out / "model", model, tokenizer)
    else:
        _save_small(out / "model", trainer, tokenizer)
    return model


def _save_small(out: Path, trainer: GPTTrainer, tokenizer: Any) -> None:
    out.mkdir(exist_ok=True)
    write_tensors(out / "model.safetensors", trainer.model.state_dict())
    write_json(out / "config.json", asdict(trainer.model.config))  # type: ignore[call-overload]
    if tokenizer is None:
        write_json(out / "vocabulary.json", list(trainer.corpus.vocabulary))
    else:
        write_text(out / "tokenizer.json", tokenizer.to_str())


def _own_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, a tied one once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _untied(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A full state dict from `_own_weights`: tied names get their tensor back."""
    names = {id(tensor): name for name, tensor in _own_weights(model).items()}
    state = model.state_dict(keep_vars=True)
    return {name: weights[names[id(tensor)]] for name, tensor in state.items()}


def _refuse_long_context(recipe: GPTRecipe, model: Any) -> None:
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and recipe.context > longest:
        raise DataError(
            f"sequences of {recipe.context} tokens are longer than the model's context of "
            f"{longest}; set context to at most {longest}"
        )


def _metrics(out: Path) -> list[dict[str, Any]]:
    path, rows = out / "metrics.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
