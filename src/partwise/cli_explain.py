"""What `partwise explain` does with a language model; `cli` holds the arguments."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from partwise.errors import DataError, RecipeError

if TYPE_CHECKING:
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
    """

    llm: str
    max_cost: float | None = None
    yes: bool = False
    concurrency: int = 4


def check(llm: str) -> None:
    """Refuses an endpoint that cannot be, before a network is opened.

    Raises:
        RecipeError: if there is none of that name, or what it needs is not set.
    """
    from partwise.explain.endpoints import chosen_endpoint

    chosen_endpoint(llm)


def show_evidence(console: Console, network: Network, part: str) -> None:
    """Prints the prompt about a module, or about an interface as in `0-1`.

    Raises:
        DataError: if there is no such part.
    """
    from partwise.explain.prompts import description_prompt
    from partwise.stages import run_work

    found = {"-".join(map(str, each.modules)): each for each in run_work(network).subjects}
    if part not in found:
        raise DataError(f"there is no part {part[:40]!r}; there are {', '.join(found)}")
    _print_prompt(console, description_prompt(found[part]))


def dry_run(console: Console, network: Network, llm: str) -> None:
    """Prints every prompt, and what sending them would cost; sends nothing."""
    from partwise.explain import LLMWriter
    from partwise.explain.endpoints import chosen_endpoint
    from partwise.explain.endpoints.prices import likely_tokens
    from partwise.stages import run_work

    chosen = chosen_endpoint(llm)
    writer = LLMWriter(chosen.rehearsed(_cache(network)), price=chosen.price)
    estimate = writer.estimate(run_work(network))
    for number, prompt in enumerate(estimate.prompts, 1):
        place = f"prompt {number} of {len(estimate.prompts)}"
        console.rule(f"{place}: about {likely_tokens(prompt):,} tokens")
        _print_prompt(console, prompt)
    console.rule()
    _say(console, estimate_words(estimate, chosen.name))
    _say(console, "Nothing was sent.")


def explain_by_llm(console: Console, network: Network, asked: Asked) -> list[Explained]:
    """Lets a language model describe a network, within a budget, and shows what it costs.

    Raises:
        RecipeError: if it costs something, nobody confirmed it, and nobody can be asked.
    """
    from partwise.explain.endpoints import Ledger, chosen_endpoint
    from partwise.explain.llm import NotConfirmedError
    from partwise.stages import explain_run

    chosen, ledger = chosen_endpoint(asked.llm), Ledger(asked.max_cost)
    with _Bars() as bars:
        writer = _writer(network, chosen, ledger, asked, bars)
        try:
            explained = explain_run(
                network,
                writer,
                on_step=lambda done, total: bars.show("describe", done, total, spent_words(ledger)),
            )
        except NotConfirmedError:
            bars.stop()
            _say(console, "Nothing was sent.")
            raise typer.Exit(1) from None
    _say(console, f"{chosen.name}: {spent_words(ledger)}")
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
    network: Network, chosen: Chosen, ledger: Ledger, asked: Asked, bars: _Bars
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


def _print_prompt(console: Console, prompt: Prompt) -> None:
    for each in prompt.messages:
        console.print(f"[bold]{each['role']}[/]")
        _say(console, each["content"] + "\n")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    """Live bars with a figure each: tokens and money."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:14}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def show(self, name: str, done: int, total: int, figures: str = "") -> None:
        """Moves a bar; the first call draws it."""
        self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, figures="")
        self._progress.update(self._tasks[name], completed=done, total=total, figures=figures)

    def stop(self) -> None:
        """Leaves the bars as they are, until one moves again."""
        self._progress.stop()
