"""A language model reads the modules of a GPT and of its plain twin; another one judges the words.

The networks are those of `partwise demo --gpt`. The writer saw nothing but the prompts that
`partwise explain --llm` sends, in mixed order, and did not know which network a part is from. The
judge saw nothing but name, sentence and 100 held-out tokens in their contexts (`--judge`). The
record holds replies, ratings and what each module's removal does to these tokens.
"""

from __future__ import annotations

import numpy as np

from benchmarks.records import Record, Row


def reader_table(record: Record) -> str:
    """What was said of each part, what held, and what a judge made of it, in Markdown."""
    lines = [
        "| network | part | what the model called it | claims, supported | own words | other's |"
    ]
    lines.append("|" + " --- |" * 6)
    for row in record.rows:
        judged = ["", ""]
        if "ratings" in row:
            words = [row, *_others(record, row)]
            judged = [f"{_correlation(each['ratings'], row['effects']):z.2f}" for each in words]
        claims = f"{row['claims']}, {row['supported']}"
        cells = [row["network"], row["subject"], row["reply"]["name"], claims, *judged]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _others(record: Record, row: Row) -> list[Row]:
    """The other module of the same network."""
    return [
        each
        for each in record.rows
        if "ratings" in each and each["network"] == row["network"] and each is not row
    ]


def _correlation(ratings: list[int], effects: list[float]) -> float:
    return float(np.corrcoef(ratings, effects)[0, 1])
