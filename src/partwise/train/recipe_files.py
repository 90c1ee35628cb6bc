"""Recipes as files and settings: TOML, what is built in, `--set name=value`, and old formats."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from partwise.errors import RecipeError
from partwise.train.old_recipes import is_old, translated, without_retired
from partwise.train.recipe import (
    ELSEWHERE,
    MODELS,
    SCHEDULES,
    PenaltyRecipe,
    Recipe,
    completed,
    schedule_fields,
)


def read_recipe(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """Reads a recipe from TOML.

    Args:
        path: the file.
        settings: what is changed of it (see `recipe_from`).

    Raises:
        RecipeError: if the file is missing or no TOML, a key is unknown, or a value is out of
            range; the message names the key, the value and what is allowed.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is no TOML file: {error}") from error
    return recipe_from(fields, str(path), settings)


def built_in_recipe(name: str, settings: Iterable[str] = ()) -> Recipe:
    """A recipe that comes with Partwise.

    Raises:
        RecipeError: if there is none of that name, naming those that exist.
    """
    names = built_in_recipes()
    if name not in names:
        raise RecipeError(f"no built-in recipe '{name}'; there are {', '.join(names)}")
    text = (resources.files("partwise") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return recipe_from(tomllib.loads(text), name, settings)


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with Partwise."""
    folder = resources.files("partwise") / "recipes"
    files = (Path(each.name) for each in folder.iterdir())
    return sorted(file.stem for file in files if file.suffix == ".toml")


def recipe_from(
    fields: Mapping[str, Any], source: str = "recipe", settings: Iterable[str] = ()
) -> Recipe:
    """A recipe from nested fields.

    Args:
        fields: as in TOML, of this format or an earlier one.
        source: what messages call it.
        settings: changes such as `training.steps=500`, or `steps=500` where one part alone has a
            key of that name. Values are written as in TOML; strings need no quotes.

    Raises:
        RecipeError: as `read_recipe`.

    >>> recipe_from({}, settings=["steps=500", "penalty.l1=4"]).training.steps
    500
    """
    fields = translated(fields, source) if is_old(fields) else fields
    return _validated(_with_settings(without_retired(fields), settings), source)


def changed(recipe: Recipe, settings: Iterable[str], source: str = "recipe") -> Recipe:
    """A recipe with some settings changed, as in `recipe_from`."""
    return recipe_from(recipe_fields(recipe), source, settings)


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested fields, every one spelled out, as TOML has them."""
    fields = recipe.model_dump(exclude_none=True, exclude={"penalty": {"schedule"}})
    fields["data"] = {k: v for k, v in fields["data"].items() if v}
    if recipe.data.file is None:
        del fields["data"]["target_kind"]
    penalty, schedule = fields["penalty"], recipe.penalty.schedule
    if recipe.penalty.kind not in ("budget", "share"):
        del penalty["budget"], penalty["reference"]
    if schedule is not None:
        known = dataclasses.asdict(schedule)
        penalty |= {name: value for name, value in known.items() if name not in ELSEWHERE}
    return fields


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML, every field spelled out.

    >>> print(recipe_toml(Recipe()).splitlines()[:4])
    ['seed = 0', '', '[data]', 'task = "digits-pair"']
    """
    plain, tables = [], []
    for key, value in recipe_fields(recipe).items():
        if isinstance(value, dict):
            rows = [f"{name} = {_toml_value(each)}" for name, each in value.items()]
            tables.append("\n".join([f"\n[{key}]", *rows]))
        else:
            plain.append(f"{key} = {_toml_value(value)}")
    return "\n".join([*plain, *tables]) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _validated(fields: Mapping[str, Any], source: str) -> Recipe:
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise RecipeError(f"{source}: {_words(error, completed(fields))}") from error


def _words(error: ValidationError, fields: Mapping[str, Any]) -> str:
    """The first problem: key, value, and what is allowed."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    if path[:1] == ["model"] and len(path) > 1 and path[1] in MODELS:
        del path[1]
    key, message = ".".join(path), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        allowed = ", ".join(_known_keys(fields, path[0] if len(path) > 1 else ""))
        return f"unknown key '{key}'; known are {allowed}"
    if isinstance(problem["input"], Mapping | BaseModel):
        return f"{key}: {message}" if key else message
    return f"{key} = {problem['input']!r}: {message}"


def _known_keys(fields: Mapping[str, Any], part: str) -> list[str]:
    """Keys that a part of a recipe may have, given the kinds it names; of the whole for ''."""
    if not part:
        return list(Recipe.model_fields)
    kind = dict(fields.get(part) or {}).get("kind")
    if part == "model":
        return list(MODELS.get(str(kind), MODELS["mlp"]).model_fields)
    if part == "penalty":
        return _penalty_keys([str(kind or "none")])
    part_type = Recipe.model_fields[part].annotation
    assert isinstance(part_type, type)
    assert issubclass(part_type, BaseModel)
    return list(part_type.model_fields)


def _penalty_keys(kinds: Iterable[str]) -> list[str]:
    own = [name for name in PenaltyRecipe.model_fields if name != "schedule"]
    return own + sorted(set().union(*map(schedule_fields, kinds)))


def _with_settings(fields: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Fields with settings in their places; keys are checked, values are not."""
    changed = {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
    for setting in settings:
        name, equals, text = setting.partition("=")
        places = _places(changed)
        if not equals or len(places.get(name, ())) != 1:
            raise RecipeError(_cannot_set(setting, places))
        part, key = places[name][0]
        if part:
            changed.setdefault(part, {})[key] = _value(text)
        else:
            changed[key] = _value(text)
    return changed


def _cannot_set(setting: str, places: Mapping[str, list[tuple[str, str]]]) -> str:
    found = places.get(setting.partition("=")[0], ())
    if len(found) > 1:
        return f"cannot set '{setting}': write {' or '.join('.'.join(p) for p in found)}"
    known = ", ".join(sorted(name for name in places if "." not in name))
    return f"cannot set '{setting}'; write name=value with one of {known}"


def _places(fields: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Name of a setting, with its part or without -> where it may go."""
    filled = completed(fields)
    places: dict[str, list[tuple[str, str]]] = {"seed": [("", "seed")]}
    for part in ("data", "model", "training", "penalty"):
        keys = _known_keys(filled, part)
        if part == "penalty" and "kind" not in dict(fields.get(part) or {}):
            is_text = dict(filled.get(part) or {}).get("kind") == "share"
            keys = _penalty_keys(["share"] if is_text else list(SCHEDULES)[1:3])
        for key in keys:
            places.setdefault(key, []).append((part, key))
            places[f"{part}.{key}"] = [(part, key)]
    return places


def _value(text: str) -> Any:
    """A value as TOML writes it; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
