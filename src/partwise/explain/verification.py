"""Verification: testing claims on samples that no writer saw.

Each claim comes down to a mean with an interval (see `intervals`), a bound, and what the measure
comes to by chance (see `chance`). All claims about a network are decided together: their p-values
are corrected for their number (Holm, 1979), so that the chance of any false verdict is at most 5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from partwise.errors import DataError, ProgramError
from partwise.explain.claims import (
    Claim,
    Measured,
    TooFewError,
    UntellingError,
    WrongClaimError,
)
from partwise.explain.intervals import CONFIDENCE, holm
from partwise.explain.subject import Part, Subject
from partwise.explain.values import Evidence, Verdict

MOST_ROWS = 1_000_000
EVEN = "no more than chance gives"
"""Why a claim that holds is undecided all the same."""


@dataclass(frozen=True)
class Trial:
    """A claim's test, before it is decided together with others.

    Attributes:
        claim: the claim.
        effect: the measure's mean; of its size, whatever its sign, where that is claimed.
        bound: what the claim states.
        direction: the side of the bound that the claim is on.
        chance: what the measure comes to by chance.
        unit: the measure's.
        p_held: p-value of its being on the claim's side of the bound.
        p_beyond: p-value of its being beyond chance as well.
        p_broken: p-value of its being on the other side of the bound.
        failure: why it could not be tested, if so.
        outcome: what becomes of it then.
    """

    claim: Claim
    samples: int
    rows: int
    effect: float
    low: float
    high: float
    bound: float
    direction: Literal["at least", "at most"]
    chance: float
    unit: str
    p_held: float
    p_beyond: float
    p_broken: float
    failure: str = ""
    outcome: Literal["refuted", "undecided"] = "refuted"

    @property
    def p_value(self) -> float:
        """Of the outcome that is nearest."""
        return min(max(self.p_held, self.p_beyond), self.p_broken)


def verify_claims(subject: Subject, claims: Sequence[tuple[Evidence, Claim]]) -> list[Verdict]:
    """The verdicts on claims, from the rows of the `claims` split, decided together.

    A claim about a head, unit or input that does not exist is refuted with an effect of 0 on 0
    samples.

    Args:
        subject: the network, taken apart.
        claims: each with the evidence about the part that it is a claim on.
    """
    return decide([try_claim(subject, evidence, claim) for evidence, claim in claims])


def verify_claim(subject: Subject, evidence: Evidence, claim: Claim) -> Verdict:
    """The verdict on one claim alone; see `verify_claims`."""
    return verify_claims(subject, [(evidence, claim)])[0]


def try_claim(subject: Subject, evidence: Evidence, claim: Claim) -> Trial:
    """A claim's test; nothing is decided yet."""
    return try_on(subject, evidence.part, claim)


def try_on(subject: Subject, part: Part, claim: Claim) -> Trial:
    """The test of a claim about a part; nothing is decided yet."""
    try:
        claim.refuse_misplaced(subject, part)
        found = claim.measured(subject, part)
    except (ProgramError, WrongClaimError, DataError) as error:
        return _failed(claim, subject, str(error), "refuted")
    except (TooFewError, UntellingError) as error:
        return _failed(claim, subject, str(error), "undecided")
    return (_above if found.direction == "at least" else _within)(claim, subject, found)


def decide(trials: Sequence[Trial]) -> list[Verdict]:
    """Verdicts, with p-values corrected for the number of trials."""
    tested = [trial for trial in trials if not trial.failure]
    corrected = iter(holm([trial.p_value for trial in tested]))
    return [
        _decided(trial, 0.0 if trial.failure else next(corrected), len(tested)) for trial in trials
    ]


def _above(claim: Claim, subject: Subject, found: Measured) -> Trial:
    estimate = found.estimate
    low, high = estimate.interval()
    return Trial(
        _worded(subject, claim),
        found.samples,
        found.rows,
        effect=estimate.mean,
        low=low,
        high=high,
        bound=found.bound,
        direction="at least",
        chance=found.chance,
        unit=found.unit,
        p_held=estimate.p_above(found.bound),
        p_beyond=estimate.p_above(found.chance),
        p_broken=estimate.p_below(found.bound),
    )


def _within(claim: Claim, subject: Subject, found: Measured) -> Trial:
    """A trial of a mean's size: that it lies between -bound and bound."""
    estimate = found.estimate
    low, high = estimate.interval()

    def p_inside(limit: float) -> float:
        return max(estimate.p_above(-limit), estimate.p_below(limit))

    return Trial(
        _worded(subject, claim),
        found.samples,
        found.rows,
        effect=abs(estimate.mean),
        low=max(low, -high, 0.0),
        high=max(high, -low),
        bound=found.bound,
        direction="at most",
        chance=found.chance,
        unit=found.unit,
        p_held=p_inside(found.bound),
        p_beyond=p_inside(found.chance),
        p_broken=min(estimate.p_above(found.bound), estimate.p_below(-found.bound)),
    )


def _worded(subject: Subject, claim: Claim) -> Claim:
    """The claim with the sentence that its test comes to."""
    words = claim.words(subject.names)
    return claim.model_copy(update={"sentence": words if len(words) <= 400 else words[:399] + "…"})


def _failed(
    claim: Claim, subject: Subject, why: str, outcome: Literal["refuted", "undecided"]
) -> Trial:
    return Trial(
        _worded(subject, claim),
        samples=0,
        rows=0,
        effect=0.0,
        low=0.0,
        high=0.0,
        bound=1.0,
        direction="at least",
        chance=0.0,
        unit="",
        p_held=1.0,
        p_beyond=1.0,
        p_broken=0.0,
        failure=why or "it cannot be tested",
        outcome=outcome,
    )


def _decided(trial: Trial, corrected: float, tested_with: int) -> Verdict:
    outcome, reason = _outcome(trial, corrected)
    return Verdict(
        claim=trial.claim,
        outcome=outcome,
        samples=trial.samples,
        rows=trial.rows,
        effect=trial.effect,
        low=trial.low,
        high=trial.high,
        bound=trial.bound,
        direction=trial.direction,
        chance=trial.chance,
        unit=trial.unit,
        p_value=corrected,
        tested_with=tested_with,
        rows_needed=_rows_needed(trial, tested_with)
        if outcome == "undecided" and not trial.failure
        else None,
        reason=reason,
    )


def _outcome(
    trial: Trial, corrected: float
) -> tuple[Literal["supported", "refuted", "undecided"], str]:
    level = 1 - CONFIDENCE
    if trial.failure:
        return trial.outcome, trial.failure
    if corrected <= level:
        return (
            ("refuted", "")
            if trial.p_broken < max(trial.p_held, trial.p_beyond)
            else ("supported", "")
        )
    if trial.p_held <= level and _is_chance(trial):
        return "undecided", EVEN
    if trial.low <= trial.bound <= trial.high:
        return "undecided", "the interval reaches across the bound"
    if trial.low <= trial.chance <= trial.high:
        return "undecided", "the interval reaches across chance"
    return "undecided", "not certain enough beside the other claims"


def _is_chance(trial: Trial) -> bool:
    if trial.direction == "at least":
        return trial.effect <= trial.chance
    return trial.effect >= trial.chance


def _rows_needed(trial: Trial, tested_with: int) -> int | None:
    """As many rows as bring the interval off bound and chance; it shrinks as 1 / sqrt(rows)."""
    from scipy.special import ndtri

    level = (1 - CONFIDENCE) / 2
    wider = float(ndtri(level / tested_with) / ndtri(level))
    aims = [trial.bound] if _is_chance(trial) else [trial.bound, trial.chance]
    needed = 0.0
    for aim in aims:
        reach = trial.effect - trial.low if trial.effect > aim else trial.high - trial.effect
        if trial.effect == aim:
            return None
        needed = max(needed, trial.rows * (wider * reach / abs(trial.effect - aim)) ** 2)
    return int(np.ceil(needed)) if trial.rows < needed <= MOST_ROWS else None
