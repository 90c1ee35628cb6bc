"""In what training on tables and on text differ: batches, losses, and what is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from partwise.capability import held_out
from partwise.capability.language import stream_losses, token_loss
from partwise.graph.activity import logits_of
from partwise.tasks import Data, Task, Text
from partwise.train.recipe import Recipe

PROBE_SEED = 77
Run = Callable[..., Any]


class Objective(Protocol):
    """Batches of a step and their loss, and the scores that a log line has."""

    def losses(self, run: Run, step: int) -> Iterator[Tensor]:
        """Loss of what runs the network on a step's batch, part by part; the sum is the mean."""

    def held_out(self, model: nn.Module) -> dict[str, float]:
        """Scores on samples that no step trains on."""


def objective_of(recipe: Recipe, data: Data) -> Objective:
    """How a recipe trains on its data."""
    if isinstance(data, Text):
        return TextObjective(recipe, data)
    return TableObjective(recipe, data)


@dataclass(frozen=True, eq=False)
class TableObjective:
    """Rows of inputs: the sum of the heads' losses."""

    recipe: Recipe
    task: Task

    def losses(self, run: Run, step: int) -> Iterator[Tensor]:
        """As `Objective.losses`."""
        training = self.recipe.training
        x, y = self.task.batch("train", training.batch, (self.recipe.seed, step))
        parts = zip(*(t.tensor_split(training.accumulate) for t in (x, y)), strict=True)
        for part, answers in parts:
            with precision(self.recipe, part):
                outputs = run(part)
            loss = self.task.losses(outputs.float(), answers).mean(0).sum()
            yield loss * (len(part) / len(x))

    def held_out(self, model: nn.Module) -> dict[str, float]:
        """Loss and accuracy on `claims`."""
        found = held_out(model, self.task, "claims", size=1000)
        return {"claims_ce": found.ce, "claims_accuracy": found.accuracy}


@dataclass(frozen=True, eq=False)
class TextObjective:
    """Sequences of tokens: the loss of the next one."""

    recipe: Recipe
    text: Text

    def losses(self, run: Run, step: int) -> Iterator[Tensor]:
        """As `Objective.losses`."""
        training = self.recipe.training
        length, seed = self.text.context + 1, (self.recipe.seed, step)
        batch = self.text.corpus.batch("train", training.batch, length, seed)
        for ids in batch.tensor_split(training.accumulate):
            with precision(self.recipe, ids):
                logits = logits_of(run(ids[:, :-1]))
            yield token_loss(logits.float(), ids[:, 1:]) * (len(ids) / len(batch))

    def held_out(self, model: nn.Module) -> dict[str, float]:
        """Loss of each stream, in nats per token."""
        found = stream_losses(model, self.text.corpus, self.text.context, rounds=2)
        return {f"held_{name}": loss for name, loss in found.items()}


def precision(recipe: Recipe, like: Tensor) -> Any:
    """The context in which a forward pass runs."""
    return torch.autocast(like.device.type, torch.bfloat16, recipe.training.precision == "bfloat16")


def held_out_probe(task: Task, size: int = 1000) -> Callable[[Callable[..., Tensor]], Tensor]:
    """The task's loss on samples of `claims`, always the same ones, for a `BudgetedPenalty`."""
    x, y = task.batch("claims", size, PROBE_SEED)
    return lambda run: task.losses(run(x), y).mean(0).sum()


def token_probe(text: Text, probes: int, piece: int, seed: int) -> Callable[[int], Tensor]:
    """Sequences of `claims` that usage is measured over, for a `SharePenalty`.

    Args:
        text: where they come from.
        probes: pieces of sequences that are wanted.
        piece: tokens of a piece.
        seed: seed of the choice, which is another at every step.
    """
    size = math.ceil(probes / max(1.0, text.context / piece))
    return lambda step: text.corpus.batch("claims", size, text.context, (seed, step))
