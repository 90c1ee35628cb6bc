"""`partwise runs`: the runs under a directory, or several of them side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from partwise.cli.console import Output
from partwise.cli.figures import held_out_loss
from partwise.cli.opening import nearest, refuse_no_run
from partwise.cli.options import JsonOption, QuietOption
from partwise.errors import DataError, PartwiseError

STAGES = {
    "cut": "modules.json",
    "explain": "descriptions.jsonl",
    "audit": "audit.json",
    "report": "report.html",
    "eval": "capability.json",
}
LEFT = ("run", "learns", "model", "penalty")
FIGURES = ("steps", "loss", "accuracy", "modules", "interface", "stages", "audit", "claims")
MARKS = ({"recipe.toml", "manifest.json"}, {"gpt.json"})
"""Files that make a directory a run; the latter in those of earlier versions."""


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A directory to look under (runs, if left out), or the runs to compare.",
            metavar="DIR | RUN RUN...",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the runs under a directory, or compare runs: recipes and figures side by side.

    Example: partwise runs

    Example: partwise runs runs/plain runs/modular
    """
    output, places = Output(as_json, quiet), paths or [Path("runs")]
    if len(places) == 1:
        _list(output, places[0])
    else:
        _compare(output, places)


def _list(output: Output, place: Path) -> None:
    found = found_runs(place)
    with output.waiting("read the runs"):
        rows = [summary(path) for path in found]
    table = Table(title=escape(f"Runs under {place}"), padding=(0, 1, 0, 0))
    for column in ("run", "learns", "model", "penalty", "steps", "loss", "modules", "interface"):
        justify: Any = "left" if column in LEFT else "right"
        table.add_column(column, justify=justify, min_width=len(column), overflow="fold")
    table.add_column("done", overflow="fold")
    for row in rows:
        name = os.path.relpath(row["run"], place)
        table.add_row(*map(escape, _cells(place.name if name == "." else name, row)))
    output.print(table)
    output.result({"runs": rows})


def _cells(name: str, row: Mapping[str, Any]) -> list[str]:
    if "damaged" in row:
        return [name, "damaged: " + row["damaged"], *[""] * 7]
    return [
        name,
        row["learns"],
        row["model"],
        row["penalty"],
        f"{row['steps']}/{row['of']}",
        _number(row["loss"]),
        _number(row["modules"]),
        _number(row["interface"]),
        ", ".join(row["stages"]),
    ]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


def found_runs(place: Path) -> list[Path]:
    """The runs under a directory, itself among them, in the order of their names.

    Raises:
        DataError: if there is no such directory, or no run under it.
    """
    if not place.is_dir():
        way_out = nearest(place) or "partwise train makes runs"
        raise DataError(f"there is no directory {place}; {way_out}")
    found = []
    for folder, inner, files in os.walk(place):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if any(marks <= set(files) for marks in MARKS):
            found.append(Path(folder))
            inner[:] = []
    if not found:
        raise DataError(f"there is no run under {place}; partwise train makes one")
    return found


def summary(path: Path) -> dict[str, Any]:
    """What a run's files say of it; why not, where they are damaged."""
    try:
        return _summary(path)
    except PartwiseError as error:
        return {"run": str(path), "damaged": str(error)}


def _summary(path: Path) -> dict[str, Any]:
    from partwise.train.run_files import read_rows, read_run_recipe

    recipe, rows = read_run_recipe(path), read_rows(path)
    row: Mapping[str, Any] = rows[-1] if rows else {}
    return {
        "run": str(path),
        "learns": recipe.name,
        "kind": "text" if recipe.is_text else "table",
        "model": recipe.model.kind,
        "penalty": recipe.penalty.kind,
        "steps": row.get("step", 0),
        "of": recipe.training.steps,
        "loss": held_out_loss(row),
        "accuracy": row.get("claims_accuracy"),
        "modules": row.get("modules"),
        "interface": row.get("interface_frac"),
        "stages": [name for name, file in STAGES.items() if (path / file).is_file()],
        "audit": _outcome(path / STAGES["audit"]),
        "claims": _claims(path / STAGES["explain"]),
    }


def _outcome(path: Path) -> str | None:
    """What the audit said; None where there is none, or an older version wrote it."""
    if not path.is_file():
        return None
    try:
        outcome = json.loads(path.read_text(encoding="utf-8")).get("outcome")
    except ValueError:
        return None
    return outcome if isinstance(outcome, str) else None


def _claims(path: Path) -> str | None:
    """How many claims were tested, and how many hold."""
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        verdicts = [each for line in lines for each in json.loads(line)["verdicts"]]
        held = sum(each["outcome"] == "supported" for each in verdicts)
    except (ValueError, KeyError, TypeError):
        return None
    return f"{held} of {len(verdicts)} hold"


def _compare(output: Output, places: Sequence[Path]) -> None:
    for place in places:
        refuse_no_run(place)
    with output.waiting("read the runs"):
        rows = [_summary(place) for place in places]
        recipes = recipe_differences(places)
    known = {name: [row[name] for row in rows] for name in FIGURES}
    figures = {name: values for name, values in known.items() if any(map(_figure, values))}
    table = Table(title="Recipes and figures")
    for column in ("", *map(str, places)):
        table.add_column(escape(column), overflow="fold")
    for key, values in recipes.items():
        table.add_row(escape(key), *(escape(_setting(value)) for value in values))
    table.add_section()
    for name, values in figures.items():
        table.add_row(name, *(escape(_figure(value)) for value in values))
    output.print(table)
    if not recipes:
        output.note("The recipes are the same.")
    output.result({"runs": rows, "recipe_differences": recipes})


def recipe_differences(places: Sequence[Path]) -> dict[str, list[Any]]:
    """Settings that differ -> their values in each run; None where a recipe has no such setting."""
    from partwise.train.recipe_files import recipe_fields
    from partwise.train.run_files import read_run_recipe

    known = [_flat(recipe_fields(read_run_recipe(place))) for place in places]
    keys = dict.fromkeys(key for each in known for key in each)
    values = {key: [each.get(key) for each in known] for key in keys}
    return {key: row for key, row in values.items() if len(set(map(_setting, row))) > 1}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _figure(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else _number(value)
