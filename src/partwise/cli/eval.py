"""`partwise eval`: what a run can do beside another, in a table and in plain words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from partwise.cli.console import Output, silenced
from partwise.cli.opening import one_thread, quiet_libraries, refuse_no_run
from partwise.cli.options import JsonOption, QuietOption, RunArgument

if TYPE_CHECKING:
    from partwise.capability.idle_interface import CausalInterface
    from partwise.capability.language_eval import PairedDifference
    from partwise.runs import Comparison


def evaluate(
    run: RunArgument,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Another run, or a pretrained model; a fine-tuned run's own start without it.",
            metavar="RUN|HUB_NAME|DIR",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task of the lm-evaluation-harness, or wsc273.jsonl, lambada_openai.jsonl, "
            "winogrande.jsonl or blimp.jsonl. May be given several times.",
            metavar="NAME|FILE",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Items per task.", min=2)] = None,
    interface: Annotated[
        bool,
        typer.Option(
            "--interface",
            help="Measure what joins its modules: without all of it, random parts, the worst part.",
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what a run can do beside its baseline, with 95% intervals.

    Example: partwise eval runs/gpt --baseline runs/plain --task data/wsc273.jsonl

    Example: partwise eval runs/modular --baseline runs/plain --interface
    """
    output = Output(as_json, quiet)
    refuse_no_run(run)
    quiet_libraries()
    with output.waiting("evaluate"), silenced():
        found = _comparison(run, baseline, task or [], limit, interface)
    output.print(_table(found))
    for sentence in sentences(found):
        output.print(escape(sentence), highlight=False)
    output.result(found)


def _comparison(
    run: Path, baseline: str | None, tasks: list[str], limit: int | None, interface: bool
) -> Comparison:
    from partwise.cli.tables import compare_tables, is_table
    from partwise.runs import evaluate as compare_texts

    if is_table(run):
        one_thread()
        return compare_tables(run, baseline, tasks, interface)
    return compare_texts(run, baseline, tasks, limit=limit, interface=interface)


def _table(found: Comparison) -> Table:
    table = Table(title=escape(f"{found.run} beside {found.baseline}, on held-out data"))
    for k, column in enumerate(("", *_short_names(found), "difference", "95% interval")):
        table.add_column(escape(column), justify="right" if k else "left", overflow="fold")
    if len(found.run_losses) > 1:
        for name, loss in found.run_losses.items():
            other = found.baseline_losses[name]
            row = (f"{loss:.3f}", f"{other:.3f}", f"{loss - other:+.3f}", "")
            table.add_row(escape(f"loss on {name}"), *row)
    ours, theirs = (_mean(each) for each in (found.run_losses, found.baseline_losses))
    table.add_row(
        f"loss, {found.loss.unit}", f"{ours:.3f}", f"{theirs:.3f}", *_interval(found.loss)
    )
    if found.loss.unit == "nats per token":
        table.add_row("perplexity", f"{math.exp(ours):.2f}", f"{math.exp(theirs):.2f}", "", "")
    for name, score in found.tasks.items():
        cells = (f"{score.run:.1%}", f"{score.baseline:.1%}")
        table.add_row(escape(name), *cells, *_interval(score.difference, percent=True))
    table.add_row("trained on", f"{found.run_tokens:,}", f"{found.baseline_tokens:,}", "", "")
    return table


def _short_names(found: Comparison) -> tuple[str, str]:
    """The last parts of the two names, where these differ."""
    run, baseline = Path(found.run).name, Path(found.baseline).name
    return (found.run, found.baseline) if run == baseline else (run, baseline)


def _interval(found: PairedDifference, percent: bool = False) -> tuple[str, str]:
    form = "{:+.1%}" if percent else "{:+.3f}"
    low, high = form.format(found.low), form.format(found.high)
    return form.format(found.mean), f"{low} to {high}"


def sentences(found: Comparison) -> list[str]:
    """What the table means, and what it leaves open."""
    lines = [_loss_words(found)]
    lines += [_task_words(found, name) for name in found.tasks]
    if found.run_tokens != found.baseline_tokens:
        lines.append("The two were not trained equally long, so part of a difference may be that.")
    if found.interface is not None:
        lines.append(_interface_words(found.interface, found.loss.unit))
    return lines


def _loss_words(found: Comparison) -> str:
    loss = found.loss
    if loss.low <= 0 <= loss.high:
        widest = max(abs(loss.low), abs(loss.high))
        return (
            f"Whether the two differ on held-out data cannot be told from {loss.samples} samples: "
            f"if they do, by at most {widest:.3f} {loss.unit}."
        )
    way = "worse" if loss.mean > 0 else "better"
    return (
        f"{found.run} is {way} on held-out data than {found.baseline}: its loss is "
        f"{_span(loss)} {loss.unit} {'higher' if loss.mean > 0 else 'lower'}."
    )


def _task_words(found: Comparison, name: str) -> str:
    difference = found.tasks[name].difference
    if difference.low <= 0 <= difference.high:
        return (
            f"{name}: {difference.samples} items cannot tell which of the two answers more of "
            "them rightly."
        )
    way = "more" if difference.mean > 0 else "fewer"
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return (
        f"{name}: {found.run} answers {abs(difference.mean):.1%} ({low:.1%} to {high:.1%}) of the "
        f"items {way} rightly than {found.baseline}."
    )


def _span(found: PairedDifference) -> str:
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{abs(found.mean):.3f} ({low:.3f} to {high:.3f})"


def _interface_words(found: CausalInterface, unit: str) -> str:
    return (
        f"Without all that joins its modules its loss changes by {found.joint:+.3f} {unit}; "
        f"without random parts of that by {found.random_mean:+.3f} (95% of them below "
        f"{found.random_high:+.3f}); without the worst part found by {found.worst:+.3f}."
    )


def _mean(losses: dict[str, float]) -> float:
    return sum(losses.values()) / len(losses)
