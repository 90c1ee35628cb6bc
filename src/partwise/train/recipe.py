"""Recipes: everything that decides a training run, in one TOML file."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from partwise.errors import RecipeError
from partwise.loss import CutTreeSchedule
from partwise.tasks import TASKS


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRecipe(_Part):
    """A multilayer perceptron with ReLU units."""

    hidden: tuple[int, ...] = (64, 64)

    @field_validator("hidden")
    @classmethod
    def _at_least_one_unit(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in hidden):
            raise ValueError("every hidden layer needs at least one unit")
        return hidden


class TrainingRecipe(_Part):
    """Optimisation by AdamW."""

    steps: int = Field(4000, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(2e-3, gt=0)
    decay_frac: float = Field(0.3, ge=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    checkpoint_every: int = Field(500, ge=1)
    log_every: int = Field(50, ge=1)


class CutTreeRecipe(_Part):
    """Either a `budget`, or the fields of `CutTreeSchedule`; with neither, the plain twin.

    Attributes:
        budget: largest share of held-out loss that modules may cost (see `BudgetedPenalty`);
            everything else, the sparsity pressure included, then adapts itself.
    """

    strength: float = Field(0.0, ge=0)
    start: int = Field(1000, ge=0)
    ramp: int = Field(1000, ge=0)
    refresh_every: int = Field(100, ge=1)
    inflations: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    min_gain: float = Field(0.01, ge=0)
    min_contrast: float = Field(0.7, ge=0, le=1)
    keep_contrast: float = Field(0.45, ge=0, le=1)
    mask_share: float = Field(0.3, ge=0, le=1)
    mask_after: int = Field(500, ge=0)
    budget: float = Field(0.0, ge=0)

    def schedule(self, seed: int) -> CutTreeSchedule:
        """The schedule these fields describe."""
        return CutTreeSchedule(**self.model_dump(exclude={"budget"}), seed=seed)


class Recipe(_Part):
    """A training run.

    Attributes:
        task: name of an embedded task.
        seed: seed of the weights, the batches and the masked steps.
        l1: strength of the sparsity pressure (see `l1_penalty`).
        model: the network.
        training: how it is optimised.
        cut_tree: the cut-tree penalty.
    """

    task: str = "digits-pair"
    seed: int = Field(0, ge=0)
    l1: float = Field(0.0, ge=0)
    model: ModelRecipe = ModelRecipe()
    training: TrainingRecipe = TrainingRecipe()
    cut_tree: CutTreeRecipe = CutTreeRecipe()

    @model_validator(mode="after")
    def _budget_decides_alone(self) -> Self:
        if self.cut_tree.budget and (self.l1 or self.cut_tree.strength):
            raise ValueError("with cut_tree.budget, l1 and cut_tree.strength adapt; leave them 0")
        return self

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"no task '{task}'; there are {', '.join(TASKS)}")
        return task


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe from TOML.

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
    return recipe_from(fields, str(path))


def built_in_recipe(name: str) -> Recipe:
    """A recipe that comes with Partwise.

    Raises:
        RecipeError: if there is none of that name, naming those that exist.
    """
    names = built_in_recipes()
    if name not in names:
        raise RecipeError(f"no built-in recipe '{name}'; there are {', '.join(names)}")
    text = (resources.files("partwise") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return recipe_from(tomllib.loads(text), name)


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with Partwise."""
    folder = resources.files("partwise") / "recipes"
    files = (Path(each.name) for each in folder.iterdir())
    return sorted(file.stem for file in files if file.suffix == ".toml")


def recipe_from(fields: dict[str, Any], source: str = "recipe") -> Recipe:
    """A recipe from nested fields.

    Raises:
        RecipeError: as `read_recipe`.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            allowed = ", ".join(_known_keys(problem["loc"][:-1]))
            raise RecipeError(f"{source}: unknown key '{key}'; known are {allowed}") from error
        message = problem["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{source}: {key} = {problem['input']!r}: {message}") from error


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML, every field spelled out.

    >>> print(recipe_toml(Recipe(l1=5.0)).splitlines()[:3])
    ['task = "digits-pair"', 'seed = 0', 'l1 = 5.0']
    """
    plain, tables = [], []
    for key, value in recipe.model_dump().items():
        if isinstance(value, dict):
            rows = [f"{name} = {_toml_value(each)}" for name, each in value.items()]
            tables.append("\n".join([f"\n[{key}]", *rows]))
        else:
            plain.append(f"{key} = {_toml_value(value)}")
    return "\n".join([*plain, *tables]) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        model = annotation
    return list(model.model_fields)
