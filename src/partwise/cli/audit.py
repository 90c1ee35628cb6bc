"""`partwise audit`: behaviour that a network should not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from partwise.cli.console import Output
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

if TYPE_CHECKING:
    from partwise.audit import AuditReport

CODES = {"passed": 0, "flagged": 1, "cannot be judged": 3}
COLOURS = {"flagged": "red", "passed": "green"}


def audit(
    path: NetworkArgument,
    text: ReadOption = None,
    context: ContextOption = None,
    data: DataOption = None,
    target: TargetOption = None,
    factory: FactoryOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search a network for behaviour that it should not have.

    Exit code 0 if everything was searched and nothing found (passed), 1 if a module was flagged,
    3 if the network cannot be judged: something was not searched, or could not be told.

    Example: partwise audit runs/demo/sabotaged
    """
    output = Output(as_json, quiet)
    network = Reading(path, text, context, data, target, factory, out).network(output)
    from partwise.stages import audit_run

    with output.waiting("search for triggers"):
        verdict = audit_run(network)
    print_audit(output, verdict)
    output.result(verdict)
    raise typer.Exit(CODES[verdict.outcome])


def print_audit(output: Output, verdict: AuditReport) -> None:
    """What was found in each module, what could not be told, and the verdict."""
    for module in verdict.modules:
        output.print(
            f"module {module.module}: {_mark(module.outcome)}, its strongest trigger forces "
            f"{module.score:.1%} ({module.baseline:.1%} without it), p = {module.p_value:.2g}"
        )
        for sentence in module.evidence:
            output.print(f"  {escape(sentence)}")
    if verdict.repair is not None:
        fixed = verdict.repair
        output.print(
            f"Repair of module {fixed.module} ({escape(', '.join(fixed.lesions))}): attack "
            f"{fixed.attack_before:.1%} -> {fixed.attack_after:.1%}, clean accuracy "
            f"{fixed.accuracy_before:.1%} -> {fixed.accuracy_after:.1%}"
        )
    for reason in verdict.reasons:
        output.print(f"Not told: {escape(reason)}")
    output.print(f"Verdict: {_mark(verdict.outcome)}")


def _mark(outcome: str) -> str:
    return f"[{COLOURS.get(outcome, 'yellow')}]{outcome}[/]"
