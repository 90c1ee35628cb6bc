"""Whether scores of words fall when labels are missing and when there are too many.

Oikarinen et al. (2025), "Evaluating neuron explanations: a unified framework with sanity checks":
a score that does not fall in either check says little of an explanation. A perfect judge loses
half of the samples that suffer, or names as many others besides; labels are as rare as in modules.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Record, Row
from partwise.explain.scoring import balanced, correlation, f1

SCORES: dict[str, Callable[..., NDArray[np.float64]]] = {
    "simulation": correlation,
    "detection": f1,
    "hit rates": balanced,
}
RARE = (0.01, 0.05, 0.2)
SAMPLES, TRIALS = 2000, 50
FALLS = 0.05
"""A score must fall by this much to have noticed."""


def scorers_places(is_quick: bool) -> list[tuple[str, str]]:
    """A row for each score and rarity."""
    return [(f"{rare:g} suffer", name) for name in SCORES for rare in RARE]


def scorers_row(place: tuple[str, str]) -> Row:
    """Mean scores of a perfect judge, and of one in each check."""
    setting, name = place
    rng, rare = np.random.default_rng(0), float(setting.split()[0])
    weights, found = np.ones((1, SAMPLES)), []
    for _ in range(TRIALS):
        true = (rng.random(SAMPLES) < rare).astype(float)
        missing = true * (rng.random(SAMPLES) < 0.5)
        extra = np.maximum(true, rng.random(SAMPLES) < rare)
        found.append([SCORES[name](weights, each, true)[0] for each in (true, missing, extra)])
    perfect, missing, extra = np.mean(found, 0).tolist()
    return {
        "perfect": perfect,
        "missing": missing,
        "extra": extra,
        "passes": bool(max(missing, extra) < perfect - FALLS),
    }


def scorers_summary(rows: list[Row]) -> Row:
    """Which scores pass both checks at every rarity."""
    return {
        name: all(row["passes"] for row in rows if row["family"] == name)
        for name in dict.fromkeys(row["family"] for row in rows)
    }


def scorers_table(record: Record) -> str:
    """A row for each score and rarity, as a Markdown table."""
    lines = ["| score | suffer | perfect | missing labels | extra labels | passes |"]
    lines.append("|" + " --- |" * 6)
    lines += [
        f"| {row['family']} | {row['setting'].split()[0]} | {row['perfect']:.2f} "
        f"| {row['missing']:.2f} | {row['extra']:.2f} | {'yes' if row['passes'] else 'no'} |"
        for row in record.rows
    ]
    return "\n".join(lines)


TABLES_OF = {"scorers-table": scorers_table}
