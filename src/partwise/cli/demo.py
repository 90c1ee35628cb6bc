"""`partwise demo`: the whole way, on digits or with a GPT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from partwise.cli.audit import print_audit
from partwise.cli.console import Output
from partwise.cli.descriptions import print_descriptions
from partwise.cli.opening import one_thread
from partwise.cli.options import JsonOption, QuietOption

SCORES = {
    "held-out loss (nats)": "held_out_ce",
    "held-out accuracy": "accuracy",
    "interface, share of capacity": "interface_frac",
    "wrong-side path mass": "cross_frac",
}


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Directory to make; runs/demo, or runs/demo-gpt, without it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0)] = 0,
    gpt: Annotated[
        bool, typer.Option("--gpt", help="A small GPT of letters and sums, in place of digits.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train, take apart, describe, audit and report: the whole way on two real digits.

    Example: partwise demo --out runs/demo

    Example: partwise demo --gpt
    """
    output = Output(as_json, quiet)
    with output.waiting("load"):
        one_thread()
    if gpt:
        _demo_gpt(output, out or Path("runs/demo-gpt"), seed)
    else:
        _demo_digits(output, out or Path("runs/demo"), seed)


def _demo_digits(output: Output, out: Path, seed: int) -> None:
    from partwise.demo import run_demo

    with output.bars() as bars:
        result = run_demo(out, seed, bars.watch)
    output.print(summary_table(result.summary))
    print_descriptions(output, result.explained)
    _end(output, result.summary, result.report)


def _demo_gpt(output: Output, out: Path, seed: int) -> None:
    from partwise.demo_gpt import run_gpt_demo

    with output.bars() as bars:
        result = run_gpt_demo(out, seed, bars.watch)
    print_descriptions(output, result.explained)
    print_audit(output, result.audit)
    output.print(_gpt_table(result.summary))
    _end(output, result.summary, result.report)


def _end(output: Output, summary: dict[str, Any], report: Path) -> None:
    output.print(f"\nReport: [bold]{escape(str(report))}[/]")
    output.result({**summary, "report": report})


def summary_table(summary: dict[str, Any]) -> Table:
    """The digits' summary: the plain twin beside the modular one."""
    plain, modular = summary["plain"], summary["modular"]
    table = Table(title=f"{summary['task']}, seed {summary['seed']}: {summary['seconds']} s")
    table.add_column("")
    table.add_column("plain twin", justify="right")
    table.add_column("modular twin", justify="right")
    for label, key in SCORES.items():
        table.add_row(label, f"{plain[key]:.4f}", f"{modular[key]:.4f}")
    for label, words in _modular_rows(summary).items():
        table.add_row(label, "", words)
    table.add_row("audit", *_audit_words(summary["audit"]))
    table.add_row("repair: planted trigger / clean accuracy", "", _repair_words(summary["audit"]))
    return table


def _modular_rows(summary: dict[str, Any]) -> dict[str, str]:
    modular, tree = summary["modular"], summary["cut_tree"]
    z = modular["newman_q_z"]
    verdicts = ", ".join(f"{count} {outcome}" for outcome, count in summary["claims"].items())
    return {
        "loss added by cutting the interface": f"{modular['causal_interface']:.4f}",
        "by the worst partial cut of it": f"{modular['causal_interface_worst']:.4f}",
        "modules (purity)": f"{modular['modules']} ({modular['purity']:.3f})",
        "Newman's Q (z against shuffles)": f"{modular['newman_q']:.3f}"
        + ("" if z is None else f" (z {z:.0f})"),
        "cut tree": f"{tree['units']} units, {tree['edges']} edges, {1e3 * tree['build_s']:.1f} ms",
        "claims": verdicts,
    }


def _audit_words(audited: dict[str, Any]) -> tuple[str, str]:
    guilty = f"sabotaged: module {audited['guilty_module']} guilty"
    return (
        "clean flagged" if audited["clean_flagged"] else "clean passed",
        guilty if audited["sabotaged_flagged"] else "sabotaged missed",
    )


def _repair_words(audited: dict[str, Any]) -> str:
    return (
        f"{audited['attack_before']:.3f} -> {audited['attack_after']:.3f} / "
        f"{audited['accuracy_before']:.3f} -> {audited['accuracy_after']:.3f}"
    )


def _gpt_table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"letters and sums, seed {summary['seed']}: {summary['seconds']} s")
    for column in ("nats per token", "plain twin", "modular twin", "without what joins modules"):
        table.add_column(column, justify="left" if column == "nats per token" else "right")
    for stream, plain in summary["plain"].items():
        table.add_row(
            stream,
            f"{plain:.3f}",
            f"{summary['modular'][stream]:.3f}",
            f"{summary['without_interface'][stream]:.3f}",
        )
    return table
