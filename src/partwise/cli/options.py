"""Arguments and options that several commands share."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON object, and nothing else."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only errors and results: no bars, no hints.")
]
TextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="A txt, jsonl or parquet file, or a data set's hub name; each is a stream. May be "
        "given several times.",
        metavar="SOURCE",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Changes a recipe, such as steps=500 or penalty.l1=4.",
        metavar="NAME=VALUE",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.", min=0)]
RunArgument = Annotated[
    Path, typer.Argument(help="Directory of a run.", metavar="RUN", show_default=False)
]
NetworkArgument = Annotated[
    str,
    typer.Argument(
        help="A run; a language model in Hugging Face's layout, or its hub name; or a file: a "
        "state dict of linear layers (safetensors, or .pt, .pth, .bin of torch.save), an exported "
        "program (.pt2), or .onnx.",
        metavar="RUN_OR_MODEL",
        show_default=False,
    ),
]
LayersOption = Annotated[
    str | None,
    typer.Option(
        help="A state dict's layers in the order they run, where its names do not tell it.",
        metavar="NAME,NAME,...",
    ),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(
        help="What stands between a state dict's layers: relu (assumed without it), tanh, "
        "gelu, silu, sigmoid, leaky_relu or identity.",
        metavar="NAME",
    ),
]
ReadOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="Text to read a language model on, as in train; a run's own text without it.",
        metavar="SOURCE",
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(help="Tokens of a document, for a pretrained language model.", min=2),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="What a bare network is for: rows (.npz with x and y, .csv, .parquet), or a function "
        "module:name that gives a task, whose code is run.",
        metavar="FILE|MODULE:NAME",
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(help="A column of --data that is to be predicted; may be given several times."),
]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        help="A function module:name that makes the network, whose weights the file holds; its "
        "code is run.",
        metavar="MODULE:NAME",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Directory for what is written; a run's own without it."),
]


def recipe_names() -> list[str]:
    """Names of the built-in recipes, for completion: without the rest of the library."""
    folder = resources.files("partwise") / "recipes"
    names = (Path(each.name) for each in folder.iterdir())
    return sorted(name.stem for name in names if name.suffix == ".toml")


def complete_recipe(incomplete: str) -> list[str]:
    """The built-in recipes that begin with what was typed."""
    return [name for name in recipe_names() if name.startswith(incomplete)]
