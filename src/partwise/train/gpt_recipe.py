"""Everything that decides how a GPT is trained, as a frozen value that refuses unknown keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from partwise.checks import require_at_least
from partwise.errors import RecipeError
from partwise.loss.share_schedule import ShareSchedule
from partwise.train.tracking import TRACKERS

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class GPTRecipe:
    """Everything that decides a run, the corpus aside.

    Attributes:
        context: tokens per sequence.
        width, heads, layers: sizes of the network.
        steps: optimiser steps.
        batch: sequences per step.
        accumulate: parts that a batch is run in, one after the other, to save memory.
        precision: `"float32"`, or `"bfloat16"` for forward passes in mixed precision.
        lr: highest learning rate; a linear warm-up, then a cosine to a hundredth of it.
        warmup_frac: share of the steps that warm up.
        weight_decay: AdamW's.
        clip: largest gradient norm.
        l1: strength of the sparsity pressure (see `l1_penalty`).
        seed: seed of the weights, the batches and the masked steps.
        budget: how much worse the held-out loss may be than the plain twin's, as a share; the
            strength and the shares of masked and silenced steps adapt to it. 0: they do not.
        reference: the plain twin's held-out loss: the directory of its run, so that losses are
            compared after as many steps, or a number. Without, the lowest loss before the penalty
            begins, which says something about a fine-tuned model but little about a fresh one.
        track: `"tensorboard"` or `"wandb"`, to have the metrics there too; `"none"`.
        shares: the penalty; with strength and mask share 0 this trains the plain twin.

    Raises:
        RecipeError: if a value is out of its range.
    """

    context: int = 32
    width: int = 64
    heads: int = 4
    layers: int = 2
    steps: int = 3000
    batch: int = 32
    accumulate: int = 1
    precision: str = "float32"
    lr: float = 3e-3
    warmup_frac: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    l1: float = 0.0
    seed: int = 0
    budget: float = 0.0
    reference: str = ""
    track: str = "none"
    shares: ShareSchedule = field(default_factory=ShareSchedule)

    def __post_init__(self) -> None:
        sizes = "context", "width", "heads", "layers", "steps", "batch", "accumulate"
        require_at_least(1, self, *sizes)
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"{name} = {getattr(self, name)}, wanted a number above 0")
        if not self.budget >= 0:
            raise RecipeError(f"budget = {self.budget}, wanted a share of the loss, such as 0.05")
        if self.reference and not self.budget:
            raise RecipeError(f"reference = {self.reference} without a budget; set budget as well")
        if self.width % self.heads:
            raise RecipeError(f"width = {self.width} cannot be shared by {self.heads} heads")
        if self.accumulate > self.batch:
            raise RecipeError(f"accumulate = {self.accumulate}, wanted at most batch, {self.batch}")
        for name, known in (("precision", PRECISIONS), ("track", TRACKERS)):
            if getattr(self, name) not in known:
                raise RecipeError(f"{name} = {getattr(self, name)}, wanted {' or '.join(known)}")


def recipe_from_settings(settings: Iterable[str], start: GPTRecipe | None = None) -> GPTRecipe:
    """A recipe with `name=value` settings; names of the penalty's schedule are known as well.

    Args:
        settings: such as `steps=500` or `mask_share=0.3`.
        start: what the settings change; the default recipe when left out.

    Raises:
        RecipeError: for an unknown name, listing the known ones, or a value that does not fit.

    >>> recipe_from_settings(["steps=500", "mask_share=0.3"]).shares.mask_share
    0.3
    """
    recipe = GPTRecipe() if start is None else start
    own, penalty = _values(recipe), _values(recipe.shares)
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in own | penalty:
            known = ", ".join(sorted(own | penalty))
            raise RecipeError(f"cannot set '{setting}'; write name=value with one of {known}")
        changes[name] = _value(name, text, (own | penalty)[name])
    shares = replace(recipe.shares, **{k: v for k, v in changes.items() if k in penalty})
    return replace(recipe, **{k: v for k, v in changes.items() if k in own}, shares=shares)


def recipe_from_json(values: Mapping[str, Any]) -> GPTRecipe:
    """The recipe that `dataclasses.asdict` turned into JSON.

    Raises:
        RecipeError: for keys that no recipe has.
    """
    rest = dict(values)
    try:
        shares = dict(rest.pop("shares"))
        shares["inflations"] = tuple(shares["inflations"])
        return GPTRecipe(**rest, shares=ShareSchedule(**shares))
    except (KeyError, TypeError) as error:
        raise RecipeError(f"this is no recipe of this version ({error}); train anew") from error


def _values(recipe: GPTRecipe | ShareSchedule) -> dict[str, Any]:
    """Fields that a setting can change -> their values; a seed is the recipe's."""
    plain = {each.name: getattr(recipe, each.name) for each in fields(recipe)}
    if isinstance(recipe, ShareSchedule):
        plain.pop("seed")
    return {name: value for name, value in plain.items() if isinstance(value, int | float | str)}


def _value(name: str, text: str, old: Any) -> Any:
    kind = type(old)
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise RecipeError(f"{name} = {text}, wanted {wanted}") from error
