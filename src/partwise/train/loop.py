"""One readable training loop; a run can stop at any moment and go on bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partwise.capability import held_out
from partwise.errors import TrainingError
from partwise.graph import UnitMap, unit_map
from partwise.loss import BudgetedPenalty, CutTreePenalty
from partwise.tasks import Task, task_named
from partwise.train.network import mlp
from partwise.train.recipe import Recipe

PROBE_SEED = 77


@dataclass
class Trainer:
    """A network in training.

    Attributes:
        recipe: what decides the run.
        task: where the samples come from.
        model: the network.
        units: its unit map.
        optimizer: AdamW over all its parameters.
        penalty: the cut-tree penalty, fixed or within a budget; with neither it stays silent.
        step: steps done.
    """

    recipe: Recipe
    task: Task
    model: nn.Sequential
    units: UnitMap
    optimizer: torch.optim.Optimizer
    penalty: CutTreePenalty | BudgetedPenalty
    step: int = 0

    @classmethod
    def new(cls, recipe: Recipe, task: Task | None = None) -> Trainer:
        """A trainer at step 0; `task` replaces the one the recipe names."""
        task = task_named(recipe.task) if task is None else task
        model = mlp([len(task.inputs), *recipe.model.hidden, len(task.outputs)], recipe.seed)
        units = unit_map(model)
        training = recipe.training
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=training.lr, weight_decay=training.weight_decay
        )
        penalty = _penalty(recipe, task, model, units)
        return cls(recipe, task, model, units, optimizer, penalty)

    @property
    def learning_rate(self) -> float:
        """The learning rate now: `lr`, then a half cosine to 0 over the last `decay_frac`."""
        training = self.recipe.training
        into = self.step / training.steps - (1 - training.decay_frac)
        if into <= 0:
            return training.lr
        return training.lr * (1 + math.cos(math.pi * into / training.decay_frac)) / 2

    def loss(self) -> Tensor:
        """Task loss + penalty, sparsity pressure included, on this step's batch."""
        x, y = self.task.batch("train", self.recipe.training.batch, (self.recipe.seed, self.step))
        run = self.penalty.step(self.optimizer)
        task_loss = self.task.losses(run(x), y).mean(0).sum()
        return task_loss + self.penalty()

    def advance(self) -> float:
        """One optimiser step; returns the loss before it.

        Raises:
            TrainingError: if the loss is NaN or infinite; the weights are left as they were.
        """
        loss = self.loss()
        value = loss.item()
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {value} at step {self.step}; lower the learning rate "
                f"(now {self.recipe.training.lr}) and resume from the last checkpoint"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        is_last = self.step == self.recipe.training.steps
        if is_last and isinstance(self.penalty, BudgetedPenalty):
            self.penalty.finish()
        return value

    def metrics(self, loss: float) -> dict[str, float | int | None]:
        """What a log line says of this step; no interface where there are no modules."""
        held = held_out(self.model, self.task, "claims", size=1000)
        return {
            "step": self.step,
            "loss": loss,
            "claims_ce": held.ce,
            "claims_accuracy": held.accuracy,
            "modules": self.penalty.modules,
            "interface_frac": self.penalty.interface_frac() if self.penalty.modules > 1 else None,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint holds."""
        state = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{i}/{name}": tensor for name, tensor in moments.items()}
        state |= {f"penalty/{name}": tensor for name, tensor in self.penalty.state_dict().items()}
        return state | {"step": torch.tensor(self.step)}


def _penalty(
    recipe: Recipe, task: Task, model: nn.Module, units: UnitMap
) -> CutTreePenalty | BudgetedPenalty:
    if not recipe.cut_tree.budget:
        schedule = recipe.cut_tree.schedule(recipe.seed)
        return CutTreePenalty(model, schedule, units=units, l1=recipe.l1)
    return BudgetedPenalty(
        model,
        held_out_probe(task),
        units=units,
        steps=recipe.training.steps,
        budget=recipe.cut_tree.budget,
        seed=recipe.seed,
    )


def held_out_probe(task: Task, size: int = 1000) -> Callable[[Callable[..., Tensor]], Tensor]:
    """The task's loss on samples of `claims`, always the same ones, for a `BudgetedPenalty`."""
    x, y = task.batch("claims", size, PROBE_SEED)
    return lambda run: task.losses(run(x), y).mean(0).sum()


def train(
    trainer: Trainer,
    on_log: Callable[[dict[str, float | int | None]], None] = lambda metrics: None,
    on_step: Callable[[int], None] = lambda step: None,
) -> nn.Sequential:
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
