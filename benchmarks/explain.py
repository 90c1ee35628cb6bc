"""How well modules are described, where the truth is known.

    python -m benchmarks.explain --parts planted,functions \
        --json benchmarks/results/explain_planted.jsonl --page docs/design/planted.md
    python -m benchmarks.explain --parts planted --quick --json /tmp/explain.json

* `planted` decompiles transformers that were compiled from programs (see `explain_planted`).
* `functions` fits programs to functions in small MLPs (see `explain_functions`).
* `trained_zoo` looks at transformers that were trained on such tasks (see `explain_trained`).
* `trained` tests what is said of trained networks, with its controls (see `explain_claims`).
* `modular_vs_plain` asks what short descriptions explain (see `explain_twins`).
* `scorers` checks the scores of words (see `explain_scorers`).

Rows go to the file as they are made; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    explain_claims,
    explain_functions,
    explain_planted,
    explain_scorers,
    explain_trained,
    explain_twins,
)
from benchmarks.records import Job, Record, Row, is_kept, read_record, run_all
from benchmarks.tables import filled
from partwise.files import write_json


class Part(NamedTuple):
    """One study.

    Attributes:
        places: the setting and family of each row; True for a quick look.
        row: makes a row.
        summary: what a caller is told of all rows.
        tables: the mark of each table on a page, and what makes it.
        is_spread: whether the fields of the summary stand for themselves.
    """

    places: Callable[[bool], list[tuple[str, str]]]
    row: Callable[[tuple[str, str]], Row]
    summary: Callable[[list[Row]], Row | list[Row]]
    tables: dict[str, Callable[[Record], str]]
    is_spread: bool = False


PARTS = {
    "planted": Part(
        explain_planted.planted_places,
        explain_planted.planted_row,
        explain_planted.planted_summary,
        explain_planted.TABLES,
    ),
    "functions": Part(
        explain_functions.functions_places,
        explain_functions.functions_row,
        explain_functions.functions_summary,
        explain_functions.TABLES,
    ),
    "trained_zoo": Part(
        explain_trained.trained_places,
        explain_trained.trained_row,
        explain_trained.trained_summary,
        explain_trained.TABLES,
    ),
    "trained": Part(
        explain_claims.claims_places,
        explain_claims.claims_row,
        explain_claims.claims_summary,
        explain_claims.TABLES_OF,
        is_spread=True,
    ),
    "modular_vs_plain": Part(
        explain_twins.twins_places,
        explain_twins.twins_row,
        explain_twins.twins_summary,
        explain_twins.TABLES_OF,
    ),
    "scorers": Part(
        explain_scorers.scorers_places,
        explain_scorers.scorers_row,
        explain_scorers.scorers_summary,
        explain_scorers.TABLES_OF,
    ),
}
KEYS = ("part", "setting", "family")


def main() -> None:
    arguments = _arguments()
    jobs: list[Job] = [
        (part, *place)
        for part in arguments.parts.split(",")
        if part
        for place in PARTS[part].places(arguments.quick)
    ]
    run_all(jobs, work, arguments.json, KEYS, workers=arguments.workers)
    if not is_kept(arguments.json):
        summarise(arguments.json)
    if arguments.page:
        fill(arguments.page, arguments.json)


def work(job: Job) -> Row:
    """The row of a part, a setting and a family."""
    part, setting, family = job
    return {**dict(zip(KEYS, job, strict=True)), **PARTS[part].row((setting, family))}


def summarise(path: Path) -> None:
    """Puts a summary of each part in front of the rows, for a caller."""
    head, rows = read_record(path)
    found: Row = {}
    for part, own in by_part(rows).items():
        summary = PARTS[part].summary(own)
        found |= summary if PARTS[part].is_spread else {part: summary}
    write_json(path, {**found, **head, "rows": rows})


def by_part(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each part, in a steady order."""
    order = {
        (part, *place): i
        for part, each in PARTS.items()
        for i, place in enumerate(each.places(False))
    }
    rows = sorted(rows, key=lambda row: order[tuple(row[key] for key in KEYS)])
    return {part: own for part in PARTS if (own := [row for row in rows if row["part"] == part])}


def fill(page: Path, record: Path) -> None:
    """Fills those tables of a page that a record has the rows of."""
    text = page.read_text(encoding="utf-8")
    head, rows = read_record(record)
    for part, own in by_part(rows).items():
        for name, table in PARTS[part].tables.items():
            text = filled(text, name, table(Record(head, own)))
    page.write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="planted,functions", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a few networks of each kind")
    parser.add_argument("--json", type=Path, required=True, help="the record, or a caller's file")
    parser.add_argument("--page", type=Path, help="a page whose tables are filled from the record")
    parser.add_argument("--workers", type=int, help="processes at once; all cores")
    arguments = parser.parse_args()
    unknown = set(arguments.parts.split(",")) - {*PARTS, ""}
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    main()
