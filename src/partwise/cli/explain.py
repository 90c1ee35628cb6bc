"""`partwise explain`: what each module does, in words that are tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from partwise.cli import writing
from partwise.cli.console import Output
from partwise.cli.descriptions import print_descriptions
from partwise.cli.opening import Reading
from partwise.cli.options import (
    ContextOption,
    DataOption,
    FactoryOption,
    JsonOption,
    NetworkArgument,
    OutOption,
    QuietOption,
    ReadOption,
    TargetOption,
)
from partwise.errors import RecipeError

if TYPE_CHECKING:
    from partwise.explain import Explained
    from partwise.stages import Network


def explain(
    path: NetworkArgument,
    llm: Annotated[
        str | None,
        typer.Option(
            "--llm",
            help="Let a language model write: openai:MODEL, anthropic:MODEL, openrouter:MODEL, "
            "http://HOST/v1#MODEL, local:DIR, replay:FILE, mock, or env, for what "
            "PARTWISE_LLM_BASE_URL, PARTWISE_LLM_MODEL and PARTWISE_LLM_API_KEY say.",
            metavar="ENDPOINT",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print prompts, tokens and cost; send nothing."),
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(help="Most US dollars that --llm may spend.", min=0.0)
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before --llm spends the estimate.")
    ] = False,
    concurrency: Annotated[
        int, typer.Option(help="Prompts that --llm sends at once.", min=1, max=64)
    ] = 4,
    judge: Annotated[
        bool,
        typer.Option(
            "--judge",
            help="Let --llm also score its words: it reads name and sentence and rates which "
            "held-out samples need the module. Sends more prompts than the estimate counts.",
        ),
    ] = False,
    show_evidence: Annotated[
        str | None,
        typer.Option(
            help="Print the prompt about this part, and stop.", metavar="MODULE|MODULE-MODULE"
        ),
    ] = None,
    text: ReadOption = None,
    context: ContextOption = None,
    data: DataOption = None,
    target: TargetOption = None,
    factory: FactoryOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Describe each module and interface of a network, and test every claim.

    Exit code 1 if no part could be described; what was there before is kept. A language model's
    replies are kept in RUN/llm-cache.jsonl: nothing is paid twice.

    Example: partwise explain runs/demo/modular

    Example: partwise explain runs/demo/modular --llm anthropic:claude-sonnet-4-5 --max-cost 1

    Example: partwise explain models/gpt2 --text a.txt --out runs/gpt2

    Example: partwise explain net.safetensors --data rows.csv --target price --out runs/mine
    """
    output = Output(as_json, quiet)
    asked = None if llm is None else writing.Asked(llm, max_cost, yes, concurrency, judge)
    if asked is None and (dry_run or judge):
        wrong = "--dry-run" if dry_run else "--judge"
        raise RecipeError(f"{wrong} is about a language model; say which with --llm")
    if asked is not None:
        writing.check(asked.llm)
    network = Reading(path, text, context, data, target, factory, out).network(output)
    if show_evidence is not None:
        writing.show_evidence(output, network, show_evidence)
    elif asked is not None and dry_run:
        writing.dry_run(output, network, asked.llm)
    else:
        _describe(output, network, asked)


def _describe(output: Output, network: Network, asked: writing.Asked | None) -> None:
    from partwise.explain import Failed, count_verdicts
    from partwise.stages import COMPOSITION, read_composition

    if asked is None:
        explained = _by_programs(output, network)
    else:
        explained = writing.explain_by_llm(output, network, asked)
    print_descriptions(output, explained)
    composition = read_composition(network.directory / COMPOSITION)
    if composition is not None:
        output.print(f"\nPrograms: {escape(composition.words)}", highlight=False)
    output.result({
        "parts": explained,
        "claims": count_verdicts(explained),
        "composition": composition,
    })  # fmt: skip
    if explained and all(isinstance(each.description, Failed) for each in explained):
        output.print("Every description failed; earlier ones were kept.")
        raise typer.Exit(1)


def _by_programs(output: Output, network: Network) -> list[Explained]:
    from partwise.stages import explain_run

    with output.bars() as bars:
        return explain_run(network, on_step=lambda done, total: bars.show("describe", done, total))
