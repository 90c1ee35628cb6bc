"""Descriptions and their tested claims, on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from partwise.cli.console import Output
    from partwise.explain import Explained, Verdict

COLOURS = {"supported": "green", "refuted": "red", "undecided": "yellow"}


def print_descriptions(output: Output, explained: list[Explained]) -> None:
    """Each part's words with their verdicts, and how many of each there are."""
    from partwise.explain import count_verdicts

    for each in explained:
        _print_one(output, each)
    counts = ", ".join(f"{n} {outcome}" for outcome, n in count_verdicts(explained).items())
    output.print(f"\nClaims: {counts}")
    if not output.quiet and any(each.verdicts for each in explained):
        output.print(
            "[dim]Intervals are 95%, of each claim alone; verdicts take p-values corrected for all "
            "claims (Holm), and need more than chance.[/]"
        )


def _print_one(output: Output, each: Explained) -> None:
    from partwise.explain import Description

    words = each.description
    if not isinstance(words, Description):
        output.print(f"\n[bold]{each.subject}[/] [red]failed: {escape(words.reason)}[/]")
        return
    output.print(f"\n[bold]{each.subject}: {escape(words.name)}[/]")
    output.print(f"{escape(words.sentence)} [dim]({_words_score(each)})[/]")
    if each.told:
        output.print(f"[dim]{escape(_told(each))}[/]")
    for verdict in each.verdicts:
        colour = COLOURS[verdict.outcome]
        output.print(
            f"  [{colour}]{verdict.outcome:9}[/] {escape(verdict.claim.sentence)} "
            f"[dim]{escape(_measured(verdict))}[/]"
        )


def _words_score(explained: Explained) -> str:
    """What the sentence is worth to a judge who reads nothing else."""
    score = explained.judged
    if score is None:
        return "untested words"
    if score.failure:
        return f"untested words: the judge failed, {score.failure}"
    other = "" if score.control is None else f", other modules' words {score.control:.2f}"
    return (
        f"to {score.judge} the words tell who needs it: r = {score.value:.2f} "
        f"[{score.low:.2f}, {score.high:.2f}]{other}"
    )


def _told(explained: Explained) -> str:
    """How much of what a module does few questions tell, and its claims."""
    first, *rest = (max(each.explained, 0) for each in explained.told)
    counts = [each.questions for each in explained.told[1:]]
    more = [f", {k} explain {share:.0%}" for k, share in zip(counts, rest, strict=True)]
    words = f"One yes-or-no question explains {first:.0%} of what its removal does{''.join(more)}."
    claims = explained.claims_score
    if claims is not None and not claims.failure:
        other = claims.control
        beside = "" if other is None else f" (other modules' claims: {other:.2f})"
        words += f" Its claims predict who needs it: r = {claims.value:.2f}{beside}."
    return words


def _measured(verdict: Verdict) -> str:
    """What was measured, by chance, on how many rows; and why it decides nothing."""
    if not verdict.samples:
        return f"(could not be tested: {verdict.reason})"
    unit = f" {verdict.unit}" if verdict.unit else ""
    words = (
        f"({verdict.effect:.3f}{unit} [{verdict.low:.3f}, {verdict.high:.3f}], by chance "
        f"{verdict.chance:.3f}, {verdict.rows} rows"
    )
    if verdict.reason:
        words += f"; {verdict.reason}"
    if verdict.rows_needed is not None:
        words += f"; about {verdict.rows_needed} rows would decide"
    return words + ")"
