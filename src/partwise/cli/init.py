"""`partwise init`: a commented recipe that trains as it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from partwise.cli.console import Output
from partwise.cli.options import JsonOption, QuietOption, TextOption
from partwise.errors import DataError, OutputError

MOST_CLASSES = 20
"""Different whole numbers of a column that still count as classes."""
TABLES = (".csv", ".npz", ".parquet")

HEAD = """\
# A recipe of Partwise. Train by it:
#
#     partwise train {file} --out runs/mine
#
# Lines that begin with '#' are notes, or settings that you may switch on.
# Any setting can be changed for one run: --set steps=500

seed = 0              # of the weights, the batches and the masked steps
"""
TABLE_DATA = """
[data]                # what is learnt: exactly one of task, file, factory
{source}
"""
TASK = """\
task = "digits-pair"  # comes with Partwise: two digits at once, one answer for each
# file = "rows.csv"   # your own rows: .csv or .parquet, or .npz with arrays x and y
# targets = ["price"] # the columns of the file that are to be predicted
# target_kind = "classes"      # or "binary", or "value" for numbers
# factory = "my_module:make"   # a function of yours that gives a task; its code is run"""
TABLE_REST = """
[model]
kind = "mlp"          # or "conv" for pictures, or "factory" for a network of your own
hidden = [64, 64]     # units of each hidden layer

[training]
steps = 4000
batch = 128
lr = 0.002
weight_decay = 0.3    # the highest that costs no accuracy lets modules show best
log_every = 50        # steps between lines of metrics.jsonl
checkpoint_every = 500

[penalty]             # what makes the network come apart; without this part it trains as usual
budget = 0.05         # how much more held-out loss the modules may cost: 0.05 is 5%
# reference = "0.37"  # the loss that this is measured against; the run's own start without it
"""
TEXT = """
[data]                # each text is a stream
texts = {texts}
# bpe = 4096          # size of a BPE vocabulary; a token per character without it

[model]
kind = "gpt"          # or "pretrained", with source = a directory or a hub name
context = 32          # tokens per sequence
width = 64            # residual channels, shared by the heads
heads = 4
layers = 2

[training]
steps = 3000
batch = 32            # sequences per step
lr = 0.003
log_every = 500       # steps between lines of metrics.jsonl
checkpoint_every = 500

[penalty]             # what makes the model come apart
kind = "share"        # or "none", for the plain twin
# strength = 1.0      # how hard it presses; 0 for not at all
# budget = 0.02       # presses less where the loss is more than 2% above the reference's
# reference = "runs/plain"     # the plain twin's run; needs budget
"""


def init(
    file: Annotated[Path, typer.Argument(help="The recipe to write.", metavar="FILE")] = Path(
        "recipe.toml"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="Rows to learn: .csv, .parquet, or .npz with arrays x and y."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A column of --data to predict; may be given several times."),
    ] = None,
    text: TextOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a commented recipe, for rows of numbers or for text, that trains as it is.

    Example: partwise init

    Example: partwise init mine.toml --data rows.csv --target price

    Example: partwise init gpt.toml --text a.txt --text b.txt
    """
    output = Output(as_json, quiet)
    if file.exists():
        raise OutputError(f"{file} exists already; choose another name or remove it first")
    if text and (data or target):
        raise DataError("a recipe learns rows or text; give --data or --text")
    body = _text_body(text) if text else _table_body(data, target or [])
    _write(file, HEAD.format(file=file) + body)
    output.print(f"{escape(str(file))}: train by it with partwise train {escape(str(file))}")
    output.result({"file": file})


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}") from error


def _text_body(texts: list[str]) -> str:
    return TEXT.format(texts=json.dumps(texts, ensure_ascii=False))


def _table_body(data: Path | None, targets: list[str]) -> str:
    if data is None:
        if targets:
            raise DataError("--target names a column of --data; give the file as well")
        return TABLE_DATA.format(source=TASK) + TABLE_REST
    _refuse_wrong_table(data)
    columns = _columns(data)
    _refuse_wrong_targets(data, targets, columns)
    kind = target_kind([columns[name] for name in targets if name in columns])
    lines = [f"file = {json.dumps(str(data), ensure_ascii=False)}"]
    if targets:
        lines.append(f"targets = {json.dumps(targets, ensure_ascii=False)}")
    lines.append(f'target_kind = "{kind}"  # one of "classes", "binary", "value"')
    return TABLE_DATA.format(source="\n".join(lines)) + TABLE_REST


def _refuse_wrong_table(data: Path) -> None:
    if not data.is_file():
        raise DataError(f"there is no file {data}; give a table, {', '.join(TABLES)}")
    if data.suffix not in TABLES:
        raise DataError(f"{data} is no table that can be read; give {', '.join(TABLES)}")


def _refuse_wrong_targets(data: Path, targets: list[str], columns: dict[str, list[str]]) -> None:
    known = f"; its columns are {', '.join(columns)}" if columns else ""
    if not targets and data.suffix != ".npz":
        raise DataError(f"say with --target which column of {data} is to be predicted{known}")
    strange = [name for name in targets if columns and name not in columns]
    if strange:
        raise DataError(f"{data} has no column '{strange[0]}'{known}")


def _columns(data: Path) -> dict[str, list[str]]:
    """Name -> cells of a .csv file; nothing of other tables.

    Raises:
        DataError: if it is damaged.
    """
    if data.suffix != ".csv":
        return {}
    try:
        with data.open(newline="", encoding="utf-8") as file:
            names, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{data} is no intact .csv file ({error})") from error
    return {name: [row[k] for row in rows if k < len(row)] for k, name in enumerate(names)}


def target_kind(columns: list[list[str]]) -> str:
    """What columns hold: numbers to be predicted as such, or classes.

    >>> target_kind([["0.5", "1.25"]]), target_kind([["0", "1"]]), target_kind([["a", "b"]])
    ('value', 'classes', 'classes')
    """
    return "value" if columns and all(map(_are_values, columns)) else "classes"


def _are_values(cells: list[str]) -> bool:
    try:
        numbers = {float(cell) for cell in cells}
    except ValueError:
        return False
    return len(numbers) > MOST_CLASSES or any(number != int(number) for number in numbers)
