"""What `partwise explain` does with a language model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from partwise.errors import DataError, RecipeError

if TYPE_CHECKING:
    from partwise.cli.console import Bars, Output
    from partwise.explain import Explained, LLMWriter
    from partwise.explain.endpoints import Chosen, Ledger, Prompt
    from partwise.explain.llm import Estimate
    from partwise.stages import Network


@dataclass(frozen=True)
class Asked:
    """What the command was asked about language models.

    Attributes:
        llm: the endpoint's name.
        max_cost: most US dollars that may be spent; None for any amount.
        yes: whether the estimate needs no confirmation.
        concurrency: how many prompts are sent at once.
        is_judge: whether the model scores its words as well.
    """

    llm: str
    max_cost: float | None = None
    yes: bool = False
    concurrency: int = 4
    is_judge: bool = False


def check(llm: str) -> None:
    """Refuses an endpoint that cannot be, before a network is opened.

    Raises:
        RecipeError: if there is none of that name, or what it needs is not set.
    """
    from partwise.explain.endpoints import chosen_endpoint

    chosen_endpoint(llm)


def show_evidence(output: Output, network: Network, part: str) -> None:
    """Prints the prompt about a module, or about an interface as in `0-1`.

    Raises:
        DataError: if there is no such part.
    """
    from partwise.explain.prompts import description_prompt
    from partwise.stages import run_work

    with output.waiting("gather evidence"):
        work = run_work(network)
    found = {"-".join(map(str, each.modules)): each for each in work.subjects}
    if part not in found:
        raise DataError(f"there is no part {part[:40]!r}; there are {', '.join(found)}")
    prompt = description_prompt(found[part])
    _print_prompt(output, prompt)
    output.result({"part": part, "messages": prompt.messages})


def dry_run(output: Output, network: Network, llm: str) -> None:
    """Prints every prompt, and what sending them would cost; sends nothing."""
    from partwise.explain import LLMWriter
    from partwise.explain.endpoints import chosen_endpoint
    from partwise.explain.endpoints.prices import likely_tokens
    from partwise.stages import run_work

    chosen = chosen_endpoint(llm)
    writer = LLMWriter(chosen.rehearsed(_cache(network)), price=chosen.price)
    with output.waiting("gather evidence"):
        work = run_work(network)
    estimate = writer.estimate(work)
    for number, prompt in enumerate(estimate.prompts, 1):
        place = f"prompt {number} of {len(estimate.prompts)}"
        output.rule(f"{place}: about {likely_tokens(prompt):,} tokens")
        _print_prompt(output, prompt)
    output.rule()
    output.text(estimate_words(estimate, chosen.name))
    output.text("Nothing was sent.")
    output.result({
        "endpoint": chosen.name,
        "prompts": [prompt.messages for prompt in estimate.prompts],
        "tokens_in": estimate.tokens_in,
        "dollars": estimate.dollars,
        "most_dollars": estimate.most,
    })  # fmt: skip


def explain_by_llm(output: Output, network: Network, asked: Asked) -> list[Explained]:
    """Lets a language model describe a network, within a budget, and shows what it costs.

    Raises:
        RecipeError: if it costs something, nobody confirmed it, and nobody can be asked.
    """
    from partwise.explain.endpoints import Ledger, chosen_endpoint
    from partwise.explain.llm import NotConfirmedError
    from partwise.stages import explain_run

    chosen, ledger = chosen_endpoint(asked.llm), Ledger(asked.max_cost)
    with output.bars() as bars:
        writer = _writer(network, chosen, ledger, asked, bars)
        try:
            explained = explain_run(
                network,
                writer,
                on_step=lambda done, total: bars.show("describe", done, total, spent_words(ledger)),
                is_judged=asked.is_judge,
            )
        except NotConfirmedError:
            bars.stop()
            output.text("Nothing was sent.")
            raise typer.Exit(1) from None
    output.text(f"{chosen.name}: {spent_words(ledger)}")
    return explained


def spent_words(ledger: Ledger) -> str:
    """Tokens and money spent so far."""
    spent = ledger.spent
    tokens = f"{spent.tokens_in:,} tokens in, {spent.tokens_out:,} out"
    return f"{tokens}, ${spent.dollars:.4f}" if spent.dollars else tokens


def estimate_words(estimate: Estimate, name: str) -> str:
    """What it will take, in words."""
    kept = f" {estimate.kept} replies are kept already." if estimate.kept else ""
    prompts = f"{len(estimate.prompts)} prompts to {name}, about {estimate.tokens_in:,} tokens"
    if estimate.dollars is None or estimate.most is None:
        return f"{prompts}: nobody knows the price.{kept}"
    if estimate.most == 0:
        return f"{prompts}: free.{kept}"
    return f"{prompts}: likely ${estimate.dollars:.4f}, at most ${estimate.most:.4f}.{kept}"


def _writer(
    network: Network, chosen: Chosen, ledger: Ledger, asked: Asked, bars: Bars
) -> LLMWriter:
    from partwise.explain import LLMWriter
    from partwise.explain.endpoints import DEFAULT_LIMITS

    most = int(DEFAULT_LIMITS.deadline_s)
    endpoint = chosen.within(
        ledger,
        _cache(network),
        on_wait=lambda left: bars.show("silent server", most - int(left), most),
    )

    def confirm(estimate: Estimate) -> bool:
        if asked.yes or not estimate.prompts or estimate.most == 0:
            return True
        bars.stop()
        return _confirmed(estimate_words(estimate, chosen.name))

    return LLMWriter(endpoint, concurrency=asked.concurrency, confirm=confirm, price=chosen.price)


def _confirmed(words: str) -> bool:
    if not sys.stdin.isatty():
        raise RecipeError(f"{words} Confirm it with --yes")
    return typer.confirm(f"{words} Send them?", err=True)


def _cache(network: Network) -> Path:
    from partwise.stages import LLM_CACHE

    return network.directory / LLM_CACHE


def _print_prompt(output: Output, prompt: Prompt) -> None:
    for each in prompt.messages:
        output.print(f"[bold]{each['role']}[/]")
        output.text(each["content"] + "\n")
