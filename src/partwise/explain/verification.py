"""Verification: testing claims on samples that no writer saw.

Each claim comes down to a mean with an interval (see `intervals`), a bound, and what the measure
comes to by chance (see `chance`). All claims about a network are decided together: their p-values
are corrected for their number (Holm, 1979), so that the chance of any false verdict is at most 5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

import numpy as np

from partwise.errors import ProgramError
from partwise.explain.chance import Band, input_band, lesion_band, wire_band
from partwise.explain.intervals import CONFIDENCE, Estimate, holm
from partwise.explain.language import parse_program
from partwise.explain.measures import Measures
from partwise.explain.subject import Subject
from partwise.explain.values import (
    ActivationClaim,
    Claim,
    EffectClaim,
    Evidence,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
    ProgramClaim,
    Verdict,
)
from partwise.explain.wording import claim_sentence

MOST_ROWS = 1_000_000
EVEN = "no more than chance gives"
"""Why a claim that holds is undecided all the same."""


@dataclass(frozen=True)
class Trial:
    """A claim's test, before it is decided together with others.

    Attributes:
        claim: the claim.
        estimate: the measure's mean; of its size, whatever its sign, where that is claimed.
        bound: what the claim states.
        direction: the side of the bound that the claim is on.
        chance: what the measure comes to by chance.
        unit: the measure's.
        p_held: p-value of its being on the claim's side of the bound.
        p_beyond: p-value of its being beyond chance as well.
        p_broken: p-value of its being on the other side of the bound.
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
    try:
        return _try(claim, subject, evidence)
    except (ProgramError, IndexError) as error:
        return _failed(claim, subject, str(error))


def decide(trials: Sequence[Trial]) -> list[Verdict]:
    """Verdicts, with p-values corrected for the number of trials."""
    tested = [trial for trial in trials if not trial.failure]
    corrected = iter(holm([trial.p_value for trial in tested]))
    return [
        _decided(trial, 0.0 if trial.failure else next(corrected), len(tested)) for trial in trials
    ]


@singledispatch
def _try(claim: Claim, subject: Subject, evidence: Evidence) -> Trial:
    raise AssertionError(f"no test for {type(claim).__name__}")


@_try.register
def _(claim: EffectClaim, subject: Subject, evidence: Evidence) -> Trial:
    added, band = _lesioned(subject, evidence, claim.head)
    return _above(claim, subject, added, claim.minimum, band.high[claim.head])


@_try.register
def _(claim: NoEffectClaim, subject: Subject, evidence: Evidence) -> Trial:
    added, band = _lesioned(subject, evidence, claim.head)
    return _within(claim, subject, added, claim.maximum, band.low[claim.head])


@_try.register
def _(claim: IgnoresClaim, subject: Subject, evidence: Evidence) -> Trial:
    if max(claim.inputs) >= len(subject.task.inputs) or min(claim.inputs) < 0:
        raise IndexError("it names an input that does not exist")
    head = _head(subject, claim.head)
    added = Measures(subject, "claims").of_inputs(claim.inputs, head)
    band = input_band(subject, "claims", claim.inputs)
    return _within(claim, subject, added, claim.maximum, band.low[head])


@_try.register
def _(claim: InterfaceClaim, subject: Subject, evidence: Evidence) -> Trial:
    if evidence.kind != "interface":
        raise IndexError("it is about an interface, and this is none")
    pair, head = (evidence.modules[0], evidence.modules[1]), _head(subject, claim.head)
    added = Measures(subject, "claims").of_interface(pair, head)
    if claim.relation == "at least":
        band = wire_band(subject, "claims", pair, "capacity")
        return _above(claim, subject, added, claim.amount, band.high[head])
    band = wire_band(subject, "claims", pair, "number")
    return _within(claim, subject, added, claim.amount, band.low[head])


@_try.register
def _(claim: ActivationClaim, subject: Subject, evidence: Evidence) -> Trial:
    if claim.unit >= subject.graph.n:
        raise IndexError("it names a unit that does not exist")
    holds = (parse_program(claim.condition).evaluate(subject.variables("claims")) != 0).numpy()
    f1, chance = Measures(subject, "claims").of_unit(claim.unit, claim.threshold, holds)
    return _above(claim, subject, f1, claim.minimum_f1, chance, unit="F1")


@_try.register
def _(claim: ProgramClaim, subject: Subject, evidence: Evidence) -> Trial:
    given = parse_program(claim.program).evaluate(subject.variables("claims"))
    head = _head(subject, claim.head)
    agreement, chance = Measures(subject, "claims").of_program(given, head)
    return _above(claim, subject, agreement, claim.agreement, chance, unit="of samples")


def _lesioned(subject: Subject, evidence: Evidence, head: int) -> tuple[Estimate, Band]:
    """What a module's lesion adds to a head's loss, and what random ones do."""
    if evidence.kind != "module":
        raise IndexError("it is about a module, and this is none")
    module = evidence.modules[0]
    added = Measures(subject, "claims").of_module(module, _head(subject, head))
    return added, lesion_band(subject, "claims", module)


def _head(subject: Subject, head: int) -> int:
    if head >= len(subject.task.heads):
        raise IndexError("it names a question that does not exist")
    return head


def _above(
    claim: Claim,
    subject: Subject,
    found: Estimate,
    bound: float,
    chance: float,
    unit: str | None = None,
) -> Trial:
    low, high = found.interval()
    return Trial(
        *_facts(subject, claim),
        unit=_loss_unit(subject, claim) if unit is None else unit,
        effect=found.mean,
        low=low,
        high=high,
        bound=bound,
        direction="at least",
        chance=float(chance),
        p_held=found.p_above(bound),
        p_beyond=found.p_above(chance),
        p_broken=found.p_below(bound),
    )


def _within(claim: Claim, subject: Subject, found: Estimate, bound: float, chance: float) -> Trial:
    """A trial of a mean's size: that it lies between -bound and bound."""
    low, high = found.interval()

    def p_inside(limit: float) -> float:
        return max(found.p_above(-limit), found.p_below(limit))

    return Trial(
        *_facts(subject, claim),
        unit=_loss_unit(subject, claim),
        effect=abs(found.mean),
        low=max(low, -high, 0.0),
        high=max(high, -low),
        bound=bound,
        direction="at most",
        chance=float(chance),
        p_held=p_inside(bound),
        p_beyond=p_inside(chance),
        p_broken=min(found.p_above(bound), found.p_below(-bound)),
    )


def _facts(subject: Subject, claim: Claim) -> tuple[Claim, int, int]:
    rows = subject.batch("claims")
    return _worded(subject, claim), len(rows.x), rows.independent


def _loss_unit(subject: Subject, claim: Claim) -> str:
    assert not isinstance(claim, ActivationClaim)
    return subject.task.heads[claim.head].unit


def _worded(subject: Subject, claim: Claim) -> Claim:
    """The claim with the sentence that its test comes to."""
    heads = subject.task.heads
    sentence = claim_sentence(
        claim,
        [head.name for head in heads],
        subject.unit_names,
        subject.task.inputs,
        [head.unit for head in heads],
    )
    return claim.model_copy(update={"sentence": sentence})


def _failed(claim: Claim, subject: Subject, why: str) -> Trial:
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
        rows_needed=_rows_needed(trial, tested_with) if outcome == "undecided" else None,
        reason=reason,
    )


def _outcome(
    trial: Trial, corrected: float
) -> tuple[Literal["supported", "refuted", "undecided"], str]:
    level = 1 - CONFIDENCE
    if trial.failure:
        return "refuted", trial.failure
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
