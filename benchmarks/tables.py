"""Tables in the README, made from records, so that no number is typed.

python -m benchmarks.tables          # rewrites README.md
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROWS = {
    "held-out loss, nats": ("held_out_ce", "{:.3f}"),
    "held-out accuracy": ("accuracy", "{:.3f}"),
    "interface, share of capacity": ("interface_frac", "{:.4f}"),
    "wrong-side path mass": ("cross_frac", "{:.3f}"),
    "loss added by cutting the interface, nats": ("causal_interface", "{:z.4f}"),
    "modules found": ("modules", "{}"),
    "purity against the true halves": ("purity", "{:.3f}"),
    "Newman's Q, z against shuffles": ("newman_q_z", "{:.0f}"),
}


def demo_table(record: dict[str, Any]) -> str:
    """The demo's figures at each seed, as a Markdown table."""
    rows = record["rows"]
    seeds = ", ".join(str(row["seed"]) for row in rows)
    lines = [f"| {rows[0]['task']}, seeds {seeds} | plain twin | modular twin |", "|---|---|---|"]
    for label, (key, form) in ROWS.items():
        cells = [
            " / ".join(form.format(row[twin][key]) for row in rows) if key in rows[0][twin] else ""
            for twin in ("plain", "modular")
        ]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    audits = [row["audit"] for row in rows]
    before, after = (
        " / ".join(f"{audit[key]:.3f}" for audit in audits)
        for key in ("attack_before", "attack_after")
    )
    flagged = sum(audit["sabotaged_flagged"] for audit in audits)
    wrongly = sum(audit["clean_flagged"] for audit in audits)
    lines.append(f"| sabotaged siblings flagged, clean ones flagged | | {flagged}, {wrongly} |")
    lines.append(f"| attack success before repair | | {before} |")
    lines.append(f"| attack success after repair | | {after} |")
    return "\n".join(lines)


def filled(text: str, name: str, table: str) -> str:
    """`text` with what stands between the marks of this name replaced by `table`."""
    marks = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
    return re.sub(marks, lambda match: match[1] + table + match[2], text, flags=re.DOTALL)


def readme() -> str:
    """The README with its tables made anew from the records."""
    record = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return filled(text, "demo-table", demo_table(record))


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
