"""Training a GPT so that it comes apart: one readable loop in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partwise.capability.language import stream_losses, token_loss
from partwise.errors import TrainingError
from partwise.graph import UnitMap
from partwise.graph.activity import logits_of
from partwise.graph.transformer import transformer_map
from partwise.loss import SharePenalty, l1_penalty
from partwise.tasks.streams import Corpus
from partwise.train.gpt import GPT, GPTConfig
from partwise.train.gpt_budget import PROBES, Reference
from partwise.train.gpt_recipe import GPTRecipe


@dataclass
class GPTTrainer:
    """A GPT in training.

    Attributes:
        recipe: what decides the run.
        corpus: the text.
        model: the network.
        units: its unit map.
        optimizer: AdamW over all its parameters.
        penalty: the share penalty.
        step: steps done.
        reference: held-out loss of the plain twin, where it is known.
        lowest: lowest held-out loss before the penalty began, in place of a reference.
    """

    recipe: GPTRecipe
    corpus: Corpus
    model: nn.Module
    units: UnitMap
    optimizer: torch.optim.Optimizer
    penalty: SharePenalty
    step: int = 0
    reference: Reference | None = None
    lowest: float = math.inf

    @classmethod
    def new(cls, recipe: GPTRecipe, corpus: Corpus) -> GPTTrainer:
        """A trainer at step 0."""
        config = GPTConfig(
            len(corpus.vocabulary), recipe.context, recipe.width, recipe.heads, recipe.layers
        )
        return cls.of(GPT(config, recipe.seed), recipe, corpus)

    @classmethod
    def of(cls, model: nn.Module, recipe: GPTRecipe, corpus: Corpus) -> GPTTrainer:
        """A trainer of any model that `transformer_map` reads; the recipe's sizes are unused."""
        units = transformer_map(model)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )

        def probe(step: int) -> Tensor:
            pieces = max(1.0, recipe.context / recipe.shares.piece)
            size = math.ceil(recipe.shares.probes / pieces)
            return corpus.batch("claims", size, recipe.context, (recipe.seed, step))

        penalty = SharePenalty(model, units, probe, recipe.shares)
        return cls(recipe, corpus, model, units, optimizer, penalty)

    @property
    def learning_rate(self) -> float:
        """The learning rate now."""
        recipe = self.recipe
        warm = max(1.0, recipe.warmup_frac * recipe.steps)
        if self.step < warm:
            return recipe.lr * (self.step + 1) / warm
        into = (self.step - warm) / max(1.0, recipe.steps - warm)
        return recipe.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * into)) / 2)

    def losses(self) -> Iterator[Tensor]:
        """Next-token loss of this step's batch, part by part; last of all, the pressures.

        Their sum is next-token loss + sparsity + share penalty, however many parts there are.
        """
        recipe = self.recipe
        batch = self.corpus.batch(
            "train", recipe.batch, recipe.context + 1, (recipe.seed, self.step)
        )
        run = self.penalty.step(self.optimizer)
        for ids in batch.tensor_split(recipe.accumulate):
            with self._precision():
                logits = logits_of(run(ids[:, :-1]))
            yield token_loss(logits.float(), ids[:, 1:]) * (len(ids) / len(batch))
        yield self.pressure()

    def pressure(self) -> Tensor:
        """Sparsity + share penalty; moves the penalty's schedule on by a step."""
        total = self.penalty()
        if self.recipe.l1:
            total = total + self.recipe.l1 * l1_penalty(self.model, self.units)
        return total

    def advance(self) -> float:
        """One optimiser step; returns the loss before it.

        Raises:
            TrainingError: if the loss or its gradient is NaN or infinite; the weights are left
                as they were.
        """
        self.keep_budget()
        value = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for part in self.losses():
            value += part.item()
            self._refuse_nan("loss", value)
            if part.requires_grad:
                part.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self._refuse_nan("gradient's norm", norm.item())
        self.optimizer.step()
        self.step += 1
        return value

    def keep_budget(self) -> None:
        """Where a measurement is due, lets the penalty press by what the loss has come to."""
        recipe = self.recipe
        if not recipe.budget or self.step % max(1, recipe.steps // PROBES):
            return
        losses = stream_losses(self.model, self.corpus, recipe.context, rounds=2)
        loss = sum(losses.values()) / len(losses)
        if self.step <= recipe.shares.start:
            self.lowest = min(self.lowest, loss)
            return
        known = self.lowest if self.reference is None else self.reference.at(self.step)
        self.penalty.adapt(loss, (1 + recipe.budget) * known)

    def _precision(self) -> AbstractContextManager[Any]:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, self.recipe.precision == "bfloat16")

    def _refuse_nan(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {self.step}; lower the learning rate "
                f"(now {self.recipe.lr}) and train again"
            )

    def metrics(self, loss: float) -> dict[str, float | int | None]:
        """What a log line says of this step."""
        held = stream_losses(self.model, self.corpus, self.recipe.context, rounds=2)
        return {
            "step": self.step,
            "loss": loss,
            **{f"held_{name}": value for name, value in held.items()},
            "modules": self.penalty.modules,
            "interface_frac": self.penalty.interface_frac() if self.penalty.modules > 1 else None,
            **({"pressure": self.penalty.pressure} if self.recipe.budget else {}),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint holds beside the model: optimiser, penalty and step."""
        state: dict[str, Tensor] = {"step": torch.tensor(self.step)}
        if math.isfinite(self.lowest):
            state["lowest"] = torch.tensor(self.lowest, dtype=torch.float64)
        for i, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{i}/{name}": tensor for name, tensor in moments.items()}
        return state | {f"penalty/{k}": v.clone() for k, v in self.penalty.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up what `tensors` of an earlier run gave."""
        moments: dict[int, dict[str, Tensor]] = {}
        penalty: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if part == "optimizer":
                index, _, moment = rest.partition("/")
                moments.setdefault(int(index), {})[moment] = tensor
            elif part == "penalty":
                penalty[rest] = tensor
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**whole, "state": moments})
        self.penalty.load_state_dict(penalty)
        self.step, self.lowest = int(tensors["step"]), float(tensors.get("lowest", math.inf))


def train_gpt(
    trainer: GPTTrainer,
    on_log: Callable[[dict[str, float | int | None]], None] = lambda metrics: None,
    log_every: int = 500,
    on_step: Callable[[int], None] = lambda step: None,
) -> nn.Module:
    """Trains to the end of the recipe.

    Args:
        trainer: where to begin.
        on_log: gets `GPTTrainer.metrics` every `log_every` steps and at the end.
        log_every: see `on_log`.
        on_step: called after every step, with the number of steps done.
    """
    while trainer.step < trainer.recipe.steps:
        loss = trainer.advance()
        if trainer.step % log_every == 0 or trainer.step == trainer.recipe.steps:
            on_log(trainer.metrics(loss))
        on_step(trainer.step)
    return trainer.model
