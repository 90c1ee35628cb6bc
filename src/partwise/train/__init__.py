"""Training: recipes, the loop, and the files of a run."""

from partwise.train.loop import Trainer, train
from partwise.train.network import load_mlp, mlp
from partwise.train.recipe import (
    Recipe,
    built_in_recipe,
    built_in_recipes,
    read_recipe,
    recipe_from,
    recipe_toml,
)
from partwise.train.run_directory import RunDirectory

__all__ = [
    "Recipe",
    "RunDirectory",
    "Trainer",
    "built_in_recipe",
    "built_in_recipes",
    "load_mlp",
    "mlp",
    "read_recipe",
    "recipe_from",
    "recipe_toml",
    "train",
]
