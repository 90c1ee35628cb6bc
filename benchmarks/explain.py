"""How well modules are described, where the truth is known.

    python -m benchmarks.explain --parts planted --json benchmarks/results/explain_planted.jsonl
    python -m benchmarks.explain --parts planted --quick --json /tmp/explain.json
    python -m benchmarks.explain --parts "" --json benchmarks/results/explain_planted.jsonl \
        --page docs/design/planted.md

`planted` decompiles transformers that were compiled from programs (see `explain_planted`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.explain_planted import TABLES, planted_rows, planted_summary
from benchmarks.records import Row, is_kept, read_record, rounded, told, write_record
from benchmarks.tables import filled
from partwise.files import write_json

PARTS: dict[str, Callable[[bool], list[Row]]] = {"planted": planted_rows}
"""What each part measures, as rows; True for a quick look."""
SUMMARIES: dict[str, Callable[[list[Row]], Row]] = {"planted": planted_summary}


def main() -> None:
    arguments = _arguments()
    parts = [part for part in arguments.parts.split(",") if part]
    rows = {part: PARTS[part](arguments.quick) for part in parts}
    if parts:
        write(arguments.json, rows)
    if arguments.page:
        fill(arguments.page, arguments.json)


def write(path: Path, rows: dict[str, list[Row]]) -> None:
    """A record of all rows; or for a caller, an object with a summary of each part."""
    if is_kept(path):
        write_record(path, [{"part": part, **row} for part, each in rows.items() for row in each])
        return
    summaries = {part: SUMMARIES[part](each) for part, each in rows.items()}
    write_json(path, rounded({**summaries, "rows": rows}))
    for part, summary in summaries.items():
        print(part, told({k: v for k, v in summary.items() if not isinstance(v, dict)}))


def fill(page: Path, record: Path) -> None:
    """Fills the tables of a page from a record."""
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        text = filled(text, name, table(read_record(record)))
    page.write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a few networks of each kind")
    parser.add_argument("--json", type=Path, required=True, help="the record, or a caller's file")
    parser.add_argument("--page", type=Path, help="a page whose tables are filled from the record")
    arguments = parser.parse_args()
    unknown = set(arguments.parts.split(",")) - {*PARTS, ""}
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    main()
