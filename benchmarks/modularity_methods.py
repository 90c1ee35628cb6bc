"""How each method of the modularity study trains: ours, its peers, and the bounds on both sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import peers
from partwise.graph import UnitGraph, UnitMap, unit_map
from partwise.loss import BudgetedPenalty, CutTreePenalty, l1_penalty
from partwise.tasks import Split, Task, task_named
from partwise.tasks.task import Batch
from partwise.train import mlp
from partwise.train.loop import held_out_probe

L1_PER_WEIGHT = 3e-4
"""L1 pressure is this, times the number of weights, on the mean |w| of each tensor: the pressure
on a single weight is then the same in networks of any size."""


@dataclass(frozen=True)
class Setting:
    """A network and a training budget for a task.

    Attributes:
        hidden: widths of the hidden layers; None for the small convolutional network.
        modules: number of true modules; 1 where none are right.
        steps: optimiser steps.
    """

    hidden: tuple[int, ...] | None
    modules: int
    steps: int = 4000


SETTINGS = {
    "digits-pair": Setting((64, 64), 2),
    "digits-four": Setting((128, 128), 4),
    "digits-shared": Setting((64, 64), 3),
    "digits-channels": Setting(None, 2, 2000),
    "two-playgrounds": Setting((16, 16), 2),
    "formulas-independence": Setting((20, 20), 2),
    "formulas-sharing": Setting((20, 20), 3),
    "formulas-composition": Setting((20, 20, 20, 20), 2),
    "retina": Setting((24, 16), 3),
    "boolean-tree": Setting((48, 32), 2),
    "sparse-parity": Setting((64, 32), 4),
    "modular-addition": Setting((128,), 1),
    "digit-one": Setting((64, 64), 1),
    "digits-random": Setting((64, 64), 1),
}

SWEEPS: dict[str, tuple[float, ...]] = {
    "plain": (0.0,),
    "l1": (0.5, 1.0, 2.0),
    "bimt": (1.0, 3.0),
    "n-cut": (0.3, 1.0),
    "clusterability-fixed": (1.0, 3.0),
    "clusterability-reclustered": (1.0, 3.0),
    "dmon": (0.3, 1.0),
    "modular-start": (0.6,),
    "top-k": (0.1, 0.2),
    "dropout-prune": (0.8, 0.9),
    "l1-released": (0.05,),
    "leiden": (0.05,),
    "true-blocks": (0.05,),
    "ours-fixed": (1.0,),
    "ours-dropout": (0.05,),
    "ours": (0.05,),
}
"""Strengths of each method: the budget for ours, for its phases without splits (l1-released) and
with others' partitions (leiden, true-blocks); multiples of the default L1 pressure for l1 and bimt;
weight of the penalty for others that reward modules; the share of weights kept or pruned; and
cross factor."""

TOLD = {"true-blocks"}
DROPOUT = {"dropout-prune": 0.2, "ours-dropout": 0.2}
"""Methods on networks with dropout, which is worth some loss by itself, and how much of it."""
SCHEDULE = {"start": 2000, "ramp": 1000, "mask_after": 500}
WEIGHT_DECAY = 0.3
BATCH, LEARNING_RATE, DECAY_FRAC = 128, 2e-3, 0.3
SWAP_EVERY, RECLUSTER_EVERY = 200, 200


@dataclass
class Trained:
    """A network at the end of its training, in evaluation mode, and its task."""

    model: nn.Sequential
    units: UnitMap
    task: Task


def study_task(name: str) -> Task:
    """The task, its inputs in the shape and units that the task's network reads."""
    task = task_named(name)
    if SETTINGS[name].hidden is not None:
        return task

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        x, y = task.sample(split, size, rng)
        return Batch(x.reshape(size, 2, 8, 8), y)

    return replace(task, sample=sample, inputs=("first", "second"), true_inputs=np.array([0, 1]))


def network(name: str, task: Task, seed: int, dropout: float = 0.0) -> nn.Sequential:
    """An untrained network for a task of the study."""
    hidden = SETTINGS[name].hidden
    if hidden is not None:
        model = mlp([len(task.inputs), *hidden, len(task.outputs)], seed)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Sequential(
                nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(32 * 4, len(task.outputs)),
            )  # fmt: skip
    if not dropout:
        return model
    layers: list[nn.Module] = []
    for layer in model:
        layers += [layer, nn.Dropout(dropout)] if isinstance(layer, nn.ReLU) else [layer]
    return nn.Sequential(*layers)


def train(name: str, method: str, strength: float, seed: int) -> Trained:
    """Trains one network of the study; the same arguments give the same network."""
    torch.manual_seed(seed)
    setting, task = SETTINGS[name], study_task(name)
    model = network(name, task, seed, DROPOUT.get(method, 0.0))
    units = unit_map(model, len(task.inputs))
    arm = ARMS[method](Arm(model, units, task, setting, strength, seed))
    groups = [{"params": model.parameters()}, {"params": arm.parameters, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(setting.steps):
        x, y = task.batch("train", BATCH, (seed, step))
        loss = task.losses(arm.run(x), y).mean(0).sum() + arm.pressure(step)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _decay(step / setting.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        arm.after(step)
    arm.finish()
    return Trained(model.eval(), units, task)


def _decay(into: float) -> float:
    late = (into - (1 - DECAY_FRAC)) / DECAY_FRAC
    return 1.0 if late <= 0 else (1 + math.cos(math.pi * late)) / 2


class Arm:
    """What a method adds to plain training: nothing, here.

    Attributes:
        parameters: what is learnt beside the weights.
        run: the network, or a variant of it, on a batch.
        pressure: the term added to the task loss at a step.
        after: what is done once the step is taken.
        finish: what is done once all steps are.
    """

    def __init__(
        self, model: nn.Sequential, units: UnitMap, task: Task, setting: Setting,
        strength: float, seed: int,
    ):  # fmt: skip
        self.model, self.units, self.task, self.setting = model, units, task, setting
        self.strength, self.seed = strength, seed
        self.l1 = L1_PER_WEIGHT * sum(m.numel() for m in units.magnitudes(model))
        self.parameters: list[Tensor] = []
        self.run: Callable[[Tensor], Tensor] = model
        self.pressure: Callable[[int], Tensor | float] = lambda step: 0.0
        self.after: Callable[[int], None] = lambda step: None
        self.finish: Callable[[], None] = lambda: None

    def sparse(self) -> Tensor:
        """The default L1 pressure, as every method that rewards modules has it."""
        return self.l1 * l1_penalty(self.model, self.units)

    def ramped(self, step: int) -> float:
        """The strength at a step, on the schedule that ours has."""
        return self.strength * min(1.0, max(0.0, (step - SCHEDULE["start"]) / SCHEDULE["ramp"]))


def _plain(arm: Arm) -> Arm:
    return arm


def _l1(arm: Arm) -> Arm:
    arm.pressure = lambda step: arm.strength * arm.sparse()
    return arm


def _bimt(arm: Arm) -> Arm:
    positions = peers.even_positions(arm.units)

    def after(step: int) -> None:
        nonlocal positions
        if (step + 1) % SWAP_EVERY == 0:
            positions = peers.bimt_swaps(arm.model, arm.units, positions)

    arm.pressure = lambda step: (
        arm.strength * arm.l1 * peers.bimt_penalty(arm.model, arm.units, positions)
    )
    arm.after = after
    return arm


def _n_cut(arm: Arm) -> Arm:
    def pressure(step: int) -> Tensor:
        if (weight := arm.ramped(step)) == 0:
            return arm.sparse()
        cut = peers.spectral_n_cut(peers.adjacency(arm.model, arm.units), arm.setting.modules)
        return arm.sparse() + weight * cut

    arm.pressure = pressure
    return arm


def _clusterability(arm: Arm, recluster: bool) -> Arm:
    order = torch.Generator().manual_seed(arm.seed)
    count = max(2, arm.setting.modules)
    labels = peers.even_blocks(arm.units, count, order)

    def pressure(step: int) -> Tensor:
        nonlocal labels
        if recluster and step >= SCHEDULE["start"] and step % RECLUSTER_EVERY == 0:
            labels = peers.spectral_blocks(peers.adjacency(arm.model, arm.units), count)
        inside = peers.clusterability(arm.model, arm.units, labels)
        return arm.sparse() - (arm.ramped(step) if recluster else arm.strength) * inside

    arm.pressure = pressure
    return arm


def _dmon(arm: Arm) -> Arm:
    order = torch.Generator().manual_seed(arm.seed)
    count = max(2, arm.setting.modules)
    logits = torch.randn(arm.units.n, count, generator=order).mul_(0.1).requires_grad_()
    arm.parameters = [logits]

    def pressure(step: int) -> Tensor:
        if step < SCHEDULE["start"] / 2:
            return arm.sparse()
        loss = peers.soft_newman_q(peers.adjacency(arm.model, arm.units), logits)
        return arm.sparse() + max(arm.ramped(step), 0.01) * loss

    arm.pressure = pressure
    return arm


def _modular_start(arm: Arm) -> Arm:
    labels = peers.even_blocks(arm.units, max(2, arm.setting.modules))
    peers.keep_only(arm.model, peers.modular_start(arm.model, arm.units, labels, arm.strength))
    arm.pressure = lambda step: arm.sparse()
    return arm


def _keep_largest(arm: Arm, share: float) -> None:
    peers.keep_only(arm.model, peers.top_weights(arm.model, arm.units, share))


def _top_k(arm: Arm) -> Arm:
    def share(step: int) -> float:
        return max(arm.strength, 1 - step / (0.5 * arm.setting.steps) * (1 - arm.strength))

    arm.after = lambda step: _keep_largest(arm, share(step))
    return arm


def _dropout_prune(arm: Arm) -> Arm:
    start, stop = arm.setting.steps // 2, int(0.9 * arm.setting.steps)

    def after(step: int) -> None:
        if cut := peers.pruned_share(step, start, stop, arm.strength):
            _keep_largest(arm, 1 - cut)

    arm.after = after
    return arm


def _penalised(arm: Arm, find: Callable[[UnitGraph], Any] | None = None, undo: bool = True) -> Arm:
    """Our penalty at a budget, or with somebody else's partitions in it."""
    penalty = BudgetedPenalty(
        arm.model, held_out_probe(arm.task), units=arm.units, find=find,
        steps=arm.setting.steps, budget=arm.strength, seed=arm.seed, undo=undo,
    )  # fmt: skip
    arm.run, arm.finish = penalty.run, penalty.finish
    arm.pressure = lambda step: penalty()
    return arm


def _fixed(arm: Arm) -> Arm:
    """Our penalty without a budget: a fixed strength on a fixed schedule."""
    start = int(SCHEDULE["start"] * arm.setting.steps / 4000)
    fields = {**SCHEDULE, "start": start, "strength": arm.strength, "seed": arm.seed}
    penalty = CutTreePenalty(arm.model, units=arm.units, **fields)
    arm.run = penalty.run
    arm.pressure = lambda step: arm.sparse() + penalty()
    return arm


def _l1_released(arm: Arm) -> Arm:
    """The phases and pressures of ours, and never a split."""
    return _penalised(arm, lambda graph: np.zeros(graph.n, np.int64), undo=False)


def _leiden(arm: Arm) -> Arm:
    from benchmarks.detectors import leiden

    return _penalised(arm, leiden)


def _true_blocks(arm: Arm) -> Arm:
    told = (torch.as_tensor(t) for t in (arm.task.true_inputs, arm.task.true_outputs))
    labels = peers.true_blocks(arm.units, *told).numpy()
    return _penalised(arm, lambda graph: labels)


ARMS: dict[str, Callable[[Arm], Arm]] = {
    "plain": _plain,
    "l1": _l1,
    "bimt": _bimt,
    "n-cut": _n_cut,
    "clusterability-fixed": lambda arm: _clusterability(arm, recluster=False),
    "clusterability-reclustered": lambda arm: _clusterability(arm, recluster=True),
    "dmon": _dmon,
    "modular-start": _modular_start,
    "top-k": _top_k,
    "dropout-prune": _dropout_prune,
    "l1-released": _l1_released,
    "leiden": _leiden,
    "true-blocks": _true_blocks,
    "ours-fixed": _fixed,
    "ours-dropout": _penalised,
    "ours": _penalised,
}
