"""Recipes of earlier versions, translated: `task`, `l1` and `[cut_tree]`, and those of GPTs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from partwise.errors import RecipeError
from partwise.train.recipe import GPTModel, TrainingRecipe, schedule_fields

OLD_KEYS = {"task", "l1", "cut_tree"}
GPT_KEYS = set(GPTModel.model_fields) - {"kind"}
PENALTY_KEYS = {"l1", "budget", "reference"}
RETIRED: dict[str, dict[str, Any]] = {
    "cut_tree": {
        "inflations": [2.0, 4.0, 8.0, 16.0], "min_contrast": 0.7, "keep_contrast": 0.45
    },
    "budget": {
        "inflations": [2.0, 4.0, 8.0, 16.0], "min_contrast": 0.55, "keep_contrast": 0.45,
        "plain_frac": 0.25, "split_frac": 0.5, "release_frac": 0.75, "pressure": 3e-4,
        "max_pressure": 2.0, "allowance": 2.0, "strength": 2.0, "mask_share": 0.5, "min_gain": 0.01,
        "coactivity": [0.5, 1.0],
    },
    "share": {
        "inflations": [1.0, 2.0, 4.0, 8.0], "min_contrast": 0.7, "min_gain": 0.05,
        "quota_power": 1.0,
    },
}  # fmt: skip
"""Kind of penalty -> what runs spelled out of its schedule that cannot be set any more."""


def without_retired(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe without settings that are what they always were; others are refused."""
    penalty = fields.get("penalty")
    if not isinstance(penalty, Mapping):
        return dict(fields)
    retired = RETIRED.get(str(penalty.get("kind")), {})
    kept = {k: v for k, v in penalty.items() if k not in retired or v != retired[k]}
    return {**fields, "penalty": kept}


def is_old(fields: Mapping[str, Any]) -> bool:
    """Whether these are the fields of a recipe before there was one for all."""
    return bool(OLD_KEYS & fields.keys())


def translated(fields: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What such fields mean today.

    Raises:
        RecipeError: if they give a budget and a strength.
    """
    rest = dict(fields)
    data = {"task": rest.pop("task", "digits-pair")}
    cut_tree = dict(rest.pop("cut_tree", {}))
    penalty: dict[str, Any] = {"l1": rest.pop("l1", 0.0)}
    budget, strength = cut_tree.pop("budget", 0.0), cut_tree.get("strength", 0.0)
    if budget:
        if penalty["l1"] or strength:
            raise RecipeError(f"{source}: with a budget, l1 and strength adapt; leave them 0")
        penalty |= {"kind": "budget", "budget": budget}
    elif strength:
        penalty |= {"kind": "cut_tree", **cut_tree}
    elif unknown := cut_tree.keys() - schedule_fields("cut_tree"):
        penalty |= {"kind": "cut_tree", min(unknown): cut_tree[min(unknown)]}  # refused by name
    return {**rest, "data": data, "penalty": penalty}


def translated_gpt(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe in a `gpt.json`, which held what decided a language model's run.

    Raises:
        RecipeError: if it is none.
    """
    try:
        old = dict(settings["recipe"])
        shares = {k: v for k, v in dict(old.pop("shares")).items() if k != "seed"}
        sizes = {name: old.pop(name) for name in GPT_KEYS}
        data = {"texts": [each["source"] for each in settings["texts"]], "bpe": settings["bpe"]}
        model: dict[str, Any] = {"kind": "gpt", **sizes}
        if settings["model"] is not None:
            model = {
                "kind": "pretrained", "source": settings["model"], "context": sizes["context"]
            }  # fmt: skip
        penalty = {name: old.pop(name) for name in PENALTY_KEYS if name in old}
        every = settings["checkpoint_every"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"this is no recipe of a language model ({error}); train anew") from error
    training = {k: v for k, v in old.items() if k in TrainingRecipe.model_fields}
    return {
        "data": {k: v for k, v in data.items() if v is not None},
        "seed": old.get("seed", 0),
        "model": model,
        "training": {**training, "log_every": every, "checkpoint_every": every},
        "penalty": {"kind": "share", **penalty, **shares},
    }
