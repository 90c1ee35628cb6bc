"""Claims with their verdicts, ready to be shown; refuted ones like all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from partwise.explain import Claim, Verdict
from partwise.report.words import fixed, percent

WIDTH, HEIGHT, PAD = 160.0, 22.0, 8.0
AT_MOST = {"no_effect", "ignores"}
GLYPHS = {"supported": "✓", "refuted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class IntervalPicture:
    """An interval against its bound.

    Attributes:
        low, high, effect, bound: horizontal positions.
        good_from, good_to: the side of the bound on which the claim holds.
    """

    low: float
    high: float
    effect: float
    bound: float
    good_from: float
    good_to: float
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class ClaimRow:
    """One claim.

    Attributes:
        sentence: what was claimed, by the writer.
        outcome: supported, refuted or undecided.
        glyph: the outcome as a sign.
        condition: what the claim needed, in numbers.
        measured: what was found, in numbers.
        samples: held-out samples it was tested on.
        picture: the interval against the bound, or None if nothing was measured.
    """

    sentence: str
    outcome: str
    glyph: str
    condition: str
    measured: str
    samples: int
    picture: IntervalPicture | None


def claim_rows(verdicts: Sequence[Verdict]) -> list[ClaimRow]:
    """The rows of a table of claims."""
    return [_row(verdict) for verdict in verdicts]


def _row(verdict: Verdict) -> ClaimRow:
    claim = verdict.claim
    show, unit = _measure(claim)
    sign = "≤" if _is_at_most(claim) else "≥"
    interval = f"{show(verdict.effect)}{unit} [{show(verdict.low)}, {show(verdict.high)}]"
    return ClaimRow(
        claim.sentence,
        verdict.outcome,
        GLYPHS[verdict.outcome],
        f"{sign}\u00a0{show(verdict.bound)}{unit}",
        interval
        if verdict.samples
        else "could not be tested: it names something that is not there",
        verdict.samples,
        _picture(verdict, _is_at_most(claim)) if verdict.samples else None,
    )


def _measure(claim: Claim) -> tuple[Callable[[float], str], str]:
    """How to write what was measured, and its unit."""
    if claim.kind == "program":
        return percent, " agreement"
    return fixed, " F1" if claim.kind == "activation" else " nats"


def _is_at_most(claim: Claim) -> bool:
    if claim.kind == "interface":
        return claim.relation == "at most"
    return claim.kind in AT_MOST


def _picture(verdict: Verdict, at_most: bool) -> IntervalPicture:
    values = (0.0, verdict.low, verdict.high, verdict.effect, verdict.bound)
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
    )
