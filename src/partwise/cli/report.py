"""`partwise report`: one HTML file of what the stages have left."""

from __future__ import annotations

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


def report(
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
    """Write a network's report.html from whatever its stages have left.

    Example: partwise report runs/demo/modular
    """
    output = Output(as_json, quiet)
    network = Reading(path, text, context, data, target, factory, out).network(output)
    from partwise.stages import report_run

    with output.waiting("write the report"):
        file = report_run(network)
    output.print(f"Report: [bold]{escape(str(file))}[/]")
    output.result({"report": file})
