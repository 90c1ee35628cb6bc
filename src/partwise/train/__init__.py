"""Training: recipes, the loop, and the files of a run."""

from partwise.train.gpt import GPT, GPTConfig
from partwise.train.hf import AcceleratedPenalty, PenaltyMixin, penalty_callback, penalty_for
from partwise.train.loop import Trainer, train
from partwise.train.network import load_mlp, mlp
from partwise.train.recipe import Recipe
from partwise.train.recipe_files import (
    built_in_recipe,
    built_in_recipes,
    read_recipe,
    recipe_from,
    recipe_toml,
)
from partwise.train.run_directory import RunDirectory
from partwise.train.running import finetune, resume, start_run, train_from_scratch, train_run

__all__ = [
    "GPT",
    "AcceleratedPenalty",
    "GPTConfig",
    "PenaltyMixin",
    "Recipe",
    "RunDirectory",
    "Trainer",
    "built_in_recipe",
    "built_in_recipes",
    "finetune",
    "load_mlp",
    "mlp",
    "penalty_callback",
    "penalty_for",
    "read_recipe",
    "recipe_from",
    "recipe_toml",
    "resume",
    "start_run",
    "train",
    "train_from_scratch",
    "train_run",
]
