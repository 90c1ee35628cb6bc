"""`partwise cut`: the cut tree of a network's weights, and its modules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from partwise.cli.console import Output
from partwise.cli.opening import opened
from partwise.cli.options import (
    ActivationOption,
    ContextOption,
    JsonOption,
    LayersOption,
    NetworkArgument,
    QuietOption,
    ReadOption,
)
from partwise.errors import OutputError

if TYPE_CHECKING:
    from partwise.graph import UnitGraph
    from partwise.modules import Hierarchy, Significance
    from partwise.stages import Network

MOST_TOKENS = 24


def cut(
    path: NetworkArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write modules.json, or a directory for a pretrained model."),
    ] = None,
    in_force: Annotated[
        bool,
        typer.Option("--in-force", help="Take the modules that the training held apart."),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            help="likelihood, which also finds modules that are weakly apart, or newman_q, which "
            "finds those only that hold more capacity than Newman's Q expects. Without it, "
            "newman_q for language models and likelihood for the rest.",
        ),
    ] = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    text: ReadOption = None,
    context: ContextOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the cut tree of a network's weights and find its modules.

    Code in a pickle is never run. PyTorch itself loads exported programs: open only those that you
    trust.

    Example: partwise cut runs/demo/modular

    Example: partwise cut model.safetensors --activation tanh --out modules.json

    Example: partwise cut openai-community/gpt2 --text a.txt --out runs/gpt2
    """
    output, file, folder = Output(as_json, quiet), *_places(out)
    network = opened(
        output,
        path,
        layers=layers,
        activation=activation,
        texts=text or (),
        context=context,
        out=folder,
    )
    if network.origin:
        output.note(network.origin)
    graph, found = _found(output, network, in_force, method)
    if file is not None:
        from partwise.stages import write_modules

        write_modules(file, graph, found)
    _print(output, network, graph, found)


def _places(out: Path | None) -> tuple[Path | None, Path | None]:
    """The file and the directory that `--out` means; one of them at most.

    Raises:
        OutputError: if a file of that name exists.
    """
    is_file = out is not None and out.suffix == ".json"
    if out is not None and (out.is_file() or (is_file and out.exists())):
        raise OutputError(f"{out} exists already; choose another output or remove it first")
    return (out, None) if is_file else (None, out)


def _found(
    output: Output, network: Network, in_force: bool, method: str | None
) -> tuple[UnitGraph, Hierarchy]:
    from partwise.modules.hierarchy import method_named
    from partwise.stages import cut_run

    with output.bars() as bars:
        return cut_run(
            network,
            in_force,
            None if method is None else method_named(method),
            on_step=lambda done, total: bars.show("find modules", done, total),
        )


def _print(output: Output, network: Network, graph: UnitGraph, found: Hierarchy) -> None:
    rows = module_rows(graph, found)
    output.print(_table(graph, rows))
    output.print(significance_words(found))
    members = layer_words(network, found) if network.is_language_model else []
    for k, words in enumerate(members):
        output.print(f"module {k}: {escape(words)}", highlight=False)
    held = 1 if network.in_force is None else network.in_force.modules
    if held > found.modules:
        output.note(f"The training held {held} modules apart: --in-force takes those.")
    output.result({
        "origin": network.origin or None,
        "units": graph.n,
        "edges": graph.m,
        "modules": rows,
        "members": members or None,
        "newman_q": found.q,
        "significance": found.significance,
        "words": significance_words(found),
        "held_in_training": held,
    })  # fmt: skip


def module_rows(graph: UnitGraph, found: Hierarchy) -> list[dict[str, Any]]:
    """Size, share of the capacity and how much of it leaves, for each module."""
    from partwise.modules import module_masses

    mass = module_masses(graph, found.labels)
    rows = []
    for k in range(found.modules):
        volume = float(mass[k].sum())
        leaves = (volume - float(mass[k, k])) / volume if volume else 0.0
        size = int((found.labels == k).sum())
        rows.append({"module": k, "units": size, "capacity_share": volume, "leaves": leaves})
    return rows


def _table(graph: UnitGraph, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{graph.n} units, {graph.m} edges: {len(rows)} module(s)")
    for column in ("module", "units", "share of capacity", "of it leaves"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["module"]),
            str(row["units"]),
            f"{row['capacity_share']:.1%}",
            f"{row['leaves']:.2%}",
        )
    return table


def layer_words(network: Network, found: Hierarchy) -> list[str]:
    """A language model's modules: their tokens, and heads and neurons by layer."""
    from partwise.tasks import Text

    data = network.data if network.has_data else None
    words = data.vocabulary if isinstance(data, Text) else None
    modules = []
    for k in range(found.modules):
        own = found.labels == k
        parts = []
        for group in network.units.groups:
            count = int(own[group.start : group.stop].sum())
            if count and group.kind == "token" and words is not None:
                named = [words[i] for i in range(len(group)) if own[group.start + i]][:MOST_TOKENS]
                parts.append(f"{count} tokens ({' '.join(map(repr, named))})")
            elif count:
                parts.append(f"{count} in {group.name}")
        modules.append(", ".join(parts))
    return modules


def significance_words(found: Hierarchy) -> str:
    """Whether the modules are believed, and why."""
    tested = found.significance
    if tested is None:
        return "No split of this network earns its keep: it is one module."
    spread = "" if tested.z is None else f" ± {tested.null_std:.3f}"
    words = (
        f"Newman's Q {tested.q:.3f}; {tested.samples} shuffled networks reach "
        f"{tested.null_mean:.3f}{spread} ({_distance_words(tested)}p {tested.p_value:.3f})."
    )
    if found.modules == 1:
        why = "Not far enough beyond them" if tested.is_significant else "Not significant"
        return f"{words} {why}: it is one module."
    return words if tested.is_significant else words + " Not significant by the weights alone."


def _distance_words(tested: Significance) -> str:
    if tested.by == "likelihood":
        return "" if tested.beyond is None else f"by likelihood {tested.beyond:.1f} deviations, "
    return "" if tested.z is None else f"z {tested.z:.1f}, "
