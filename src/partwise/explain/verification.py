"""Verification: testing claims on samples that no writer saw."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.errors import ProgramError
from partwise.explain.language import parse_program
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

RESAMPLES = 500
Array = NDArray[np.float64]


def verify_claim(subject: Subject, evidence: Evidence, claim: Claim) -> Verdict:
    """The verdict on a claim, from the samples of the `claims` split.

    The interval is a percentile bootstrap over samples (Efron, 1979), 500 resamples. A claim
    about a head, unit or input that does not exist is refuted with an effect of 0 on 0 samples.
    """
    try:
        return _verify(claim, subject, evidence)
    except (ProgramError, IndexError):
        return _verdict(claim, np.zeros(0), lambda sample: 0.0, 1.0, at_least=True)


@singledispatch
def _verify(claim: Claim, subject: Subject, evidence: Evidence) -> Verdict:
    raise AssertionError(f"no test for {type(claim).__name__}")


@_verify.register
def _(claim: EffectClaim, subject: Subject, evidence: Evidence) -> Verdict:
    change = _change(subject, _without_module(subject, evidence), claim.head)
    return _verdict(claim, change, np.mean, claim.minimum, at_least=True)


@_verify.register
def _(claim: NoEffectClaim, subject: Subject, evidence: Evidence) -> Verdict:
    change = _change(subject, _without_module(subject, evidence), claim.head)
    return _within(claim, change, claim.maximum)


@_verify.register
def _(claim: IgnoresClaim, subject: Subject, evidence: Evidence) -> Verdict:
    if max(claim.inputs) >= len(subject.task.inputs) or min(claim.inputs) < 0:
        raise IndexError(claim.inputs)
    change = _change(subject, subject.losses_with_resampled("claims", claim.inputs), claim.head)
    return _within(claim, change, claim.maximum)


@_verify.register
def _(claim: InterfaceClaim, subject: Subject, evidence: Evidence) -> Verdict:
    if evidence.kind != "interface":
        raise IndexError(evidence.modules)
    pair = (evidence.modules[0], evidence.modules[1])
    change = _change(subject, subject.losses_without_interface("claims", pair), claim.head)
    if claim.relation == "at least":
        return _verdict(claim, change, np.mean, claim.nats, at_least=True)
    return _within(claim, change, claim.nats)


@_verify.register
def _(claim: ActivationClaim, subject: Subject, evidence: Evidence) -> Verdict:
    if claim.unit >= subject.graph.n:
        raise IndexError(claim.unit)
    holds = parse_program(claim.condition).evaluate(subject.variables("claims")) != 0
    values = subject.lesions.activations(subject.batch("claims").x)
    active = values[:, claim.unit] > claim.threshold
    table = torch.stack([active & holds, active, holds], 1).numpy().astype(float)

    def f1(sample: Array) -> float:
        both, fired, true = sample.sum(0)
        return float(2 * both / (fired + true)) if fired + true else 0.0

    return _verdict(claim, table, f1, claim.minimum_f1, at_least=True)


@_verify.register
def _(claim: ProgramClaim, subject: Subject, evidence: Evidence) -> Verdict:
    given = parse_program(claim.program).evaluate(subject.variables("claims"))
    with torch.no_grad():
        outputs = subject.model(subject.batch("claims").x)
    answer = subject.task.heads[claim.head].answers(outputs)
    agrees = ((given - answer).abs() < 0.1).numpy().astype(float)
    return _verdict(claim, agrees, np.mean, claim.agreement, at_least=True)


def _without_module(subject: Subject, evidence: Evidence) -> Tensor:
    if evidence.kind != "module":
        raise IndexError(evidence.modules)
    return subject.losses_without_module("claims", evidence.modules[0])


def _change(subject: Subject, after: Tensor, head: int) -> Array:
    """(b,) what an intervention adds to each sample's loss at a head."""
    return (after - subject.losses("claims"))[:, head].numpy().astype(float)


def _within(claim: Claim, change: Array, bound: float) -> Verdict:
    return _verdict(
        claim, change, lambda sample: abs(float(np.mean(sample))), bound, at_least=False
    )


def _verdict(
    claim: Claim,
    samples: Array,
    measure: Callable[[Array], float],
    bound: float,
    at_least: bool,
) -> Verdict:
    n = len(samples)
    rng = np.random.default_rng(0)
    draws = [measure(samples[rng.integers(n, size=n)]) for _ in range(RESAMPLES)] if n else [0.0]
    low, high = (float(value) for value in np.percentile(draws, (2.5, 97.5)))
    good, bad = (low >= bound, high < bound) if at_least else (high <= bound, low > bound)
    return Verdict(
        claim=claim,
        outcome="supported" if good else "refuted" if bad else "undecided",
        samples=n,
        effect=float(measure(samples)) if n else 0.0,
        low=low,
        high=high,
        bound=bound,
    )
