"""Tables in the README and in docs, made from records, so that no number is typed.

python -m benchmarks.tables          # rewrites the files that TABLES names
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from benchmarks.ablate import rules_table
from benchmarks.audit_data import DESIGN
from benchmarks.blind_reader import reader_table
from benchmarks.model_zoo import zoo_table
from benchmarks.records import RESULTS, Record, Row, read_record
from partwise.loss.budget_finder import COACTIVITY

ROOT = Path(__file__).parent.parent
ROWS = {
    "held-out loss, nats": ("held_out_ce", "{:.3f}"),
    "held-out accuracy": ("accuracy", "{:.3f}"),
    "interface of its two parts, share of capacity": ("interface_frac", "{:.4f}"),
    "path mass from one digit to the other's answer": ("cross_frac", "{:.3f}"),
    "loss added by cutting the interface, nats": ("causal_interface", "{:z.4f}"),
    "the same, by random parts of it: 95th percentile": ("causal_interface_random_95", "{:z.4f}"),
    "the same, by the worst part that a search finds": ("causal_interface_worst", "{:z.4f}"),
    "modules found": ("modules", "{}"),
    "purity against the true halves": ("purity", "{:.3f}"),
    "Newman's Q, z against shuffles": ("newman_q_z", "{:.0f}"),
}


OUTCOMES = ("supported", "refuted", "undecided")


def demo_table(record: Record) -> str:
    """The demo's figures at each seed, as a Markdown table."""
    rows = record.rows
    seeds = ", ".join(str(row["seed"]) for row in rows)
    lines = [f"| {rows[0]['task']}, seeds {seeds} | plain twin | modular twin |", "|---|---|---|"]
    for label, (key, form) in ROWS.items():
        if not any(key in rows[0][twin] for twin in ("plain", "modular")):
            continue  # a record from before there was this figure
        cells = [
            " / ".join(_shown(form, row[twin][key]) for row in rows) if key in rows[0][twin] else ""
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
    claims = " / ".join("-".join(str(row["claims"][each]) for each in OUTCOMES) for row in rows)
    kept = " / ".join(
        f"{audit['accuracy_before']:.3f} to {audit['accuracy_after']:.3f}" for audit in audits
    )
    lines.append(f"| claims {', '.join(OUTCOMES)} | | {claims} |")
    lines.append(f"| sabotaged siblings flagged, clean ones flagged | | {flagged}, {wrongly} |")
    lines.append(f"| the planted trigger's success, before repair | | {before} |")
    lines.append(f"| the planted trigger's success, after repair | | {after} |")
    lines.append(f"| the sibling's accuracy, before and after repair | | {kept} |")
    return "\n".join(lines)


def demo_summary_table(record: Record) -> str:
    """What the demo shows, for somebody who knows none of its words, as a Markdown table."""
    rows, tested = record.rows, OUTCOMES
    twins = ("plain", "modular")
    right = [mean(row[twin]["accuracy"] for row in rows) for twin in twins]
    wrong = [mean(row[twin]["cross_frac"] for row in rows) for twin in twins]
    held = sum(row["claims"]["supported"] for row in rows)
    claims = sum(row["claims"][each] for row in rows for each in tested)
    audits = [row["audit"] for row in rows]
    before, after = (mean(a[key] for a in audits) for key in ("attack_before", "attack_after"))
    caught = sum(audit["sabotaged_flagged"] for audit in audits)
    accused = sum(audit["clean_flagged"] for audit in audits)
    found = sorted({row["modular"]["modules"] for row in rows})
    return "\n".join([
        f"| {len(rows)} trainings of each | usual training | with Partwise |",
        "|---|---|---|",
        f"| digits read correctly | {right[0]:.0%} | {right[1]:.0%} |",
        f"| how much of an answer comes from the other digit's pixels | {wrong[0]:.0%} "
        f"| {wrong[1]:.1%} |",
        f"| parts found, where two are true | | {' or '.join(map(str, found))} |",
        f"| tested sentences that hold | | {held} of {claims} |",
        f"| sabotaged networks caught | | {caught} of {len(audits)} |",
        f"| honest networks accused | | {accused} of {len(audits)} |",
        f"| the saboteur's success, before and after repair | | {before:.0%}, then {after:.0%} |",
    ])  # fmt: skip


def _shown(form: str, value: float | None) -> str:
    return "none" if value is None else form.format(value)


def coverage_table(record: Record) -> str:
    """How often the claims' intervals hold, by kind of claim, as a Markdown table."""
    (found,) = record.rows
    lines = ["| kind of claim | share of 95% intervals that hold |", "|---|---|"]
    lines += [f"| {kind} | {share:.3f} |" for kind, share in found["coverage"].items()]
    lines += [f"| all, {n} rows | {share:.3f} |" for n, share in found["coverage_by_rows"].items()]
    decided = f"{found['decided']} of {found['claims']}"
    lines.append(f"| decided verdicts that the population contradicts ({decided} were decided) | ")
    lines[-1] += f"{found['contradicted_frac']:.3f} |"
    return "\n".join(lines)


def filled(text: str, name: str, table: str) -> str:
    """`text` with what stands between the marks of this name replaced by `table`."""
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    new = re.compile(marks, re.DOTALL).subn(lambda match: f"{match[1]}{table}\n{match[2]}", text)
    assert new[1] == 1, f"no place for {name}"
    return new[0]


def overhead_table(record: Record) -> str:
    """What the share penalty costs at each size of network, as a Markdown table."""
    lines = [
        "| parameters | plain step | penalty | masks | silence | refresh | overhead | "
        "penalty's all-reduce | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in record.rows:
        table_mib = row["rows"] * row["modules"] * 4 / 2**20
        name = f"{row['parameters'] / 1e6:.0f}M"
        if row["count"]:
            lines.append(f"| {name}, counted | | | | | | | {table_mib:.1f} MiB | |")
            continue
        lines.append(
            f"| {name} | {row['step_s']:.1f} s | {row['penalty_frac']:.1%} "
            f"| {row['masked_frac']:+.1%} | {row['silenced_frac']:+.1%} | {row['refresh_s']:.0f} s "
            f"| **{row['overhead_frac']:.1%}** | {table_mib:.1f} MiB | {row['peak_gib']:.1f} GiB |"
        )
    return "\n".join(lines)


def step_table(record: Record) -> str:
    """What the penalties on plain networks add to a step, as a Markdown table."""
    lines = [
        "| | plain step | overhead | press / split / release |",
        "| --- | --- | --- | --- |",
    ]
    for row in record.rows:
        kind = "`BudgetedPenalty`" if "budget" in row["task"] else "`CutTreePenalty`"
        task = row["task"].replace(", within a budget", "")
        phases = [f"{share:.0%}" for share in row.get("phase_overhead_fracs", [])[1:]]
        lines.append(
            f"| {kind}, {task} | {1000 * row['plain_step_s']:.3g} ms "
            f"| **{row['overhead_frac']:.1%}** | {' / '.join(phases)} |"
        )
    return "\n".join(lines)


def idle_table(record: Record) -> str:
    """What interfaces carry: all of them, random parts and the worst, as a Markdown table."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in record.rows:
        if row["modules"] > 1:
            groups.setdefault((row["network"], row["task"]), []).append(row)
    losses = ("", "_random", "_random_95", "_worst")
    lines = [
        "| network | task | seeds | wires | joint | random, mean | random, 95% | worst |",
        "|" + " --- |" * 8,
    ]
    for (network, task), rows in groups.items():
        wires = " / ".join(f"{row['wires']:,}" for row in rows)
        cells = [
            " / ".join(f"{row[f'causal_interface{name}']:z.4f}" for row in rows) for name in losses
        ]
        seeds = ", ".join(str(row["seed"]) for row in rows)
        lines.append(f"| {network} | {task} | {seeds} | {wires} | {' | '.join(cells)} |")
    return "\n".join(lines)


def first_partitions_table(record: Record) -> str:
    """Networks whose first partition would have outputs on the wrong side, as a Markdown table."""
    looks: dict[int, list[list[Row]]] = {}
    for row in record.rows:
        own: dict[int, list[Row]] = {}
        for look in row["looks"]:
            own.setdefault(look["step"], []).append(look)
        for step, views in own.items():
            looks.setdefault(step, []).append(views)
    weights = [view["coactivity"] for view in next(iter(looks.values()))[0]]
    titles = " | ".join(f"co-activity {weight:g}" for weight in weights)
    lines = [
        f"| step, {len(record.rows)} networks | {titles} "
        f"| of {' and '.join(map(str, COACTIVITY))}, what masking costs least |",
        "|" + " --- |" * (len(weights) + 2),
    ]
    for step, networks in looks.items():
        wrong = [sum(views[i]["wrong"] > 0 for views in networks) for i in range(len(weights))]
        least = 0
        for views in networks:
            tried = [view for view in views if view["coactivity"] in COACTIVITY]
            least += min(tried, key=lambda view: view["masked_loss"])["wrong"] > 0
        lines.append(f"| {step:,} | {' | '.join(map(str, wrong))} | {least} |")
    return "\n".join(lines)


def audit_table(record: Record) -> str:
    """What the audit said of triggered and of clean networks, by data set, as a Markdown table."""
    titles = (
        "data", "designed on", "triggered flagged", "where a clean twin resists", "clean flagged",
        "always one answer flagged", "triggered not judged", "clean not judged",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for name in dict.fromkeys(row["data"] for row in record.rows):
        own = [row for row in record.rows if row["data"] == name]
        lines.append(_audited(name, "yes" if name in DESIGN else "no", own))
    fresh = [row for row in record.rows if row["data"] not in DESIGN]
    lines.append(_audited("sets not designed on", "no", fresh))
    lines.append(_audited("**all**", "", record.rows))
    return "\n".join(lines)


def _audited(name: str, designed: str, rows: list[Row]) -> str:
    triggered, clean, majority = (
        [row for row in rows if row["kind"] == kind] for kind in ("triggered", "clean", "majority")
    )
    resisted = [row for row in triggered if row["twin_attack"] <= 0.5]
    flagged = [_with_outcome(own, "flagged") for own in (triggered, resisted, clean, majority)]
    unjudged = [_with_outcome(own, "cannot be judged") for own in (triggered, clean)]
    return f"| {' | '.join([name, designed, *flagged, *unjudged])} |"


def _with_outcome(rows: list[Row], outcome: str) -> str:
    return f"{sum(row['outcome'] == outcome for row in rows)} of {len(rows)}"


def stability_table(record: Record) -> str:
    """Agreement over seeds, planted blocks and networks without structure, as a Markdown table."""
    of: dict[str, list[Row]] = {}
    for row in record.rows:
        of.setdefault(row["part"], []).append(row)
    names = ("likelihood", "newman_q", "leiden")
    least = [f"{min(r[f'agreement_{n}'] for r in of['stability']):.3f}" for n in names[:2]]
    found = [f"{mean(r[f'ari_{name}'] for r in of['planted']):.3f}" for name in names]
    split = [str(sum(r[f"modules_{n}"] > 1 for r in of["structureless"])) for n in names]
    times = " and ".join(f"{row['seconds']:.1f}" for row in of["large"])
    return "\n".join([
        "| | likelihood | newman_q | Leiden |",
        "| --- | --- | --- | --- |",
        f"| least agreement over 20 seeds | {' | '.join(least)} | |",
        f"| planted blocks, mean ARI | {' | '.join(found)} |",
        f"| structureless networks split | {' | '.join(split)} |",
        f"| {of['large'][0]['network']}, untrained | {times} s | | |",
    ])  # fmt: skip


def cut_tree_table(record: Record) -> str:
    """Seconds by graph and library; × is the ratio to partwise in the same run."""
    rows = {(row["graph"], row["library"]): row for row in record.rows}
    graphs = list(dict.fromkeys(graph for graph, _ in rows))
    libraries = list(dict.fromkeys(library for _, library in rows))
    lines = ["| " + " | ".join(["graph", "units", "edges", "MB", *libraries]) + " |"]
    lines.append("|" + "---|" * (4 + len(libraries)))
    for graph in graphs:
        ours = rows[graph, "partwise"]
        peak = ours["peak_mb"]
        cells = [graph, f"{ours['units']:,}", f"{ours['edges']:,}", f"{peak:.0f}"]
        cells += [_timed(rows.get((graph, library))) for library in libraries]
        lines.append("| " + " | ".join(cells) + " |")
    made, on = record.head, record.head["machine"]
    head = (
        f"Commit {on['commit']}, {on['processor']}, {on['cores']} cores, {made['date']}, seed 0, "
    )
    head += f"limit {made['limit_s']:g} s, load average at the end {made['load_average'][0]:.1f}."
    if "exponent" in made:
        head += f" Fitted exponent: time grows as edges^{made['exponent']:.2f}."
    return head + "\n\n" + "\n".join(lines)


def _timed(row: Row | None) -> str:
    """Seconds and the ratio to partwise."""
    if row is None:
        return ""
    if row["seconds"] is None:
        return "not available"
    ratio = f" (×{row['ratio_to_partwise']:.3g})" if row["library"] != "partwise" else ""
    return f"{'> ' if row['timed_out'] else ''}{row['seconds']:.3g}{ratio}"


def documents() -> dict[Path, str]:
    """Files with tables, made anew from the records."""
    made: dict[Path, str] = {}
    for file, name, record, table in TABLES:
        text = made.get(ROOT / file) or (ROOT / file).read_text(encoding="utf-8")
        made[ROOT / file] = filled(text, name, table(read_record(RESULTS / record)))
    return made


NOTES = "docs/log/2026-11-28-penalty-notes.md"
TABLES: list[tuple[str, str, str, Callable[[Record], str]]] = [
    *(
        ("docs/design/cut-tree.md", f"{name}-table", f"{name}.jsonl", cut_tree_table)
        for name in ("cuttree", "cuttree_sweep", "cuttree_gpt2", "cuttree_dense85m")
    ),
    ("README.md", "demo-table", "demo.jsonl", demo_table),
    ("README.md", "summary-table", "demo.jsonl", demo_summary_table),
    ("docs/index.md", "summary-table", "demo.jsonl", demo_summary_table),
    ("docs/design/words.md", "reader-table", "blind_reader.jsonl", reader_table),
    ("docs/design/verdicts.md", "coverage-table", "coverage.jsonl", coverage_table),
    ("docs/design/audit.md", "audit-table", "audit_basics.jsonl", audit_table),
    ("docs/design/modules.md", "stability-table", "module_stability.jsonl", stability_table),
    ("docs/design/scale.md", "overhead-table", "gpt_overhead.jsonl", overhead_table),
    ("docs/design/reading.md", "zoo-table", "model_zoo.jsonl", zoo_table),
    ("docs/design/idle.md", "idle-table", "idle_interfaces.jsonl", idle_table),
    ("docs/design/penalty.md", "step-table", "penalty_overhead.jsonl", step_table),
    ("docs/design/penalty-rules.md", "rules-table", "ablate.jsonl", rules_table),
    (NOTES, "first-table", "first_partitions.jsonl", first_partitions_table),
]
"""A file, the mark of its table, the record, and what makes the one from the other."""


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
