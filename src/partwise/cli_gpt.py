"""What the command line does for language models; `cli` holds the arguments."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from partwise.errors import DataError, RecipeError

Progress = Callable[[], AbstractContextManager[Any]]
QUIET = ("huggingface_hub", "transformers", "datasets", "lm_eval")
GPT_MODEL = "gpt"
FINETUNE_LR = 1e-4
"""A pretrained model forgets at the rate that suits a fresh one."""


def train_gpt_command(
    console: Console,
    progress: Progress,
    out: Path,
    texts: Sequence[str],
    settings: Sequence[str],
    seed: int | None,
    bpe: int | None = None,
    model: str | None = None,
) -> None:
    """`partwise train --model gpt`, and `partwise finetune` where `model` is one to begin from."""
    from partwise.train import recipe_from

    if not texts:
        raise DataError("no text given; pass at least one UTF-8 file")
    fields: dict[str, Any] = {"data": {"texts": list(texts)}}
    if bpe is not None:
        fields["data"]["bpe"] = bpe
    if model is not None:
        fields["model"] = {"kind": "pretrained", "source": model}
        fields["training"] = {"lr": FINETUNE_LR}
    seeds = [] if seed is None else [f"seed={seed}"]
    recipe = recipe_from(fields, settings=[*settings, *seeds])
    train_recipe_command(console, progress, out, recipe)


def train_recipe_command(console: Console, progress: Progress, out: Path, recipe: Any) -> None:
    """`partwise train` by a recipe of a language model."""
    from partwise.train import start_run

    _run(console, progress, out, partial(start_run, out, recipe), recipe.training.steps)


def resume_gpt_command(console: Console, progress: Progress, out: Path) -> None:
    """`partwise train --resume` of a language model's run."""
    from partwise.train import RunDirectory, resume

    steps = RunDirectory(out).recipe().training.steps
    _run(console, progress, out, partial(resume, out), steps)


def eval_command(
    console: Console,
    run: Path,
    baseline: str | None,
    tasks: Sequence[str],
    limit: int | None,
    interface: bool = False,
) -> None:
    """`partwise eval`."""
    from partwise.runs import evaluate

    quiet()
    found = evaluate(run, baseline, tasks, limit=limit, interface=interface)
    for sentence in found.sentences():
        console.print(escape(sentence), highlight=False)


def is_gpt(model: str | None, texts: Sequence[str]) -> bool:
    """Whether `partwise train` was asked for a language model.

    Raises:
        RecipeError: for another model than the one that can be trained from scratch.
    """
    if model not in (None, GPT_MODEL):
        raise RecipeError(
            f"cannot train a '{model}' from scratch, only a '{GPT_MODEL}'; a pretrained model is "
            "trained on with partwise finetune --model"
        )
    return model is not None or bool(texts)


def _run(
    console: Console, progress: Progress, out: Path, start: Callable[..., Any], steps: int
) -> None:
    from partwise.train import RunDirectory

    quiet()
    try:
        with progress() as watch:
            start(watch=lambda step, metrics: watch("train", step, steps, dict(metrics)))
    except KeyboardInterrupt:
        Console(stderr=True).print(f"Go on with: partwise train --resume {escape(str(out))}")
        raise
    row = RunDirectory(out).metrics()[-1]
    held = {k.removeprefix("held_"): v for k, v in row.items() if k.startswith("held_")}
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in held.items())
    share = row["interface_frac"]
    between = "" if share is None else f", interface {share:.3f}"
    console.print(
        f"{escape(str(out))}: {row['step']} steps, held-out loss {escape(losses)} nats per token, "
        f"modules {row['modules']}{between}"
    )


def quiet() -> None:
    """An error is one line here; what libraries log beside it says nothing more."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")  # read when the library is imported
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
