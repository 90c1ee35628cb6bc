"""A capability budget for GPT runs: the plain twin's held-out loss, and how it is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from partwise.errors import DataError

PROBES = 40
"""Measurements of the held-out loss in a run with a budget."""


@dataclass(frozen=True)
class Reference:
    """Held-out loss of a plain twin, in nats per token.

    Attributes:
        steps: where it is known, rising.
        losses: what it is there, the streams' mean.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Reference | None:
        """What `dataclasses.asdict` turned into JSON; None where there was none."""
        return cls(tuple(values["steps"]), tuple(values["losses"])) if values else None

    def at(self, step: int) -> float:
        """The loss at a step, by straight lines between those known; infinite before the first.

        >>> Reference((10, 20), (3.0, 2.0)).at(15)
        2.5
        """
        if step < self.steps[0]:
            return math.inf
        return float(np.interp(step, self.steps, self.losses))


def twin_reference(
    name: str,
    twin: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> Reference:
    """The held-out losses that a plain twin logged.

    Args:
        name: the twin, for messages.
        twin: its settings.
        rows: its metrics.
        settings: of the run that is compared with it.

    Raises:
        DataError: if it read other text, tokens or contexts, or has logged nothing.
    """
    if _reads(twin) != _reads(settings):
        raise DataError(
            f"{name} read other texts, tokens or contexts than this run would; a reference must "
            "be a plain twin: the same command with --set strength=0 --set mask_share=0"
        )
    if not rows:
        raise DataError(f"{name} has logged no held-out loss; let it train on")
    losses = [np.mean([v for k, v in row.items() if k.startswith("held_")]) for row in rows]
    return Reference(tuple(int(row["step"]) for row in rows), tuple(float(x) for x in losses))


def _reads(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    texts = [each["sha256"] for each in settings["texts"]]
    return texts, settings["bpe"], settings["model"], settings["recipe"]["context"]
