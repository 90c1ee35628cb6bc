"""`partwise train`: a network by a recipe, a GPT on text, or a run that stopped."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.console import Output
from partwise.cli.opening import nearest
from partwise.cli.options import (
    JsonOption,
    QuietOption,
    SeedOption,
    SetOption,
    TextOption,
    complete_recipe,
    recipe_names,
)
from partwise.cli.training import go_on, refuse_taken, start, text_recipe
from partwise.errors import OutputError, RecipeError

if TYPE_CHECKING:
    from partwise.train import Recipe

GPT_MODEL = "gpt"


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe file, or the name of a built-in recipe.",
            metavar="RECIPE",
            autocompletion=complete_recipe,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory to make for the run.")] = None,
    seed: SeedOption = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an interrupted run.", metavar="DIR")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="'gpt' trains a small GPT on --text.", metavar="gpt")
    ] = None,
    text: TextOption = None,
    bpe: Annotated[
        int | None,
        typer.Option(help="Size of a GPT's BPE vocabulary; a token per character without it."),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a network by a recipe, or a GPT on text, or go on where a run stopped.

    A recipe of your own begins with partwise init.

    Example: partwise train digits-pair-modular --out runs/mine

    Example: partwise train --model gpt --text a.txt --text b.jsonl --set steps=2000

    Example: partwise train --resume runs/mine
    """
    output, is_gpt = Output(as_json, quiet), _is_gpt(model, text or [])
    if resume is not None:
        if is_gpt or settings or (recipe, out, seed, bpe) != (None, None, None, None):
            raise OutputError("--resume goes on with a run as it is; give it alone")
        return go_on(output, resume)
    if bpe is not None and not is_gpt:
        raise OutputError("--bpe is a GPT's; name its text with --text")
    if is_gpt and recipe is not None:
        raise OutputError(f"a GPT takes no recipe file; set values with --set, not '{recipe}'")
    if out is not None:
        refuse_taken(out)
    changes = [*(settings or []), *([] if seed is None else [f"seed={seed}"])]
    if is_gpt:
        chosen = text_recipe(output, text or [], changes, bpe=bpe)
    else:
        chosen = named_recipe(output, recipe, changes)
    start(output, out or Path("runs") / (GPT_MODEL if is_gpt else chosen.name), chosen)


def named_recipe(output: Output, name: str | None, settings: Sequence[str]) -> Recipe:
    """The recipe of a file, or the built-in one of that name.

    Raises:
        OutputError: if none is named.
        RecipeError: if there is none of that name, or it is wrong.
    """
    if name is None:
        raise OutputError(
            "give a recipe file, which partwise init writes, or one of the built-in recipes: "
            + ", ".join(recipe_names())
        )
    is_file = Path(name).suffix == ".toml" or Path(name).exists()
    _refuse_wrong_name(name, is_file)
    with output.waiting("load"):
        from partwise.train import built_in_recipe, read_recipe
    return read_recipe(Path(name), settings) if is_file else built_in_recipe(name, settings)


def _refuse_wrong_name(name: str, is_file: bool) -> None:
    """Refuses a recipe that there is not, before anything is loaded."""
    if is_file and not Path(name).exists():
        raise RecipeError(
            f"no recipe at {name}; {nearest(Path(name)) or 'partwise init writes one'}"
        )
    known = recipe_names()
    if not is_file and name not in known:
        near = get_close_matches(name, known, 1)
        way_out = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise RecipeError(f"no built-in recipe '{name[:40]}'; {way_out}")


def _is_gpt(model: str | None, texts: Sequence[str]) -> bool:
    """Whether a language model is asked for.

    Raises:
        RecipeError: for another model than the one that can be trained from scratch.
    """
    if model not in (None, GPT_MODEL):
        raise RecipeError(
            f"cannot train a '{model}' from scratch, only a '{GPT_MODEL}'; a pretrained model is "
            "trained on with partwise finetune --model"
        )
    return model is not None or bool(texts)
