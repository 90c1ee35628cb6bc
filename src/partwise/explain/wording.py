"""The sentence of a claim, rendered from its test: what is shown is what was tested."""

from __future__ import annotations

from collections.abc import Sequence

from partwise.explain.values import (
    ActivationClaim,
    Claim,
    EffectClaim,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
    ProgramClaim,
)

MOST_NAMES = 8


def claim_sentence(
    claim: Claim,
    heads: Sequence[str],
    units: Sequence[str],
    inputs: Sequence[str],
    loss_units: Sequence[str],
) -> str:
    """A claim in words.

    Args:
        claim: the claim.
        heads: a name per question.
        units: a name per unit.
        inputs: a name per input.
        loss_units: the unit of each question's loss.
    """

    def head(k: int) -> str:
        return f"'{heads[k]}'" if k < len(heads) else f"question {k}, which does not exist"

    def amount(value: float, k: int) -> str:
        return f"{value:g} {loss_units[k]}" if k < len(heads) else f"{value:g}"

    match claim:
        case EffectClaim(head=k, minimum=least):
            return f"Without this module the loss on {head(k)} rises by {amount(least, k)} or more."
        case NoEffectClaim(head=k, maximum=most):
            return f"Without this module the loss on {head(k)} moves by {amount(most, k)} or less."
        case IgnoresClaim(head=k, maximum=most, inputs=chosen):
            return (
                f"{_named(chosen, inputs)} taken from other samples move the loss on {head(k)} by "
                f"{amount(most, k)} or less."
            )
        case InterfaceClaim(head=k, relation=relation, amount=bound):
            verb = "raises" if relation == "at least" else "moves"
            return f"Cutting it {verb} the loss on {head(k)} by {relation} {amount(bound, k)}."
        case ActivationClaim(unit=unit, threshold=threshold, condition=condition, minimum_f1=f1):
            name = units[unit] if unit < len(units) else f"{unit}, which does not exist,"
            return (
                f"Unit {name} is active (above {threshold:.3g}) when "
                f"{condition_in_words(condition, heads)}, with an F1 of {f1:g} or more."
            )
        case ProgramClaim(head=k, program=program, agreement=least):
            text = program if len(program) <= 60 else f"The program {program[:40]}…"
            share = f"{least:.0%} of samples or more"
            return f"{text} gives the network's answer to {head(k)} on {share}."
    raise AssertionError(f"no words for {type(claim).__name__}")


def condition_in_words(condition: str, heads: Sequence[str]) -> str:
    """A condition with the question's name: `answer0 == 5` as `'first digit' is 5`."""
    parts = condition.split()
    number = parts[0].removeprefix("answer") if len(parts) == 3 else ""
    if number.isdecimal() and int(number) < len(heads) and parts[1] in ("==", ">"):
        return f"'{heads[int(number)]}' is {'' if parts[1] == '==' else 'above '}{parts[2]}"
    return condition if len(condition) <= 200 else condition[:199] + "…"


def _named(chosen: Sequence[int], inputs: Sequence[str]) -> str:
    if len(chosen) > MOST_NAMES or max(chosen) >= len(inputs):
        return f"{len(chosen)} of the {len(inputs)} inputs"
    return ", ".join(inputs[k] for k in chosen)
