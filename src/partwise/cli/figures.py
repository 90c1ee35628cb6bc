"""What the rows of a training's log say, for tables and language models alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HELD = "held_"
Row = Mapping[str, Any]


def stream_losses(row: Row) -> dict[str, float]:
    """Stream -> held-out loss in nats per token; empty for rows of numbers.

    >>> stream_losses({"held_a": 1.5, "loss": 1.4})
    {'a': 1.5}
    """
    return {k.removeprefix(HELD): v for k, v in row.items() if k.startswith(HELD)}


def held_out_loss(row: Row) -> float | None:
    """The held-out loss, by the mean over streams; None before the log says any.

    >>> held_out_loss({"held_a": 1.0, "held_b": 2.0}), held_out_loss({"claims_ce": 3.0})
    (1.5, 3.0)
    """
    losses = list(stream_losses(row).values())
    own: float | None = row.get("claims_ce")
    return sum(losses) / len(losses) if losses else own


def training_words(row: Row) -> str:
    """What came of a training, in words.

    >>> training_words({"step": 9, "claims_ce": 0.5, "claims_accuracy": 0.75, "modules": 2})
    '9 steps, held-out loss 0.5000, accuracy 75.0%, modules 2'
    """
    losses, share = stream_losses(row), row.get("interface_frac")
    if losses:
        named = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        capability = f"{named} nats per token"
    else:
        capability = f"{row['claims_ce']:.4f}, accuracy {row['claims_accuracy']:.1%}"
    between = f", interface {share:.3f}" if losses and share is not None else ""
    return f"{row['step']} steps, held-out loss {capability}, modules {row['modules']}{between}"
