"""What is known of a part of a language model, ready to be drawn: tokens and texts, not pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partwise.explain.attention import place_words
from partwise.explain.slice_words import KINDS
from partwise.explain.values import (
    AttentionProfile,
    Context,
    Direction,
    Evidence,
    Rule,
    SliceEffect,
    TextEvidence,
    TokenRise,
    UnitProfile,
)
from partwise.report.tokens import (
    Marked,
    Phrase,
    Scale,
    Wire,
    activation,
    clause_phrase,
    marked,
    nats,
    phrase_of,
    shown_token,
    slice_phrase,
    wire_of,
)
from partwise.report.words import fixed

SHOWN_SLICES = 10
"""Slices that are seen at once; the others unfold."""
SHOWN_NEURONS = 4
MOST_IN_MODULE, MOST_IN_DIRECTION, MOST_AT_PEAK = 72, 48, 24
"""Tokens of one text."""
MOST_TEXTS_OF_DIRECTION = 2
BAR, BAR_HEIGHT, BAR_PAD = 200.0, 16.0, 2.0


@dataclass(frozen=True)
class LossBar:
    """A loss before and after, as a drawing.

    Attributes:
        before, after: where the loss was and is.
        low, high: the interval of where it is.
        chance: where random parts take it, or None.
        falls: whether the loss falls.
    """

    before: float
    after: float
    low: float
    high: float
    chance: float | None
    falls: bool
    width: float = BAR
    height: float = BAR_HEIGHT


@dataclass(frozen=True)
class SliceRow:
    """What an intervention does to one slice of the tokens.

    Attributes:
        phrase: the slice in words.
        effect: what was measured.
        chance: what random parts do, in words.
        stands_out: whether it is clearly more than that.
        bar: the drawing.
    """

    phrase: Phrase
    effect: SliceEffect
    chance: str
    stands_out: bool
    bar: LossBar


@dataclass(frozen=True)
class SliceTable:
    """Slices by effect, the largest first: those seen at once, and the others."""

    shown: tuple[SliceRow, ...]
    more: tuple[SliceRow, ...]


@dataclass(frozen=True)
class Contexts:
    """Shaded texts on one scale."""

    most: tuple[Marked, ...]
    least: tuple[Marked, ...]
    top: float


@dataclass(frozen=True)
class RiseRow:
    """A token whose logit rises or falls, and how much of the largest change that is."""

    token: str
    rise: float
    share: float


@dataclass(frozen=True)
class RuleRow:
    """A rule that the network follows because of the module."""

    where: Phrase
    answer: Phrase
    agreement: float
    without: float


@dataclass(frozen=True)
class LookRow:
    """How much a head gives to one place, against what looking everywhere alike would give."""

    name: str
    words: str
    share: float
    even: float
    is_best: bool


@dataclass(frozen=True)
class HeadPanel:
    """Where one head looks: at places, and at classes of tokens."""

    name: str
    words: str
    share: float
    places: tuple[LookRow, ...]
    classes: tuple[LookRow, ...]


@dataclass(frozen=True)
class Neuron:
    """A neuron, the slice that it tells, and where it is most active."""

    name: str
    tells: Phrase
    threshold: float
    f1: float
    chance: float
    contexts: tuple[Marked, ...]


@dataclass(frozen=True)
class DirectionView:
    """What one module reads of another."""

    reader: int
    writer: int
    share: float
    slices: SliceTable
    contexts: Contexts
    wires: tuple[Wire, ...]


@dataclass(frozen=True)
class TextView:
    """What a card of a language model shows beside sentences and claims."""

    tokens: tuple[str, ...]
    slices: SliceTable
    contexts: Contexts
    promoted: tuple[RiseRow, ...]
    suppressed: tuple[RiseRow, ...]
    rules: tuple[RuleRow, ...]
    heads: tuple[HeadPanel, ...]
    neurons: tuple[Neuron, ...]
    more_neurons: tuple[Neuron, ...]
    directions: tuple[DirectionView, ...]


def text_view(evidence: Evidence) -> TextView | None:
    """The view of a part of a language model; None of other networks."""
    text = evidence.text
    if text is None:
        return None
    neurons = [_neuron(profile) for profile in evidence.profiles]
    return TextView(
        tokens=tuple(map(shown_token, text.tokens)),
        slices=slice_table(text.slices),
        contexts=_contexts(text.suffering, text.spared, MOST_IN_MODULE),
        promoted=_rises(text.promoted, text),
        suppressed=_rises(text.suppressed, text),
        rules=tuple(map(_rule, text.rules)),
        heads=tuple(map(head_panel, text.attention)),
        neurons=tuple(neurons[:SHOWN_NEURONS]),
        more_neurons=tuple(neurons[SHOWN_NEURONS:]),
        directions=tuple(_direction(each, evidence.modules) for each in text.directions),
    )


def slice_table(effects: Sequence[SliceEffect]) -> SliceTable:
    """Slices by effect; whole streams are always among those seen at once."""
    effects = sorted(effects, key=lambda each: -each.added)
    top = max((max(e.loss_after, e.loss_before + e.spread.high) for e in effects), default=0.0)
    rows = [_slice_row(effect, top or 1.0) for effect in effects]
    seen = [
        k < SHOWN_SLICES or not effect.where or effect.where.startswith("stream ")
        for k, effect in enumerate(effects)
    ]
    return SliceTable(
        tuple(row for row, here in zip(rows, seen, strict=True) if here),
        tuple(row for row, here in zip(rows, seen, strict=True) if not here),
    )


def _slice_row(effect: SliceEffect, top: float) -> SliceRow:
    spread, before = effect.spread, effect.loss_before
    chance = spread.chance_low if spread.chance_high is None else spread.chance_high

    def x(loss: float) -> float:
        return round(BAR_PAD + (BAR - 2 * BAR_PAD) * min(max(loss / top, 0.0), 1.0), 1)

    level = None if chance is None or before + chance > top else x(before + chance)
    bar = LossBar(
        x(before),
        x(effect.loss_after),
        x(before + spread.low),
        x(before + spread.high),
        level,
        effect.added < 0,
    )
    return SliceRow(
        slice_phrase(effect.where), effect, _chance_words(effect), spread.stands_out, bar
    )


def _chance_words(effect: SliceEffect) -> str:
    """The random parts' level: what they add at most, or move the loss by at least."""
    spread = effect.spread
    if spread.chance_high is not None:
        return f"≤\u00a0{fixed(spread.chance_high, 2)}"
    return "" if spread.chance_low is None else f"≥\u00a0{fixed(spread.chance_low, 2)}"


def _contexts(most: Sequence[Context], least: Sequence[Context], tokens: int) -> Contexts:
    scale = Scale.of([*most, *least])
    return Contexts(
        tuple(marked(each, scale, tokens, nats) for each in most),
        tuple(marked(each, scale, tokens, nats) for each in least),
        scale.top,
    )


def _rises(rises: Sequence[TokenRise], text: TextEvidence) -> tuple[RiseRow, ...]:
    top = max((abs(each.rise) for each in (*text.promoted, *text.suppressed)), default=0.0)
    return tuple(RiseRow(shown_token(r.token), r.rise, abs(r.rise) / (top or 1.0)) for r in rises)


def _rule(rule: Rule) -> RuleRow:
    answer = RULE_WORDS.get(rule.rule)
    return RuleRow(
        slice_phrase(rule.where),
        phrase_of(rule.rule) if answer is None else Phrase(answer),
        rule.agreement,
        rule.without,
    )


RULE_WORDS = {
    "token": "the same token again",
    "prev": "the token before it",
    "prev2": "the token two before it",
    "prev3": "the token three before it",
    "induced": "what came after it last time",
}
"""Variables that are rules by themselves -> what they predict."""


def head_panel(profile: AttentionProfile) -> HeadPanel:
    """Where a head looks."""
    rows = [
        (_is_class(pattern), _look(pattern, share, even, pattern == profile.pattern))
        for pattern, (share, even) in profile.shares.items()
    ]
    return HeadPanel(
        profile.name,
        place_words(profile.pattern),
        profile.share,
        tuple(row for of_class, row in rows if not of_class),
        tuple(row for of_class, row in rows if of_class),
    )


def _is_class(pattern: str) -> bool:
    return pattern.removeprefix("token in ") in KINDS


def _look(pattern: str, share: float, even: float, is_best: bool) -> LookRow:
    words = place_words(pattern)
    back = pattern.removeprefix("back ")
    short = f"{back} back" if back != pattern else pattern.removesuffix(" token")
    return LookRow(words if _is_class(pattern) else short, words, share, even, is_best)


def _neuron(profile: UnitProfile) -> Neuron:
    scale = Scale.of(profile.contexts)
    return Neuron(
        profile.layer,
        clause_phrase(profile.best_answer),
        profile.threshold,
        profile.f1,
        profile.chance,
        tuple(
            marked(context, scale, MOST_AT_PEAK, activation, peak=True)
            for context in profile.contexts
        ),
    )


def _direction(direction: Direction, pair: tuple[int, ...]) -> DirectionView:
    writer = next(module for module in pair if module != direction.reader)
    return DirectionView(
        direction.reader,
        writer,
        direction.share,
        slice_table(direction.slices),
        _contexts(direction.suffering[:MOST_TEXTS_OF_DIRECTION], (), MOST_IN_DIRECTION),
        tuple(map(wire_of, direction.wires)),
    )
