"""Hugging Face models: loading and saving them, and the penalty in their Trainer and Accelerate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from partwise.errors import CheckpointError, MissingExtraError, OutputError, first_line
from partwise.files import read_tensors, write_tensors
from partwise.graph.activity import logits_of
from partwise.loss import SharePenalty, ShareSchedule

PENALTY = "penalty.safetensors"


def load_pretrained(name: str) -> tuple[Any, Any]:
    """A causal language model in float32 and its tokenizer.

    Args:
        name: a local directory in Hugging Face's layout, or a hub name.

    Raises:
        MissingExtraError: if transformers is not installed.
        CheckpointError: if there is no such model here, or no network to fetch it.
    """
    with _naming(name):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    return model.eval(), load_tokenizer(name)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a language model.

    Raises:
        MissingExtraError, CheckpointError: as `load_pretrained`.
    """
    with _naming(name):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(name)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turns errors of transformers into ours, which say what to do."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            "pretrained models need transformers; pip install 'partwise[hf]'"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot load '{name}' ({first_line(error)}); without network pass a local directory "
            "that save_pretrained wrote, with config.json, weights and tokenizer"
        ) from error


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
        trainer.add_callback(penalty_callback(trainer.penalty))  # resumed with the Trainer

    The penalty counts micro-batches; with gradient accumulation it is averaged like the loss.
    The Trainer's log lines also say how many modules there are and how large their interface is.
    """

    penalty: SharePenalty | None = None
    model_accepts_loss_kwargs: bool
    optimizer: Any = None

    def train(self, resume_from_checkpoint: Any = None, *rest: Any, **named: Any) -> Any:
        """As the Trainer's; `penalty_callback` then resumes from the same directory."""
        for callback in self.callback_handler.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "resumed_from"):
                callback.resumed_from = resume_from_checkpoint
        return super().train(resume_from_checkpoint, *rest, **named)  # type: ignore[misc]

    def training_step(self, *inputs: Any, **named: Any) -> Any:
        """A step whose parts' losses are means, which the Trainer must average."""
        self.model_accepts_loss_kwargs = False
        return super().training_step(*inputs, **named)  # type: ignore[misc]

    def log(self, logs: dict[str, float], *rest: Any, **named: Any) -> None:
        """The Trainer's log line, with what the penalty has come to where it is one of training."""
        if self.penalty is not None and "loss" in logs:
            share = self.penalty.interface_frac()
            logs = {**logs, "modules": self.penalty.modules, "interface_frac": share}
        super().log(logs, *rest, **named)  # type: ignore[misc]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Next-token loss, with the interface masked in a share of the steps, + the penalty.

        Without `labels` they are the tokens, but for those that `attention_mask` says are padding.
        """
        inputs = dict(inputs)
        labels, mask = inputs.pop("labels", None), inputs.get("attention_mask")
        if labels is None:
            labels = inputs["input_ids"]
            labels = labels if mask is None else labels.masked_fill(mask == 0, -100)
        penalty = self.penalty
        if penalty is None or not model.training:
            outputs = model(**inputs)
        else:
            penalty.wrapped = model  # what the Trainer wrapped since must see the forward pass
            outputs = penalty.step(self.optimizer)(**inputs)
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
    return SharePenalty(model, probe, schedule)


def penalty_callback(penalty: SharePenalty) -> Any:
    """A `transformers.TrainerCallback` that keeps the penalty's state in the Trainer's checkpoints.

    It is `penalty.safetensors` in every `checkpoint-N`. On resuming it is read from the directory
    that was given to `train` (a Trainer without `PenaltyMixin` does not tell it: there it is
    `args.resume_from_checkpoint`), else from the checkpoint of that step in `args.output_dir`.

    Raises:
        MissingExtraError: if transformers is not installed.
        CheckpointError: from the callback, if a checkpoint holds none or another network's.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtraError("the Trainer needs transformers; pip install 'partwise[hf]'") from (
            error
        )

    class PenaltyCallback(TrainerCallback):
        resumed_from: Any = None
        """What `train` was asked to resume from, as far as `PenaltyMixin` has told."""

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                place = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                write_tensors(place / PENALTY, penalty.state_dict())

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step:
                file = self._checkpoint(args, state) / PENALTY
                if not file.is_file():
                    raise CheckpointError(
                        f"{file.parent} holds no {PENALTY}, the penalty's state; resume from a "
                        "checkpoint that was saved with penalty_callback, or train without the "
                        "callback to begin the penalty anew"
                    )
                penalty.load_state_dict(read_tensors(file))

        def _checkpoint(self, args: Any, state: Any) -> Path:
            known = self.resumed_from
            given = args.resume_from_checkpoint if known is None else known
            if given and not isinstance(given, bool):
                return Path(given)
            return Path(args.output_dir) / f"checkpoint-{state.global_step}"

    return PenaltyCallback()


class AcceleratedPenalty:
    """The penalty in a loop of Accelerate's, in any precision and with gradient accumulation.

        model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
        penalty = AcceleratedPenalty(accelerator, model, probe)
        for ids in batches:
            with accelerator.accumulate(model):
                run = penalty.step(optimizer)
                loss = next_token_loss(run(ids), ids) + penalty()
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()

    It counts optimiser steps, however many parts a batch comes in: it is added to the last part,
    as many times as Accelerate will divide it by. Accelerate's `save_state` and `load_state` take
    its state along.

    Args:
        accelerator: an `accelerate.Accelerator`.
        model: what its `prepare` made of a model that `transformer_map` reads.
        probe: step -> (s, t) token ids that usage is measured over, on the model's device; under
            FSDP of the same shape on every process.
        schedule: when and how hard it presses, in optimiser steps.

    Raises:
        UnreadableModelError: for a model of another architecture.
    """

    def __init__(
        self,
        accelerator: Any,
        model: nn.Module,
        probe: Callable[[int], Tensor],
        schedule: ShareSchedule | None = None,
    ):
        self.accelerator = accelerator
        bare = accelerator.unwrap_model(model)
        self.penalty = SharePenalty(bare, probe, schedule, wrapped=model)
        accelerator.register_for_checkpointing(self.penalty)

    def step(self, optimizer: Any = None) -> Callable[..., Any]:
        """As `Penalty.step`; in all parts of an optimiser step but the first it decides nothing."""
        return self.penalty.step(optimizer)

    def run(self, *inputs: Any, **named: Any) -> Any:
        """As `Penalty.run`."""
        return self.penalty.run(*inputs, **named)

    def __call__(self) -> Tensor:
        """The penalty, a scalar; 0 in all but the last part of an optimiser step."""
        if not self.accelerator.sync_gradients:
            return next(self.penalty.model.parameters()).new_zeros(())
        return self.penalty() * self.accelerator.gradient_accumulation_steps
