"""`partwise finetune`: a pretrained language model, trained on until it comes apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from partwise.cli.console import Output
from partwise.cli.options import JsonOption, QuietOption, SetOption, TextOption
from partwise.cli.training import refuse_taken, start, text_recipe


def finetune(
    model: Annotated[
        str,
        typer.Option(
            help="A local directory in Hugging Face's layout, or a hub name.",
            metavar="HUB_NAME|DIR",
            show_default=False,
        ),
    ],
    text: TextOption = None,
    out: Annotated[Path, typer.Option(help="Directory to make for the run.")] = Path(
        "runs/finetuned"
    ),
    seed: Annotated[int | None, typer.Option(help="Seed of batches and masking.", min=0)] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a pretrained language model come apart by training it on, on text.

    The result in OUT/model loads with from_pretrained. Go on with partwise train --resume OUT.

    Example: partwise finetune --model openai-community/gpt2 --text a.txt --set context=128
    """
    output = Output(as_json, quiet)
    refuse_taken(out)
    changes = [*(settings or []), *([] if seed is None else [f"seed={seed}"])]
    start(output, out, text_recipe(output, text or [], changes, model=model))
