"""One readable training loop; a run can stop at any moment and go on bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partwise.errors import CheckpointError, RecipeError, TrainingError
from partwise.graph import UnitMap
from partwise.loss import (
    BudgetedPenalty,
    BudgetSchedule,
    CutTreePenalty,
    CutTreeSchedule,
    Penalty,
    SharePenalty,
    ShareSchedule,
    l1_penalty,
)
from partwise.tasks import Data, Text
from partwise.train.data import Loaded, Vocabulary, load_data
from partwise.train.hf import load_pretrained
from partwise.train.models import build_model, read_units, refuse_long_context
from partwise.train.network import load_weights, own_weights, with_tied
from partwise.train.objective import Objective, held_out_probe, objective_of, token_probe
from partwise.train.recipe import PretrainedModel, Recipe
from partwise.train.reference import LossBudget, Reference, reference_of

Metrics = dict[str, Any]


@dataclass
class Trainer:
    """A network in training, whatever it reads.

    Attributes:
        recipe: what decides the run.
        loaded: the data, with tokenizer and hashes.
        model: the network.
        units: its unit map.
        optimizer: AdamW over all its parameters.
        penalty: what makes it come apart; for a plain twin, one that stays silent.
        objective: batches and their loss.
        budget: what a `SharePenalty` within a budget presses by; None for all others.
        step: steps done.
    """

    recipe: Recipe
    loaded: Loaded
    model: nn.Module
    units: UnitMap
    optimizer: torch.optim.Optimizer
    penalty: Penalty
    objective: Objective
    budget: LossBudget | None = None
    step: int = 0

    @classmethod
    def new(
        cls,
        recipe: Recipe,
        data: Data | None = None,
        *,
        model: nn.Module | None = None,
        known: Mapping[str, str] | None = None,
        reference: Reference | None = None,
    ) -> Trainer:
        """A trainer at step 0.

        Args:
            recipe: what decides the run.
            data: in place of what the recipe names.
            model: likewise.
            known: source -> hash of data that must not have changed (see `load_data`).
            reference: the plain twin's losses, in place of what the recipe names.

        Raises:
            DataError: if data are missing, damaged, too short, or have changed.
            RecipeError: if parts of the recipe do not fit together.
            CheckpointError: if a pretrained model cannot be loaded.
        """
        loaded = None if data is None else Loaded(data)
        if model is None and isinstance(recipe.model, PretrainedModel):
            model, vocabulary = _pretrained(recipe, recipe.model.source)
            loaded = loaded or load_data(recipe, vocabulary, known)
        loaded = loaded or load_data(recipe, known=known)
        _refuse_other_data(recipe, loaded.data)
        model = build_model(recipe, loaded.data) if model is None else model
        units = read_units(model, loaded.data)
        return cls(
            recipe,
            loaded,
            model,
            units,
            _optimizer(recipe, model),
            penalty_of(recipe, loaded.data, model, units),
            objective_of(recipe, loaded.data),
            _budget(recipe, loaded, reference),
        )

    @property
    def data(self) -> Data:
        """Where the samples come from."""
        return self.loaded.data

    @property
    def learning_rate(self) -> float:
        """The learning rate now: a rise, a plateau, half a cosine (see `TrainingRecipe`)."""
        t = self.recipe.training
        warm = max(1.0, t.warmup_frac * t.steps) if t.warmup_frac else 0.0
        if self.step < warm:
            return t.lr * (self.step + 1) / warm
        begin = max(warm, (1 - t.decay_frac) * t.steps)
        into = max(0.0, (self.step - begin) / max(1.0, t.steps - begin))
        return t.lr * (t.final_frac + (1 - t.final_frac) * (1 + math.cos(math.pi * into)) / 2)

    def losses(self) -> Iterator[Tensor]:
        """Loss of this step's batch, part by part; the last one holds the pressures too.

        Their sum is task loss + penalty, sparsity included, however many parts there are.
        """
        parts = self.objective.losses(self.penalty.step(self.optimizer), self.step)
        last = next(parts)
        for part in parts:
            yield last
            last = part
        yield last + self.pressure()

    def pressure(self) -> Tensor:
        """Penalty and sparsity pressure; the penalty's next step begins after it."""
        total = self.penalty()
        if self.recipe.is_text and self.recipe.penalty.l1:
            total = total + self.recipe.penalty.l1 * l1_penalty(self.model, self.units)
        return total

    def advance(self) -> float:
        """One optimiser step; returns the loss before it.

        Raises:
            TrainingError: if the loss or its gradient is NaN or infinite; the weights are left
                as they were.
        """
        if self.budget is not None:
            self.budget.keep(self.step, self._held_out_loss, self.penalty)
        value = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for part in self.losses():
            value += part.item()
            self._refuse_nan("loss", value)
            if part.requires_grad:
                part.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        if self.recipe.training.clip:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.training.clip)
            self._refuse_nan("gradient's norm", norm.item())
        self.optimizer.step()
        self.step += 1
        is_last = self.step == self.recipe.training.steps
        if is_last and isinstance(self.penalty, BudgetedPenalty):
            self.penalty.finish()
        return value

    def _held_out_loss(self) -> float:
        losses = self.objective.held_out(self.model)
        return sum(losses.values()) / len(losses)

    def _refuse_nan(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {self.step}; lower the learning rate "
                f"(now {self.recipe.training.lr}) and train again"
            )

    def metrics(self, loss: float) -> Metrics:
        """What a log line says of this step; no interface where there are no modules."""
        modules = self.penalty.modules
        return {
            "step": self.step,
            "loss": loss,
            **self.objective.held_out(self.model),
            "modules": modules,
            "interface_frac": self.penalty.interface_frac() if modules > 1 else None,
            **({} if self.budget is None else {"pressure": self.budget.pressure(self.penalty)}),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint holds."""
        state = {f"model/{name}": tensor for name, tensor in own_weights(self.model).items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{i}/{name}": tensor for name, tensor in moments.items()}
        state |= {f"penalty/{k}": v.clone() for k, v in self.penalty.state_dict().items()}
        if self.budget is not None and math.isfinite(self.budget.lowest):
            state["lowest"] = torch.tensor(self.budget.lowest, dtype=torch.float64)
        return state | {"step": torch.tensor(self.step)}

    def load_tensors(self, tensors: Mapping[str, Tensor], source: str = "checkpoint") -> None:
        """Takes up what `tensors` of an earlier run gave.

        Raises:
            CheckpointError: if they are of another network, penalty or version.
        """
        if "step" not in tensors:
            raise CheckpointError(f"{source} is no checkpoint of a run by this version of Partwise")
        weights = part_of(tensors, "model")
        load_weights(self.model, with_tied(self.model, weights, source), source)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part_of(tensors, "optimizer").items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = tensor
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**whole, "state": moments})
        self.penalty.load_state_dict(part_of(tensors, "penalty"))
        if self.budget is not None:
            self.budget.lowest = float(tensors.get("lowest", math.inf))
        self.step = int(tensors["step"])


def train(
    trainer: Trainer,
    on_log: Callable[[Metrics], None] = lambda metrics: None,
    on_step: Callable[[int], None] = lambda step: None,
) -> nn.Module:
    """Trains to the end of the recipe.

    Args:
        trainer: where to begin; also what a callback can look into.
        on_log: called every `log_every` steps and at the end, with `Trainer.metrics`.
        on_step: called after every step, with the number of steps done.
    """
    steps, every = trainer.recipe.training.steps, trainer.recipe.training.log_every
    while trainer.step < steps:
        loss = trainer.advance()
        if trainer.step % every == 0 or trainer.step == steps:
            on_log(trainer.metrics(loss))
        on_step(trainer.step)
    return trainer.model


def penalty_of(recipe: Recipe, data: Data, model: nn.Module, units: UnitMap) -> Penalty:
    """The penalty of a recipe.

    Raises:
        RecipeError: if it does not suit the data.
    """
    schedule = recipe.schedule()
    if isinstance(data, Text):
        silent = ShareSchedule(strength=0.0, mask_share=0.0)
        shares = schedule if isinstance(schedule, ShareSchedule) else silent
        probe = token_probe(data, shares.probes, shares.piece, recipe.seed)
        return SharePenalty(model, probe, shares, units=units)
    if isinstance(schedule, BudgetSchedule):
        return BudgetedPenalty(model, held_out_probe(data), schedule, units=units)
    if schedule is None:
        schedule = CutTreeSchedule(strength=0.0, l1=recipe.penalty.l1)
    assert isinstance(schedule, CutTreeSchedule)
    return CutTreePenalty(model, schedule, units=units)


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint that begin with `part/`, without that."""
    start = f"{part}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _pretrained(recipe: Recipe, source: str) -> tuple[nn.Module, Vocabulary]:
    model, tokenizer = load_pretrained(source)
    refuse_long_context(recipe, model)
    return model, Vocabulary(tokenizer, len(model.get_input_embeddings().weight))


def _refuse_other_data(recipe: Recipe, data: Data) -> None:
    if isinstance(data, Text) != recipe.is_text:
        kind, wanted = type(data).__name__, "Text" if recipe.is_text else "Task"
        raise RecipeError(
            f"data.factory gave a {kind}, but a model of kind '{recipe.model.kind}' reads a "
            f"{wanted}; set model.kind"
        )


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    training = recipe.training
    return torch.optim.AdamW(
        model.parameters(),
        lr=training.lr,
        weight_decay=training.weight_decay,
        fused=True if recipe.is_text else None,
    )


def _budget(recipe: Recipe, loaded: Loaded, known: Reference | None) -> LossBudget | None:
    schedule = recipe.penalty.schedule
    if not recipe.penalty.budget or not isinstance(schedule, ShareSchedule):
        return None
    reference = known or reference_of(recipe, loaded.sha256)
    budget, steps = recipe.penalty.budget, recipe.training.steps
    return LossBudget(budget, steps, schedule.start, reference)
