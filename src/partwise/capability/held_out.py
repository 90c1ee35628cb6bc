"""What a network can do, measured on samples it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from partwise.graph.activity import in_single_precision
from partwise.tasks import Split, Task

HELD_OUT_SEED = 9


@dataclass(frozen=True)
class HeldOut:
    """A network's held-out scores.

    Attributes:
        ce: mean loss over samples and heads, in nats for classes and binary heads.
        accuracy: share of right answers over samples and heads.
        ce_by_head: the loss of each head.
    """

    ce: float
    accuracy: float
    ce_by_head: tuple[float, ...]


@torch.no_grad()
def held_out(
    model: nn.Module,
    task: Task,
    split: Split = "final",
    size: int = 4000,
    seed: int = HELD_OUT_SEED,
) -> HeldOut:
    """Scores `model` on at most `size` rows of a split; the same seed scores the same ones."""
    x, y, _ = task.rows(split, size, seed)
    outputs = in_single_precision(model)(x)
    losses = task.losses(outputs, y)
    return HeldOut(
        losses.mean().item(),
        task.correct(outputs, y).mean().item(),
        tuple(losses.mean(0).tolist()),
    )
