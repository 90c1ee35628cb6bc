"""Write the tables of `docs/design/cut-tree.md` from the records of `benchmarks.cuttree`.

python -m benchmarks.cuttree_tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "design" / "cut-tree.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> None:
    """Replace what lies between the page's markers."""
    names = ("cuttree", "cuttree_sweep", "cuttree_gpt2", "cuttree_dense85m")
    parts = [table(record) for name in names if (record := load(name))]
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text("\n\n".join([before + BEGIN, *parts, END]) + after)


def load(name: str) -> dict[str, Any] | None:
    """The record `name`, or None when it was never measured."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def table(record: dict[str, Any]) -> str:
    """Seconds by graph and library; × is the ratio to partwise in the same run."""
    rows = {(row["graph"], row["library"]): row for row in record["rows"]}
    graphs = list(dict.fromkeys(graph for graph, _ in rows))
    libraries = list(dict.fromkeys(library for _, library in rows))
    lines = ["| " + " | ".join(["graph", "units", "edges", "MB", *libraries]) + " |"]
    lines.append("|" + "---|" * (4 + len(libraries)))
    for graph in graphs:
        ours = rows[graph, "partwise"]
        peak = ours["peak_mb"]
        cells = [graph, f"{ours['units']:,}", f"{ours['edges']:,}", f"{peak:.0f}"]
        cells += [cell(rows.get((graph, library))) for library in libraries]
        lines.append("| " + " | ".join(cells) + " |")
    head = f"Commit {record['commit'][:10]}, {record['machine']}, {record['date'][:10]}, seed 0"
    head += (
        f", limit {record['limit_s']:g} s, load average at the end {record['load_average'][0]:.1f}."
    )
    if "exponent" in record:
        head += f" Fitted exponent: time grows as edges^{record['exponent']:.2f}."
    return head + "\n\n" + "\n".join(lines)


def cell(row: dict[str, Any] | None) -> str:
    """Seconds and the ratio to partwise."""
    if row is None:
        return ""
    if row["seconds"] is None:
        return "not available"
    ratio = f" (×{row['ratio_to_partwise']:.3g})" if row["library"] != "partwise" else ""
    return f"{'> ' if row['timed_out'] else ''}{row['seconds']:.3g}{ratio}"


if __name__ == "__main__":
    main()
