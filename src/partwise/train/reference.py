"""A language model's capability budget: the plain twin's held-out loss, and how it is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partwise.errors import DataError, RecipeError
from partwise.loss import Penalty, SharePenalty
from partwise.train.recipe import Recipe
from partwise.train.run_files import is_run, read_manifest, read_rows, read_run_recipe

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


@dataclass
class LossBudget:
    """What a `SharePenalty` presses by: the loss that a plain twin has after as many steps.

    Attributes:
        budget: how much worse the held-out loss may be, as a share.
        steps: of the whole training.
        start: the step at which the penalty begins.
        reference: the plain twin's losses, where they are known.
        lowest: lowest held-out loss before the penalty began, in place of a reference.
    """

    budget: float
    steps: int
    start: int
    reference: Reference | None = None
    lowest: float = math.inf

    def keep(self, step: int, measure: Callable[[], float], penalty: Penalty) -> None:
        """Where a measurement is due, lets the penalty press by what the loss has come to."""
        if step % max(1, self.steps // PROBES):
            return
        loss = measure()
        if step <= self.start:
            self.lowest = min(self.lowest, loss)
            return
        known = self.lowest if self.reference is None else self.reference.at(step)
        assert isinstance(penalty, SharePenalty)
        penalty.controller.adapt(loss, (1 + self.budget) * known)

    def pressure(self, penalty: Penalty) -> float:
        """How much of the penalty is left, at most 1."""
        return penalty.state.pressure


def reference_of(recipe: Recipe, sha256: Mapping[str, str]) -> Reference | None:
    """What a recipe's `reference` stands for: a number, or the run of a plain twin.

    Args:
        recipe: of the run that is compared with it.
        sha256: source -> hash of what that run reads.

    Raises:
        RecipeError: if it is neither.
        DataError: if the twin read other text, tokens or contexts, or has logged nothing.
    """
    name = recipe.penalty.reference
    if not name:
        return None
    if is_run(Path(name)):
        _refuse_other_text(Path(name), recipe, sha256)
        return _logged(name, read_rows(Path(name)))
    try:
        return Reference((0,), (float(name),))
    except ValueError as error:
        raise RecipeError(
            f"reference = {name}, wanted nats per token or the directory of a plain twin's run"
        ) from error


def _refuse_other_text(twin: Path, recipe: Recipe, sha256: Mapping[str, str]) -> None:
    theirs = read_run_recipe(twin)
    known = read_manifest(twin).get("data_sha256", {})
    same_text = list(known.values()) == list(sha256.values())
    if not same_text or not theirs.is_text or _reads(theirs) != _reads(recipe):
        raise DataError(
            f"{twin} read other texts, tokens or contexts than this run would; a reference must "
            "be a plain twin: the same command with --set strength=0 --set mask_share=0"
        )


def _reads(recipe: Recipe) -> tuple[Any, ...]:
    model = recipe.model
    return recipe.data.bpe, model.kind, getattr(model, "source", None), recipe.context


def _logged(name: str, rows: Sequence[Mapping[str, Any]]) -> Reference:
    if not rows:
        raise DataError(f"{name} has logged no held-out loss; let it train on")
    losses = [np.mean([v for k, v in row.items() if k.startswith("held_")]) for row in rows]
    return Reference(tuple(int(row["step"]) for row in rows), tuple(float(x) for x in losses))
