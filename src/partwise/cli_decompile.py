"""`partwise decompile`: a network's modules as a Python file of their programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from partwise.runs import Network

PRICE = 0.3
"""A file may hold longer programs than a sentence."""
SAMPLES = 2000
"""Rows per split: more than `explain` takes, for longer programs may pay then."""


def decompile(
    path: Annotated[
        str,
        typer.Argument(
            help="A run, a network's file, or a language model, as explain takes them.",
            metavar="RUN_OR_MODEL",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The Python file to write.")] = Path("program.py"),
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Text to read a language model on.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of a document, for a pretrained model.", min=2)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Rows or a task for a bare network, as in explain.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="A column of --data that is to be predicted.")
    ] = None,
    factory: Annotated[
        str | None, typer.Option(help="A function module:name that makes the network.")
    ] = None,
    price: Annotated[
        float,
        typer.Option(
            help="What a bit of program costs beside one that corrects its answers: less makes "
            "programs longer and truer.",
            min=0.01,
            max=10,
        ),
    ] = PRICE,
) -> None:
    """Write a network's modules as one Python file of short programs, which needs NumPy only.

    The file says how often each program gives the network's answer and where it does not, and
    checks itself when it is run.

    Example: partwise decompile runs/demo/modular --out program.py
    """
    from partwise import cli
    from partwise.errors import OutputError

    if out.exists():
        raise OutputError(f"{out} exists already; choose another output or remove it first")
    network = cli._open_with_data(path, text, context, data, target, factory, out.parent)
    words = write_program(network, out, price)
    Console(soft_wrap=True).print(f"{escape(str(out))}: {escape(words)}", highlight=False)


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


def print_composition(console: Console, network: Network) -> None:
    """What programs recover in place of every module, where `explain` has measured that."""
    from partwise.stages import COMPOSITION, read_composition

    found = read_composition(network.directory / COMPOSITION)
    if found is not None:
        console.print(f"\nPrograms: {escape(found.words)}", highlight=False)
