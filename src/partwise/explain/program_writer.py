"""The built-in writer: no language model, no network, only what the evidence says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from partwise.explain.values import (
    ActivationClaim,
    Claim,
    Description,
    EffectClaim,
    Evidence,
    HeadEffect,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
    ProgramClaim,
    UnitProfile,
)

CLEAR = 0.2  # an effect worth claiming; this and the next two in nats, or shares of a variance
IDLE = 0.02  # an effect not worth speaking of
MARGIN = 0.05  # how far held-out data may stray from "no effect"
TELLING = 0.6  # F1 at which a unit is said to stand for an answer
PASSED_ON = 0.05  # share read from or fed to other modules from which on their inputs may matter
SLACK = 0.8  # share of a fitted score that is claimed to hold on held-out data


class ProgramWriter:
    """Describes modules by what they read, what they decide, and a fitted program.

    Every claim states a bound taken from the evidence with room to spare; whether it holds is
    for the verification to say.
    """

    name = "built-in"

    def write(self, evidence: Evidence, neighbours: Sequence[Description] = ()) -> Description:
        """The description of a module or an interface.

        Args:
            evidence: what is known of it.
            neighbours: not used; language models are given them.
        """
        return _of_module(evidence) if evidence.kind == "module" else _of_interface(evidence)


def _of_module(evidence: Evidence) -> Description:
    moved = [effect for effect in evidence.effects if effect.added >= CLEAR]
    calm = [effect for effect in evidence.effects if abs(effect.added) <= IDLE]
    names = _and([f"'{effect.name}'" for effect in moved])
    region, rest = _reading_region(evidence)
    answers = bool([*evidence.units.values()][-1])  # it has outputs of its own
    verb = "answers" if answers else "informs"
    is_alone = answers and max(rest, _fed_to_modules(evidence)) < PASSED_ON
    if moved:
        sentence = f"Reads {region} and {verb} {names}."
    else:
        sentence = f"Reads {region}; no question depends on it by {_clear(evidence)} or more."
    return Description(
        name=f"{verb} {names}"[:80] if moved else "no clear role",
        sentence=sentence[:400],
        paragraph=" ".join(_details(evidence, moved, rest))[:2000],
        program=evidence.fitted,
        claims=(
            *(_effect_claim(effect) for effect in moved),
            *(_no_effect_claim(effect) for effect in calm),
            *(_ignores_claims(evidence, moved) if is_alone else ()),
            *_activation_claims(evidence),
            *_program_claims(evidence),
        ),
    )


def _of_interface(evidence: Evidence) -> Description:
    a, b = evidence.modules
    used = [effect for effect in evidence.effects if effect.added >= CLEAR]
    small = evidence.interface_frac < 1e-4
    size = "less than 0.01%" if small else f"{evidence.interface_frac:.2%}"
    share = f"{size} of the network's capacity"
    if used:
        names = _and([f"'{effect.name}'" for effect in used])
        verb = "needs" if len(used) == 1 else "need"
        sentence = f"Modules {a} and {b} share {share}, and {names} {verb} it."
    else:
        sentence = f"Modules {a} and {b} share {share}; cutting it changes next to nothing."
    changes = "; ".join(
        f"{effect.name}: {effect.loss_after - effect.loss_before:+.3f} {effect.unit}"
        for effect in evidence.effects
    )
    strongest = [share.name for share in (*evidence.reads[:1], *evidence.feeds[:1])]
    wires = f" The strongest edges are {_and(strongest)}." if strongest else ""
    return Description(
        name=f"{'carries' if used else 'idle'}: {a} and {b}",
        sentence=sentence,
        paragraph=f"Removing every edge between them gives {changes}.{wires}"[:2000],
        claims=tuple(_interface_claim(evidence, effect) for effect in evidence.effects),
    )


def _details(evidence: Evidence, moved: Sequence[HeadEffect], rest: float) -> list[str]:
    sizes = ", ".join(
        f"{len(units)} in {layer}" for layer, units in evidence.units.items() if units
    )
    texts = [f"Units: {sizes}."]
    texts += [
        f"Holding it at its mean raises the loss on '{effect.name}' from "
        f"{effect.loss_before:.2f} to {effect.loss_after:.2f} {effect.unit}."
        for effect in moved
    ]
    if rest > 0.005:
        texts.append(f"{rest:.1%} of what it reads comes from other modules.")
    telling = [p for p in evidence.profiles if p.f1 >= TELLING]
    texts += [
        f"Hidden unit {p.layer} is active when {_in_words(evidence, p)} (F1 {p.f1:.2f})."
        for p in telling[:3]
    ]
    if evidence.fitted is None:
        texts.append("No short program found.")
    else:
        texts.append(
            f"The program gives the network's answer on {evidence.fitted_fidelity:.0%} of the "
            "evidence samples that it was not fitted to."
        )
    return texts


def _reading_region(evidence: Evidence) -> tuple[str, float]:
    """What the module reads, in words, and the share that comes from other modules."""
    index = {name: k for k, name in enumerate(evidence.inputs)}
    others = sum(share.share for share in evidence.reads if share.name not in index)
    own = [index[share.name] for share in evidence.reads if share.name in index]
    if not own:
        return "other modules only", others
    if evidence.picture is None:
        return _and([evidence.inputs[k] for k in own[:8]]), others
    rows, columns = np.divmod(np.array(own), evidence.picture[1])
    whole = f"of the {evidence.picture[0]}x{evidence.picture[1]} picture"
    return (
        f"rows {rows.min()}-{rows.max()}, columns {columns.min()}-{columns.max()} {whole}",
        others,
    )


def _fed_to_modules(evidence: Evidence) -> float:
    """The share of what it feeds that goes to other modules, where more may join it."""
    return sum(share.share for share in evidence.feeds if share.name.startswith("module "))


def _effect_claim(effect: HeadEffect) -> Claim:
    least = _bound(_down(effect.added / 2), effect)
    return EffectClaim(
        sentence=f"Without this module the loss on '{effect.name}' rises by "
        f"{least:g} {effect.unit} or more.",
        head=effect.head,
        minimum=least,
    )


def _no_effect_claim(effect: HeadEffect) -> Claim:
    most = _bound(MARGIN, effect)
    return NoEffectClaim(
        sentence=f"Without this module the loss on '{effect.name}' moves by {most:g} "
        f"{effect.unit} or less.",
        head=effect.head,
        maximum=most,
    )


def _ignores_claims(evidence: Evidence, moved: Sequence[HeadEffect]) -> list[Claim]:
    """For the question it answers: what the other modules read does not matter."""
    names = evidence.units[next(iter(evidence.units))]
    foreign = tuple(k for k, name in enumerate(evidence.inputs) if name not in set(names))
    if not foreign:
        return []
    return [
        IgnoresClaim(
            sentence=f"The {len(foreign)} inputs of other modules do not matter to "
            f"'{effect.name}' ({_bound(MARGIN, effect):g} {effect.unit} or less).",
            inputs=foreign,
            head=effect.head,
            maximum=_bound(MARGIN, effect),
        )
        for effect in moved
    ]


def _activation_claims(evidence: Evidence) -> list[Claim]:
    telling = [p for p in evidence.profiles if p.f1 >= TELLING]
    return [_activation_claim(evidence, profile) for profile in telling[:3]]


def _activation_claim(evidence: Evidence, profile: UnitProfile) -> Claim:
    least = _down(SLACK * profile.f1)
    return ActivationClaim(
        sentence=f"Hidden unit {profile.layer} is active (above {profile.threshold:.2f}) when "
        f"{_in_words(evidence, profile)}, with an F1 of {least:g} or more.",
        unit=profile.unit,
        threshold=profile.threshold,
        condition=profile.best_answer,
        minimum_f1=least,
    )


def _in_words(evidence: Evidence, profile: UnitProfile) -> str:
    """The condition with the question's name: `answer0 == 5` as `'first digit' is 5`."""
    variable, relation, value = profile.best_answer.split()
    name = evidence.heads[int(variable.removeprefix("answer"))]
    return f"'{name}' {'is' if relation == '==' else 'is above'} {value}"


def _program_claims(evidence: Evidence) -> list[Claim]:
    if evidence.fitted is None or evidence.fitted_head is None:
        return []
    least = _down(SLACK * evidence.fitted_fidelity)
    head = evidence.heads[evidence.fitted_head]
    return [
        ProgramClaim(
            sentence=f"The program gives the network's answer to '{head}' on at least "
            f"{least:.0%} of samples.",
            head=evidence.fitted_head,
            program=evidence.fitted,
            agreement=least,
        )
    ]


def _interface_claim(evidence: Evidence, effect: HeadEffect) -> Claim:
    used = effect.added >= CLEAR
    share = _down(effect.added / 2) if used else max(MARGIN, _up(2 * abs(effect.added)))
    bound = _bound(share, effect)
    relation: Literal["at least", "at most"] = "at least" if used else "at most"
    return InterfaceClaim(
        sentence=f"Cutting it changes the loss on '{effect.name}' by {relation} {bound:g} "
        f"{effect.unit}.",
        head=effect.head,
        relation=relation,
        nats=bound,
    )


def _clear(evidence: Evidence) -> str:
    """The effect that is worth claiming, in the words of the questions' losses."""
    if any(effect.variance is not None for effect in evidence.effects):
        return f"{CLEAR:.0%} of its variance"
    return f"{CLEAR} nats"


def _bound(share: float, effect: HeadEffect) -> float:
    """A bound in the loss's own unit, in two digits unless that is nats."""
    return share if effect.variance is None else float(f"{share * effect.scale:.2g}")


def _down(value: float) -> float:
    return max(0.01, math.floor(value * 100) / 100)


def _up(value: float) -> float:
    return math.ceil(value * 100) / 100


def _and(names: Sequence[str]) -> str:
    return (
        names[0]
        if len(names) == 1
        else ", ".join(names[:-1]) + " and " + names[-1]
        if names
        else ""
    )
