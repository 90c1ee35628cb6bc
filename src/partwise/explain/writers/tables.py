"""What the built-in writer says of modules and interfaces on rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

import numpy as np

from partwise.explain.claims import (
    ActivationClaim,
    Claim,
    EffectClaim,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
    ProgramClaim,
    condition_in_words,
)
from partwise.explain.values import Description, Evidence, Foreign, HeadEffect
from partwise.explain.writers.wording import CLEAR, IDLE, TELLING, digits, down, listed

MOST_NAMED = 8  # inputs in a sentence
MOST_ACTIVATIONS = 3
MOST_CHANNELS = 3
PASSED_ON = 0.05  # share read from or fed to other modules from which on their inputs may matter


def _moved(evidence: Evidence) -> list[HeadEffect]:
    """Effects that are worth speaking of."""
    return [
        e for e in evidence.effects if e.added >= CLEAR and (e.spread is None or e.spread.low > 0)
    ]


def describe_module(evidence: Evidence) -> Description:
    """The description of a module."""
    moved = _moved(evidence)
    calm = [each for each in evidence.effects if each.spread and each.spread.is_calm]
    names = listed([f"'{effect.name}'" for effect in moved])
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
            *(EffectClaim(head=k, minimum=least) for k, least in _least(moved)),
            *(NoEffectClaim(head=k, maximum=most) for k, most in _most(calm)),
            *(_blind_claims(evidence.foreign, moved) if evidence.foreign and answers else ()),
            *(_ignores_claims(evidence, moved) if is_alone and not evidence.foreign else ()),
            *_activation_claims(evidence),
            *_program_claims(evidence),
        ),
    )


def describe_interface(evidence: Evidence) -> Description:
    """The description of an interface."""
    a, b = evidence.modules
    used = _moved(evidence)
    calm = [each for each in evidence.effects if each.spread and each.spread.is_calm]
    small = evidence.interface_frac < 1e-4
    size = "less than 0.01%" if small else f"{evidence.interface_frac:.2%}"
    share = f"{size} of the network's capacity"
    if used:
        names = listed([f"'{effect.name}'" for effect in used])
        verb = "needs" if len(used) == 1 else "need"
        sentence = f"Modules {a} and {b} share {share}, and {names} {verb} it."
    else:
        largest = max((abs(each.added) for each in evidence.effects), default=0.0)
        seen = "next to nothing" if largest < IDLE else "less than random wires would"
        sentence = f"Modules {a} and {b} share {share}; cutting it changes {seen}."
    changes = "; ".join(
        f"{effect.name}: {effect.loss_after - effect.loss_before:+.3f} {effect.unit}"
        for effect in evidence.effects
    )
    strongest = [share.name for share in (*evidence.reads[:1], *evidence.feeds[:1])]
    wires = f" The strongest edges are {listed(strongest)}." if strongest else ""
    return Description(
        name=f"{'carries' if used else 'idle'}: {a} and {b}",
        sentence=sentence,
        paragraph=f"Removing every edge between them gives {changes}.{wires}"[:2000],
        claims=(
            *(_interface_claim(k, "at least", least) for k, least in _least(used)),
            *(_interface_claim(k, "at most", most) for k, most in _most(calm)),
        ),
    )


def _details(evidence: Evidence, moved: Sequence[HeadEffect], rest: float) -> list[str]:
    texts = [f"Units: {evidence.sized}."]
    texts += [
        f"Holding it at its mean raises the loss on '{effect.name}' from "
        f"{effect.loss_before:.2f} to {effect.loss_after:.2f} {effect.unit}."
        for effect in moved
    ]
    if rest > 0.005:
        texts.append(f"{rest:.1%} of what it reads comes from other modules.")
    telling = [p for p in evidence.profiles if p.f1 >= TELLING]
    texts += [
        f"Hidden unit {p.layer} is active when "
        f"{condition_in_words(p.best_answer, evidence.heads)} (F1 {p.f1:.2f})."
        for p in telling[:3]
    ]
    texts += _channel_words(evidence)
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
    if evidence.maps:
        return _maps_seen(evidence, own), others
    if evidence.picture is None:
        named = [evidence.inputs[k] for k in own[:MOST_NAMED]]
        return listed(named) + _of_all(evidence, named), others
    rows, columns = np.divmod(np.array(own), evidence.picture[1])
    whole = f"of the {evidence.picture[0]}x{evidence.picture[1]} picture"
    return (
        f"rows {rows.min()}-{rows.max()}, columns {columns.min()}-{columns.max()} {whole}",
        others,
    )


def _maps_seen(evidence: Evidence, own: Sequence[int]) -> str:
    """A module's own pixels, and the maps of the picture that its channels see."""
    totals = dict[str, float]()
    for each in evidence.maps:
        for share in each.sees:
            totals[share.name] = totals.get(share.name, 0.0) + share.share / len(evidence.maps)
    seen = sorted(totals.items(), key=lambda item: -item[1])
    maps = [f"{name} ({share:.0%})" for name, share in seen if share >= PASSED_ON]
    common = _beginning([evidence.inputs[k] for k in own])
    called = f" ('{common}')" if len(common) > len(_beginning(evidence.inputs)) else ""
    count = len(evidence.inputs) - (len(evidence.foreign.inputs) if evidence.foreign else 0)
    return f"{count} of {len(evidence.inputs)} inputs{called}, sees {listed(maps)},"


def _beginning(names: Sequence[str]) -> str:
    """The words that all names begin with."""
    words = [name.split() for name in names]
    same = takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    return " ".join(column[0] for column in same)


def _channel_words(evidence: Evidence) -> list[str]:
    """What the channels that matter most see, and what holding each of them does."""
    worst = [(max(each.effects, key=lambda e: e.added), each) for each in evidence.maps]
    worst.sort(key=lambda pair: -pair[0].added)
    return [
        f"{each.name.capitalize()} sees {listed([s.name for s in each.sees[:1]])} "
        f"({each.sees[0].share:.0%}); held at its mean it adds "
        f"{effect.loss_after - effect.loss_before:.2f} {effect.unit} to '{effect.name}'."
        for effect, each in worst[:MOST_CHANNELS]
        if each.sees and effect.added >= IDLE
    ]


def _of_all(evidence: Evidence, named: Sequence[str]) -> str:
    """Where not everything that is read was named: how much of it was."""
    whole = [share for share in evidence.reads if share.name in set(evidence.inputs)]
    if len(named) == len(whole):
        return ""
    part = sum(share.share for share in whole if share.name in set(named))
    return f" ({len(named)} of {len(whole)} inputs, {part:.0%} of what it reads)"


def _fed_to_modules(evidence: Evidence) -> float:
    """The share of what it feeds that goes to other modules, where more may join it."""
    return sum(share.share for share in evidence.feeds if share.name.startswith("module "))


def _least(effects: Sequence[HeadEffect]) -> list[tuple[int, float]]:
    """Head and a bound below each effect that is clearly more than random interventions do."""
    bounds = [(e.head, e.spread.least(IDLE * e.scale)) for e in effects if e.spread]
    return [(head, digits(bound, math.floor)) for head, bound in bounds if bound is not None]


def _most(effects: Sequence[HeadEffect]) -> list[tuple[int, float]]:
    """Head and a bound above each effect's size, where random interventions do more."""
    bounds = [(e.head, e.spread.most(IDLE * e.scale)) for e in effects if e.spread]
    return [(head, digits(bound, math.ceil)) for head, bound in bounds if bound is not None]


def _ignores_claims(evidence: Evidence, moved: Sequence[HeadEffect]) -> list[Claim]:
    """For the question it answers: what the other modules read does not matter."""
    names = evidence.units[next(iter(evidence.units))]
    foreign = tuple(k for k, name in enumerate(evidence.inputs) if name not in set(names))
    if not foreign:
        return []
    return [
        IgnoresClaim(inputs=foreign, head=effect.head, maximum=digits(_margin(effect), math.ceil))
        for effect in moved
    ]


def _blind_claims(foreign: Foreign, moved: Sequence[HeadEffect]) -> list[Claim]:
    """For the question it answers: what its channels do not see does not matter."""
    own = {effect.head for effect in moved}
    bounds = _most([each for each in foreign.effects if each.head in own])
    return [IgnoresClaim(inputs=foreign.inputs, head=k, maximum=most) for k, most in bounds]


def _margin(effect: HeadEffect) -> float:
    """What nobody measured on evidence: a tenth of what the module itself is worth."""
    return 0.1 * (effect.loss_after - effect.loss_before)


def _activation_claims(evidence: Evidence) -> list[Claim]:
    claims = list[Claim]()
    for profile in evidence.profiles:
        if profile.f1 >= TELLING and profile.f1_safe > profile.chance + 0.01:
            claims.append(
                ActivationClaim(
                    unit=profile.unit,
                    threshold=profile.threshold,
                    condition=profile.best_answer,
                    minimum_f1=down(profile.f1_safe),
                )
            )
    return claims[:MOST_ACTIVATIONS]


def _needs(evidence: Evidence) -> bool:
    """Whether the fitted question clearly needs the part, more than random ones; all need all."""
    layer = next(iter(evidence.units), "")
    if len(evidence.units.get(layer, ())) == len(evidence.inputs):
        return True
    own = [e for e in evidence.effects if e.head == evidence.fitted_head]
    return any(each.spread is None or each.spread.stands_out for each in own)


def _program_claims(evidence: Evidence) -> list[Claim]:
    if evidence.fitted is None or evidence.fitted_head is None:
        return []
    if evidence.fitted_safe <= evidence.fitted_chance + 0.01 or not _needs(evidence):
        return []
    return [
        ProgramClaim(
            head=evidence.fitted_head,
            program=evidence.fitted,
            agreement=down(evidence.fitted_safe),
        )
    ]


def _interface_claim(head: int, relation: Literal["at least", "at most"], bound: float) -> Claim:
    return InterfaceClaim(head=head, relation=relation, amount=bound)


def _clear(evidence: Evidence) -> str:
    """The effect that is worth speaking of, in the words of the questions' losses."""
    if any(effect.variance is not None for effect in evidence.effects):
        return f"{CLEAR:.0%} of its variance"
    return f"{CLEAR} nats"
