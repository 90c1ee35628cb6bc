"""Claims with their verdicts, ready to be shown; refuted ones like all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partwise.explain import Verdict
from partwise.report.words import fixed, percent

WIDTH, HEIGHT, PAD = 160.0, 22.0, 8.0
SHARES = ("of samples", "of tokens", "of attention")
"""Units of measures that are shares."""
GLYPHS = {"supported": "✓", "refuted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class IntervalPicture:
    """An interval against its bound.

    Attributes:
        low, high, effect, bound: horizontal positions.
        good_from, good_to: the side of the bound on which the claim holds.
        chance: horizontal position of what chance gives.
    """

    low: float
    high: float
    effect: float
    bound: float
    good_from: float
    good_to: float
    chance: float
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class ClaimRow:
    """One claim.

    Attributes:
        sentence: what was tested, in words.
        outcome: supported, refuted or undecided.
        glyph: the outcome as a sign.
        condition: what the claim needed, in numbers.
        measured: what was found, in numbers.
        chance: what it comes to by chance, in numbers.
        rows: independent held-out rows it was tested on, or documents.
        note: why it is undecided, and how many rows would decide it.
        picture: the interval against the bound, or None if nothing was measured.
    """

    sentence: str
    outcome: str
    glyph: str
    condition: str
    measured: str
    chance: str
    rows: int
    note: str
    picture: IntervalPicture | None


def claim_rows(verdicts: Sequence[Verdict], source: str = "row") -> list[ClaimRow]:
    """The rows of a table of claims; `source` is what held-out data consist of."""
    return [_row(verdict, source) for verdict in verdicts]


def _row(verdict: Verdict, source: str) -> ClaimRow:
    show = percent if verdict.unit in SHARES else fixed
    unit = f" {verdict.unit}".rstrip()
    sign = "≤" if verdict.direction == "at most" else "≥"
    interval = f"{show(verdict.effect)}{unit} [{show(verdict.low)}, {show(verdict.high)}]"
    return ClaimRow(
        verdict.claim.sentence,
        verdict.outcome,
        GLYPHS[verdict.outcome],
        f"{sign}\u00a0{show(verdict.bound)}{unit}",
        interval if verdict.samples else f"could not be tested: {verdict.reason}",
        show(verdict.chance),
        verdict.rows,
        _note(verdict, source),
        _picture(verdict, verdict.direction == "at most") if verdict.samples else None,
    )


def _note(verdict: Verdict, source: str) -> str:
    if verdict.outcome != "undecided":
        return ""
    needed = verdict.rows_needed
    if needed is None:
        return verdict.reason
    return f"{verdict.reason}; some {needed:,} {source}s would decide it, if it is as it looks"


def _picture(verdict: Verdict, at_most: bool) -> IntervalPicture:
    values = (0.0, verdict.low, verdict.high, verdict.effect, verdict.bound, verdict.chance)
    low, high = min(values), max(values)
    scale = (WIDTH - 2 * PAD) / ((high - low) or 1.0)

    def x(value: float) -> float:
        return round(PAD + (value - low) * scale, 1)

    return IntervalPicture(
        x(verdict.low),
        x(verdict.high),
        x(verdict.effect),
        x(verdict.bound),
        0.0 if at_most else x(verdict.bound),
        x(verdict.bound) if at_most else WIDTH,
        x(verdict.chance),
    )
