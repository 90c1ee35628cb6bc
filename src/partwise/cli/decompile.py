"""`partwise decompile`: a network's modules as a Python file of their programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.console import Output
from partwise.cli.opening import Reading
from partwise.cli.options import (
    ContextOption,
    DataOption,
    FactoryOption,
    JsonOption,
    NetworkArgument,
    QuietOption,
    ReadOption,
    TargetOption,
)
from partwise.errors import OutputError

if TYPE_CHECKING:
    from partwise.runs import Network

PRICE = 0.3
"""A file may hold longer programs than a sentence."""
SAMPLES = 2000
"""Rows per split: more than `explain` takes, for longer programs may pay then."""


def decompile(
    path: NetworkArgument,
    out: Annotated[Path, typer.Option(help="The Python file to write.")] = Path("program.py"),
    text: ReadOption = None,
    context: ContextOption = None,
    data: DataOption = None,
    target: TargetOption = None,
    factory: FactoryOption = None,
    price: Annotated[
        float,
        typer.Option(
            help="What a bit of program costs beside one that corrects its answers: less makes "
            "programs longer and truer.",
            min=0.01,
            max=10,
        ),
    ] = PRICE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a network's modules as one Python file of short programs, which needs NumPy only.

    The file says how often each program gives the network's answer and where it does not, and
    checks itself when it is run.

    Example: partwise decompile runs/demo/modular --out program.py
    """
    output = Output(as_json, quiet)
    if out.exists():
        raise OutputError(f"{out} exists already; choose another output or remove it first")
    network = Reading(path, text, context, data, target, factory, out.parent).network(output)
    with output.waiting("look for programs"):
        words = write_program(network, out, price)
    output.text(f"{out}: {words}")
    output.result({"file": out, "words": words})


def write_program(network: Network, out: Path, price: float = PRICE) -> str:
    """Writes a network's programs, and says how much of its loss they recover.

    Raises:
        DataError: if no module of a language model has rules to write.
    """
    from partwise.explain.decompiling import decompile as decompiled
    from partwise.explain.decompiling import decompile_text
    from partwise.explain.explain import subject_of
    from partwise.files import write_text
    from partwise.graph.activity import evaluating
    from partwise.stages import run_partition

    of_text = network.is_language_model
    part = run_partition(network)
    with evaluating(network.model):
        subject = subject_of(
            network.model,
            part,
            network.data,
            network.units if of_text else None,
            None if of_text else SAMPLES,
        )
        title = network.title
        if of_text:
            text, words = decompile_text(subject, title)
        else:
            text, words = decompiled(subject, title, price)
    write_text(out, text)
    return words
