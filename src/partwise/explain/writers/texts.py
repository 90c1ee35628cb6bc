"""What the built-in writer says of modules and interfaces of language models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from partwise.explain.attention import place_words
from partwise.explain.claims import (
    ActivationClaim,
    AttendsClaim,
    Claim,
    EffectClaim,
    InterfaceClaim,
    NextTokenClaim,
    NoEffectClaim,
    PromotesClaim,
)
from partwise.explain.slice_words import slice_in_words
from partwise.explain.values import (
    Description,
    Direction,
    Evidence,
    SliceEffect,
    TextEvidence,
)
from partwise.explain.writers.wording import CLEAR, IDLE, TELLING, digits, down, listed

MOST_EFFECTS, MOST_CALM, MOST_UNITS, MOST_RULES = 4, 3, 3, 3
LOOKS = 1.5
"""A head looks at a place with this multiple of what looking everywhere alike would give."""
LEAST_LOOK = 0.2


def describe_module(evidence: Evidence) -> Description:
    """The description of a module."""
    text = _text(evidence)
    moved, calm = _moved(text.slices), _calm(text.slices)
    broad = _broad(moved)
    role = listed([_slice_name(each.where) for each in broad[:3]])
    tokens = "".join(text.tokens[:24]) if _single(text) else ", ".join(text.tokens[:8])
    name = f"predicts {role}" if role else "no clear role"
    if broad:
        worst = broad[0]
        sentence = (
            f"Without it the loss on {_slice_name(worst.where)} rises from {worst.loss_before:.2f} "
            f"to {worst.loss_after:.2f} nats"
        )
        others = [each for each in calm if each.where.startswith("stream")][:2]
        if others:
            sentence += f"; on {listed([_slice_name(e.where) for e in others])} it hardly moves"
        sentence += "."
    else:
        sentence = f"No slice of the text loses {CLEAR} nats without it, beyond random modules."
    return Description(
        name=name[:80],
        sentence=sentence[:400],
        paragraph=" ".join(_details(evidence, text, tokens))[:2000],
        claims=(
            *_effect_claims(moved),
            *_no_effect_claims(calm),
            *_promotes_claims(text),
            *_attends_claims(text),
            *_activation_claims(evidence),
            *_rule_claims(text),
        ),
    )


def describe_interface(evidence: Evidence) -> Description:
    """The description of an interface, direction by direction."""
    text, (a, b) = _text(evidence), evidence.modules
    used = [(d, moved) for d in text.directions if (moved := _moved(d.slices))]
    words = [_direction_words(direction) for direction in text.directions]
    claims = tuple(claim for d in text.directions for claim in _interface_claims(d))
    little = any(isinstance(c, InterfaceClaim) and c.relation == "at least" for c in claims)
    what = "carries" if used else "carries little" if little else "idle"
    name = f"{what}: {a} and {b}"
    size = f"Modules {a} and {b} share {evidence.interface_frac:.2%} of the network's capacity."
    return Description(
        name=name,
        sentence=f"{size} {' '.join(words)}"[:400],
        paragraph=" ".join([size, *(_wire_words(d) for d in text.directions)])[:2000],
        claims=claims,
    )


def _text(evidence: Evidence) -> TextEvidence:
    assert evidence.text is not None
    return evidence.text


def _single(text: TextEvidence) -> bool:
    return all(len(token) == 1 for token in text.tokens)


def _moved(slices: Iterable[SliceEffect]) -> list[SliceEffect]:
    """Slices that lose what is worth speaking of, beyond random parts; the worst first."""
    found = [s for s in slices if s.where and s.added >= CLEAR and s.spread.least(IDLE)]
    return sorted(found, key=lambda each: -each.added)


def _calm(slices: Iterable[SliceEffect]) -> list[SliceEffect]:
    """Slices that stay as they are where random parts would change them; the broadest first."""
    found = [s for s in slices if s.where and s.spread.is_calm and s.spread.most(IDLE)]
    return sorted(found, key=lambda each: (not each.where.startswith("stream"), -each.tokens))


def _broad(moved: Sequence[SliceEffect]) -> list[SliceEffect]:
    """The streams and classes among slices, or whatever there is."""
    streams = [each for each in moved if each.where.startswith("stream")]
    classes = [each for each in moved if each.where.startswith("next in")]
    return streams or classes or list(moved)


def _effect_claims(moved: Sequence[SliceEffect]) -> Sequence[Claim]:
    """The broad slices first, then single tokens that suffer most."""
    chosen = [*_broad(moved)[:2], *moved]
    return [
        EffectClaim(minimum=digits(least, math.floor), where=each.where)
        for each in dict.fromkeys(chosen)
        if (least := each.spread.least(IDLE)) is not None
    ][:MOST_EFFECTS]


def _no_effect_claims(calm: Sequence[SliceEffect]) -> Sequence[Claim]:
    return [
        NoEffectClaim(maximum=digits(most, math.ceil), where=each.where)
        for each in calm
        if (most := each.spread.most(IDLE)) is not None
    ][:MOST_CALM]


def _promotes_claims(text: TextEvidence) -> Sequence[Claim]:
    risen = text.promotion
    if risen is None or risen.safe <= risen.chance:
        return []
    return [PromotesClaim(tokens=risen.tokens, minimum=digits(risen.safe, math.floor))]


def _attends_claims(text: TextEvidence) -> Sequence[Claim]:
    clear = [head for head in text.attention if head.safe >= max(LEAST_LOOK, LOOKS * head.even)]
    clear.sort(key=lambda head: head.even - head.share)
    return [
        AttendsClaim(unit=head.unit, pattern=head.pattern, minimum=down(head.safe))
        for head in clear[:MOST_UNITS]
    ]


def _activation_claims(evidence: Evidence) -> Sequence[Claim]:
    telling = [
        profile
        for profile in evidence.profiles
        if profile.f1 >= TELLING and profile.f1_safe > profile.chance + 0.05
    ]
    telling.sort(key=lambda profile: profile.chance - profile.f1)
    return [
        ActivationClaim(
            unit=profile.unit,
            threshold=profile.threshold,
            condition=profile.best_answer,
            minimum_f1=down(profile.f1_safe),
        )
        for profile in telling[:MOST_UNITS]
    ]


def _rule_claims(text: TextEvidence) -> Sequence[Claim]:
    return [
        NextTokenClaim(rule=rule.rule, where=rule.where, agreement=down(rule.safe))
        for rule in text.rules
        if rule.safe > rule.without and rule.is_own
    ][:MOST_RULES]


def _interface_claims(direction: Direction) -> Sequence[Claim]:
    moved = [s for s in direction.slices if s.where and s.spread.least(IDLE)]
    moved.sort(key=lambda each: (not each.where.startswith("stream"), -each.added))
    calm = _calm(direction.slices)[:MOST_CALM]
    return [
        *(_carries(direction, s, "at least") for s in moved[:MOST_EFFECTS]),
        *(_carries(direction, s, "at most") for s in calm),
    ]


def _carries(
    direction: Direction, effect: SliceEffect, relation: Literal["at least", "at most"]
) -> InterfaceClaim:
    """What a direction carries for a slice that moves, or for one that is calm."""
    at_least = relation == "at least"
    bound = effect.spread.least(IDLE) if at_least else effect.spread.most(IDLE)
    assert bound is not None
    return InterfaceClaim(
        relation=relation,
        amount=digits(bound, math.floor if at_least else math.ceil),
        where=effect.where,
        reader=direction.reader,
    )


def _direction_words(direction: Direction) -> str:
    moved = _moved(direction.slices) or [
        s for s in direction.slices if s.where and s.spread.least(IDLE)
    ]
    if not moved:
        return f"Module {direction.reader} loses next to nothing without what it reads there."
    worst = listed([_slice_name(each.where) for each in _broad(moved)[:3]])
    return f"What module {direction.reader} reads there serves {worst}."


def _wire_words(direction: Direction) -> str:
    worst = max(direction.slices, key=lambda each: each.added, default=None)
    words = f"Module {direction.reader} reads {direction.share:.2%} of all capacity there."
    if worst is not None:
        words += f" Without it the loss on {_slice_name(worst.where)} rises by {worst.added:.3f}."
    if direction.wires:
        words += f" Its strongest edge is {direction.wires[0]}."
    return words


def _details(evidence: Evidence, text: TextEvidence, tokens: str) -> list[str]:
    words = [f"Units: {evidence.sized}."]
    if tokens:
        words.append(f"Its tokens are {tokens!r}.")
    if text.promotion is not None:
        risen = listed([repr(token) for token in text.promotion.tokens[:6]])
        words.append(f"What it writes raises {risen}, where they come next.")
    words += [
        f"Head {head.name} gives {head.share:.0%} of its attention to {place_words(head.pattern)}."
        for head in text.attention
        if head.share >= LOOKS * head.even
    ][:3]
    words += [
        f"After {rule.where.removeprefix('token == ')} the network predicts {rule.rule} because "
        "of it."
        for rule in text.rules
        if rule.where.startswith("token ==")
    ][:3]
    return words


def _slice_name(where: str) -> str:
    """A slice's name in prose: the stream, the class, or the condition itself."""
    if not where:
        return "all tokens"
    return slice_in_words(where).removeprefix("in stream ").removeprefix("that are ").strip("'")
