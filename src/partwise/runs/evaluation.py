"""A run beside its baseline: held-out loss and language tasks, in numbers and in words."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from partwise.capability.idle_interface import CausalInterface
from partwise.capability.language import causal_language_interface, stream_losses
from partwise.capability.language_eval import (
    PairedDifference,
    harness_scores,
    local_task,
    sequence_losses,
)
from partwise.errors import DataError, MissingExtraError
from partwise.files import write_json
from partwise.runs.open_run import OpenRun, open_run
from partwise.tasks import Text
from partwise.train.gpt import GPT
from partwise.train.hf import load_pretrained
from partwise.train.recipe import PretrainedModel
from partwise.train.run_files import is_run


@dataclass(frozen=True)
class TaskScore:
    """Accuracy on one task.

    Attributes:
        run, baseline: accuracies.
        difference: paired over the task's items.
    """

    run: float
    baseline: float
    difference: PairedDifference


@dataclass(frozen=True)
class Comparison:
    """What a run can do beside its baseline.

    Attributes:
        run, baseline: what was compared.
        run_losses, baseline_losses: stream -> held-out loss in nats per token.
        loss: paired difference of the held-out loss, over sequences.
        run_tokens, baseline_tokens: tokens trained on; 0 for a model that was only loaded.
        tasks: task -> its scores.
        interface: what joins the run's modules carries; None if it was not asked for, or if the
            run holds no modules apart.
    """

    run: str
    baseline: str
    run_losses: dict[str, float]
    baseline_losses: dict[str, float]
    loss: PairedDifference
    run_tokens: int
    baseline_tokens: int
    tasks: dict[str, TaskScore]
    interface: CausalInterface | None = None

    def sentences(self) -> list[str]:
        """What was found and what the samples can exclude, in plain words."""
        lines = [
            f"{name}: {mean:.3f} nats per token, perplexity {math.exp(mean):.2f}, {tokens} tokens"
            for name, mean, tokens in (
                (self.run, _mean(self.run_losses), self.run_tokens),
                (self.baseline, _mean(self.baseline_losses), self.baseline_tokens),
            )
        ]
        lines.append(f"Held-out loss: {self.loss.sentence()}.")
        for name, score in self.tasks.items():
            lines.append(
                f"{name}: {score.run:.1%} against {score.baseline:.1%}; accuracy "
                f"{score.difference.sentence()}."
            )
        if self.run_tokens != self.baseline_tokens:
            lines.append("The two were not trained on equally many tokens.")
        if self.interface is not None:
            lines.append(_interface_words(self.interface))
        return lines


@dataclass(frozen=True)
class _Side:
    """A run, or a pretrained model in its place, of which `tokens` were trained on."""

    name: str
    model: Any
    text: Text
    tokenizer: Any
    tokens: int


def evaluate(
    run: Path,
    baseline: str | None = None,
    tasks: Sequence[str] = (),
    sequences: int = 512,
    limit: int | None = None,
    interface: bool = False,
) -> Comparison:
    """A run beside its baseline, on the same held-out sequences and task items.

    Writes the figures to the run's `capability.json`.

    Args:
        run: a run's directory.
        baseline: another run's, or a pretrained model's name or directory; a fine-tuned run's own
            start when left out.
        tasks: names of the lm-evaluation-harness, or local files (see `local_task`).
        sequences: held-out sequences that the loss is compared over.
        limit: items per task; all when left out.
        interface: whether to measure what joins the run's modules; takes as long as 400 training
            steps on 128 sequences.

    Raises:
        DataError: if the two read other texts, tokens or contexts, so that nothing compares; if
            there is no baseline; if a task is unknown or cannot be fetched.
        CheckpointError: if a checkpoint is damaged.
        MissingExtraError: if tasks are given and lm-eval is not installed.
    """
    opened = _opened(run)
    ours = _side(opened)
    theirs = _baseline(opened, baseline, ours)
    _refuse_other_text(ours, theirs)
    context = ours.text.context
    our_losses, their_losses = (
        sequence_losses(side.model, side.text.corpus, context, sequences) for side in (ours, theirs)
    )
    our_streams, their_streams = (
        stream_losses(side.model, side.text.corpus, context) for side in (ours, theirs)
    )
    found = Comparison(
        ours.name,
        theirs.name,
        our_streams,
        their_streams,
        PairedDifference.of(our_losses, their_losses, "nats per token"),
        ours.tokens,
        theirs.tokens,
        _task_scores(ours, theirs, tasks, limit),
        _interface(opened, ours.text) if interface else None,
    )
    write_json(run / "capability.json", asdict(found))
    return found


def _opened(path: Path) -> OpenRun:
    run = open_run(path)
    if run.kind != "text":
        raise DataError(f"{path} is no language model's run; partwise report shows its scores")
    return run


def _side(run: OpenRun) -> _Side:
    tokens = run.steps * run.recipe.training.batch * run.recipe.context
    assert isinstance(run.data, Text)
    return _Side(str(run.path), run.model, run.data, run.tokenizer, tokens)


def _baseline(run: OpenRun, baseline: str | None, ours: _Side) -> _Side:
    if baseline is not None and (is_run(Path(baseline)) or isinstance(run.model, GPT)):
        return _side(_opened(Path(baseline)))
    own_start = run.recipe.model
    start = baseline
    if start is None and isinstance(own_start, PretrainedModel):
        start = own_start.source
    if start is None:
        raise DataError(
            f"{run.path} was trained from scratch; give a run to compare with (--baseline)"
        )
    model, tokenizer = load_pretrained(start)
    if len(model.get_input_embeddings().weight) < len(ours.text.corpus.vocabulary):
        raise DataError(f"{start} has fewer tokens than {run.path}; nothing compares")
    return _Side(start, model, ours.text, tokenizer, 0)


def _interface(run: OpenRun, text: Text) -> CausalInterface | None:
    """Of the partition that the training held apart."""
    if run.partition is None:
        return None
    return causal_language_interface(
        run.model, run.units, run.partition.tensor, text.corpus, text.context
    )


def _interface_words(found: CausalInterface) -> str:
    return (
        f"Without what joins its modules: {found.joint:+.3f} nats per token; without random parts "
        f"of it {found.random_mean:+.3f} (95% of them below {found.random_high:+.3f}); without "
        f"the worst part found {found.worst:+.3f}."
    )


def _refuse_other_text(ours: _Side, theirs: _Side) -> None:
    a, b = ours.text, theirs.text
    same = a.streams == b.streams and all(
        torch.equal(s.ids, t.ids) for s, t in zip(a.corpus.streams, b.corpus.streams, strict=True)
    )
    if not same or a.context != b.context:
        raise DataError(
            f"{ours.name} and {theirs.name} read other tokens or contexts; train both on the same "
            "texts"
        )


def _task_scores(
    ours: _Side, theirs: _Side, tasks: Sequence[str], limit: int | None
) -> dict[str, TaskScore]:
    if not tasks:
        return {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [local_task(folder, Path(t)) if Path(t).suffix else t for t in tasks]
        both = [harness_scores(*_for_harness(s), names, folder, limit) for s in (ours, theirs)]
    return {
        task: TaskScore(
            float(both[0][task].mean()),
            float(both[1][task].mean()),
            PairedDifference.of(both[0][task], both[1][task], "of 1"),
        )
        for task in both[0]
    }


def _for_harness(side: _Side) -> tuple[Any, Any]:
    """What `harness_scores` takes: a transformers model and tokenizer, or a model of our own."""
    if not isinstance(side.model, GPT):
        return side.model, side.tokenizer
    try:
        from partwise.capability.harness_model import LogitsModel
    except ImportError as error:
        raise MissingExtraError(
            "language tasks need lm-eval; pip install 'partwise[hf,eval]'"
        ) from error
    encode = _encoder(side.tokenizer, side.text.corpus.vocabulary)
    return LogitsModel(side.model, encode, side.model.config.context), None


def _encoder(tokenizer: Any, vocabulary: Sequence[str]) -> Callable[[str], list[int]]:
    """Text -> token ids; characters that the training text did not have are left out."""
    if tokenizer is not None:
        return lambda text: list(tokenizer.encode(text).ids)
    code: Mapping[str, int] = {character: i for i, character in enumerate(vocabulary)}
    return lambda text: [code[c] for c in text if c in code]


def _mean(losses: Mapping[str, float]) -> float:
    return sum(losses.values()) / len(losses)
