"""Hugging Face models: loading and saving them, and their Trainer with the penalty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from partwise.errors import CheckpointError, MissingExtraError, OutputError
from partwise.graph.activity import logits_of
from partwise.graph.transformer import transformer_map
from partwise.loss.shares import SharePenalty, ShareSchedule


def load_pretrained(name: str) -> tuple[Any, Any]:
    """A causal language model in float32 and its tokenizer.

    Args:
        name: a local directory in Hugging Face's layout, or a hub name.

    Raises:
        MissingExtraError: if transformers is not installed.
        CheckpointError: if there is no such model here, or no network to fetch it.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "pretrained models need transformers; pip install 'partwise[hf]'"
        ) from error
    try:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(
            f"cannot load '{name}' ({first}); without network pass a local directory that "
            "save_pretrained wrote, with config.json, weights and tokenizer"
        ) from error
    return model.eval(), tokenizer


def save_pretrained(out: Path, model: Any, tokenizer: Any) -> None:
    """Writes model and tokenizer in Hugging Face's layout.

    Raises:
        OutputError: if the disk is full or the place cannot be written.
    """
    try:
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {out}: {error}; free some space") from error


class PenaltyMixin:
    """Adds the penalty to a `transformers.Trainer`; mix in before it and set `penalty`.

        class ModularTrainer(PenaltyMixin, Trainer): pass
        trainer = ModularTrainer(model=model, args=args, train_dataset=data)
        trainer.penalty = penalty_for(model, probe)

    The penalty counts micro-batches; with gradient accumulation it is averaged like the loss.
    """

    penalty: SharePenalty | None = None

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Next-token loss, with the interface masked in a share of the steps, + the penalty."""
        inputs = dict(inputs)
        labels = inputs.pop("labels", inputs["input_ids"])
        penalty = self.penalty
        if penalty is None or not model.training:
            outputs = model(**inputs)
        else:
            outputs = penalty.run(**inputs)
        logits = logits_of(outputs)
        loss = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
        )
        if penalty is not None and model.training:
            loss = loss + penalty()
        return (loss, outputs) if return_outputs else loss


def penalty_for(
    model: nn.Module, probe: Callable[[int], Tensor], schedule: ShareSchedule | None = None
) -> SharePenalty:
    """The penalty of a model that `transformer_map` reads."""
    return SharePenalty(model, transformer_map(model), probe, schedule)
