"""Evidence on text: slices, tokens promoted, contexts, attention, neurons, rules, directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from partwise.explain.attention import PATTERNS, attended, pattern_mask, place_of
from partwise.explain.chance import Band, is_its_own, lesion_band, wire_band
from partwise.explain.contribution import promoted, promotion, random_promotions
from partwise.explain.evidence.graphs import boundary, hidden_of, sizes_by_layer, units_by_layer
from partwise.explain.evidence.slices import (
    LEAST_DOCUMENTS,
    classes_of,
    frequent_tokens,
    slices_of,
    streams_of,
    tokens_before,
)
from partwise.explain.evidence.thresholds import best_threshold, carefully
from partwise.explain.intervals import Estimate
from partwise.explain.measures import Measures
from partwise.explain.slice_words import token_among
from partwise.explain.subject import Subject
from partwise.explain.values import (
    AttentionProfile,
    Context,
    Direction,
    Evidence,
    HeadEffect,
    Promotion,
    Rule,
    SliceEffect,
    Spread,
    TextEvidence,
    TokenRise,
    UnitProfile,
)
from partwise.modules import module_masses
from partwise.programs.language import Words

MOST_TOKENS = 64
MOST_RISES = 12
LEAST_RISE = 0.25
"""Logits from which on a token counts as promoted."""
MOST_CONTEXTS = 4
MOST_NEURONS = 8
MOST_HEADS = 8
MOST_WIRES = 8
MOST_RULES = 6
WINDOW = 12
FARTHEST_BACK = 8
WORTH, GREAT = 0.05, 0.5
"""Nats from which on an effect is compared with random cuts of as much capacity, and from which on
no longer with as many random wires, which do more."""
CONSTANT, OWED = 0.5, 0.2
"""A rule agrees with this share of predictions at least, and loses as much without the module."""
RULES = ("induced", "token", "prev", "prev2", "prev3")


def text_module(subject: Subject, module: int) -> Evidence:
    """Evidence about one module of a language model."""
    band = lesion_band(subject, "train", module)
    added = subject.losses_without_module("train", module) - subject.losses("train")
    slices = [
        _slice_effect(
            subject, where, lambda m: m.of_module(module, 0), added, lambda: band, lambda: band
        )
        for where in ["", *slices_of(subject)]
    ]
    suffering, spared = _contexts_by_loss(subject, added[:, 0])
    rises = promoted(subject, "train", subject.members(module))
    risen = _rises(subject, rises, 1)
    return Evidence(
        kind="module",
        modules=(module,),
        units=units_by_layer(subject, module),
        sizes=sizes_by_layer(subject, module),
        reads=(),
        feeds=(),
        interface_frac=boundary(subject, module),
        code="",
        effects=(_whole(slices[0]),),
        profiles=_neurons(subject, module),
        examples=(),
        inputs=(),
        heads=("next token",),
        text=TextEvidence(
            streams=subject.text.streams,
            tokens=_own_tokens(subject, module),
            slices=tuple(slices[1:]),
            promoted=risen,
            promotion=_promotion(subject, module, risen),
            suppressed=_rises(subject, rises, -1),
            suffering=suffering,
            spared=spared,
            attention=_attention(subject, module),
            rules=rules_of(subject, module),
        ),
    )


def text_interface(subject: Subject, pair: tuple[int, int]) -> Evidence:
    """Evidence about the edges between two modules of a language model, in both directions."""
    mass = module_masses(subject.graph, subject.labels)
    slices = _cut_slices(subject, pair, None, [""])
    return Evidence(
        kind="interface",
        modules=pair,
        units={},
        reads=(),
        feeds=(),
        interface_frac=float(2 * mass[pair]),
        code="",
        effects=(_whole(slices[0]),),
        profiles=(),
        examples=(),
        inputs=(),
        heads=("next token",),
        text=TextEvidence(
            streams=subject.text.streams,
            directions=tuple(_direction(subject, pair, reader) for reader in pair),
        ),
    )


def _direction(subject: Subject, pair: tuple[int, int], reader: int) -> Direction:
    wheres = ["", *streams_of(subject), *classes_of("next")]
    wheres = [each for each in wheres if subject.sources("train", each) >= LEAST_DOCUMENTS]
    after = subject.losses_without_interface("train", pair, reader)
    suffering, _ = _contexts_by_loss(subject, (after - subject.losses("train"))[:, 0])
    share, wires = _wires(subject, pair, reader)
    slices = tuple(_cut_slices(subject, pair, reader, wheres))
    return Direction(reader=reader, share=share, slices=slices, suffering=suffering, wires=wires)


def _cut_slices(
    subject: Subject, pair: tuple[int, int], reader: int | None, wheres: Sequence[str]
) -> list[SliceEffect]:
    return [
        _slice_effect(
            subject,
            where,
            lambda measures: measures.of_interface(pair, 0, reader),
            Measures(subject, "train").change_without_interface(pair, reader),
            lambda: wire_band(subject, "train", pair, "capacity", reader),
            lambda: wire_band(subject, "train", pair, "number", reader),
        )
        for where in wheres
    ]


def _slice_effect(
    subject: Subject,
    where: str,
    added: Callable[[Measures], Estimate],
    change: Tensor,
    more: Callable[[], Band],
    less: Callable[[], Band],
) -> SliceEffect:
    """What an intervention does to a slice, beside random ones that do `more`, or `less`."""
    among = subject.slice("train", where)
    found, careful = (
        added(Measures(subject, "train", where=where)),
        added(carefully(subject, where)),
    )
    (low, high), (safe_low, safe_high) = found.interval(), careful.interval()
    before = subject.losses("train")[:, 0]
    mean = float((before if among is None else before[torch.from_numpy(among)]).mean())
    is_worth, is_small = found.mean >= WORTH, found.mean < GREAT
    return SliceEffect(
        where=where,
        tokens=len(before) if among is None else int(among.sum()),
        loss_before=mean,
        loss_after=mean + found.mean,
        spread=Spread(
            low=low,
            high=high,
            safe_low=safe_low,
            safe_high=safe_high,
            chance_low=less().low(0, among) if is_small else None,
            chance_high=more().beyond_elsewhere(0, among, change) if is_worth else None,
        ),
    )


def _whole(effect: SliceEffect) -> HeadEffect:
    """The effect on all tokens, as the one question's."""
    return HeadEffect(
        head=0,
        name="next token",
        loss_before=effect.loss_before,
        loss_after=effect.loss_after,
        spread=effect.spread,
    )


def _own_tokens(subject: Subject, module: int) -> tuple[str, ...]:
    units = np.flatnonzero(subject.units.is_kind("token") & subject.partition.holds(module))
    strongest = units[np.argsort(-subject.graph.degrees()[units], kind="stable")][:MOST_TOKENS]
    return tuple(subject.text.vocabulary[unit] for unit in strongest)


def _rises(subject: Subject, rises: Tensor, sign: int) -> tuple[TokenRise, ...]:
    """The tokens that gain most, or lose most with sign -1, among those seen often enough."""
    target = subject.rows("train").y[:, 0].long()
    often = torch.bincount(target, minlength=len(rises)) >= LEAST_DOCUMENTS
    order = (sign * rises).masked_fill(~often, -torch.inf).argsort(descending=True)[:MOST_RISES]
    words = subject.text.vocabulary
    return tuple(
        TokenRise(token=words[k], rise=float(rises[k])) for k in order.tolist()
        if often[k] and sign * rises[k] > 0
    )  # fmt: skip


def _promotion(subject: Subject, module: int, risen: Sequence[TokenRise]) -> Promotion | None:
    """How much what a module writes raises the tokens that it raises clearly, taken together."""
    tokens = tuple(each.token for each in risen if each.rise >= LEAST_RISE)
    if not tokens:
        return None
    where = token_among("next", tokens)
    among = subject.slice("train", where)
    assert among is not None
    values = promotion(subject, "train", subject.members(module)).double().numpy()
    return Promotion(
        tokens=tokens,
        rise=float(values[among].mean()),
        safe=carefully(subject, where).mean(values, among).interval()[0],
        chance=random_promotions(subject, "train", module, among),
    )


def _contexts_by_loss(
    subject: Subject, added: Tensor
) -> tuple[tuple[Context, ...], tuple[Context, ...]]:
    """The documents whose loss rises most and least, with (tokens,) nats added at each token."""
    rows = subject.rows("train")
    per_document = added.reshape(rows.x.shape)
    order = per_document.mean(1).argsort(descending=True).tolist()
    most, least = order[:MOST_CONTEXTS], order[: -MOST_CONTEXTS - 1 : -1]
    every = range(rows.x.shape[1])

    def shown(document: int) -> Context:
        return _context(subject, document, every, per_document[document], of_next=True)

    return tuple(map(shown, most)), tuple(map(shown, least))


def _context(
    subject: Subject, document: int, places: Sequence[int], marks: Tensor, of_next: bool
) -> Context:
    """A piece of a document; marks belong to the tokens read, or to those predicted."""
    rows, words = subject.rows("train"), subject.text.vocabulary
    ids = rows.y.long().reshape(rows.x.shape) if of_next else rows.x
    stream = subject.variables("train")["stream"]
    assert isinstance(stream, Words)
    return Context(
        tokens=tuple(words[int(ids[document, t])] for t in places),
        marks=tuple(round(float(marks[t]), 4) for t in places),
        stream=subject.text.streams[int(stream.ids[document * rows.x.shape[1]])],
    )


def _neurons(subject: Subject, module: int) -> tuple[UnitProfile, ...]:
    """The module's strongest neurons: the slice that each stands for, and where it is active."""
    neurons = subject.units.is_kind("neuron")
    chosen = [unit for unit in hidden_of(subject, module) if neurons[unit]][:MOST_NEURONS]
    wheres = [where for where in slices_of(subject) if not where.startswith("position")]
    wheres += [w for w in frequent_tokens(subject, "prev") if w not in wheres]
    truths = {where: subject.slice("train", where) for where in wheres}
    profiles = []
    for unit in map(int, chosen):
        values = subject.activity_of("train", unit)
        answer, threshold, f1 = max(
            (
                (where, *best_threshold(values, torch.from_numpy(truth).float()))
                for where, truth in truths.items()
                if truth is not None
            ),
            key=lambda each: each[2],
        )
        holds = truths[answer]
        assert holds is not None
        found, chance = Measures(subject, "train").of_unit(unit, threshold, holds)
        careful, _ = carefully(subject).of_unit(unit, threshold, holds)
        profiles.append(
            UnitProfile(
                unit=unit,
                layer=subject.unit_names[unit],
                strength=float(subject.graph.degrees()[unit]),
                quantiles=tuple(torch.quantile(values, torch.linspace(0, 1, 5)).tolist()),
                best_answer=answer,
                threshold=threshold,
                f1=f1,
                f1_low=found.interval()[0],
                f1_safe=careful.interval()[0],
                chance=chance,
                contexts=_peaks(subject, values),
            )
        )
    return tuple(profiles)


def _peaks(subject: Subject, values: Tensor) -> tuple[Context, ...]:
    """Where (tokens,) values are highest, one place per document, with the tokens before it."""
    rows = subject.rows("train")
    per_document = values.reshape(rows.x.shape)
    highest, place = per_document.max(1)
    order = highest.argsort(descending=True)[:3].tolist()
    return tuple(
        _context(
            subject,
            d,
            range(max(0, int(place[d]) - WINDOW), int(place[d]) + 1),
            per_document[d],
            of_next=False,
        )
        for d in order
    )


def _attention(subject: Subject, module: int) -> tuple[AttentionProfile, ...]:
    heads = subject.units.is_kind("head")
    chosen = [int(unit) for unit in hidden_of(subject, module) if heads[unit]][:MOST_HEADS]
    return tuple(profile for unit in chosen if (profile := _looks(subject, unit)) is not None)


def _looks(subject: Subject, unit: int) -> AttentionProfile | None:
    """Where a head looks: the place with the share farthest beyond looking everywhere alike."""
    far = range(2, min(FARTHEST_BACK, subject.text.context - 1) + 1)
    patterns = [*PATTERNS, *(f"back {k}" for k in far), *classes_of("token")]
    shares: dict[str, tuple[float, float]] = {}
    safe: dict[str, float] = {}
    for pattern in patterns:
        share, even, possible = attended(
            subject, "train", unit, pattern_mask(subject, "train", pattern)
        )
        sources = subject.rows("train").sources[possible]
        if len(np.unique(sources)) < LEAST_DOCUMENTS:
            continue
        among = torch.from_numpy(possible)
        shares[pattern] = float(share[among].mean()), float(even[among].mean())
        safe[pattern] = carefully(subject).mean_share(share, possible).interval()[0]
    if not shares:
        return None
    pattern = max(shares, key=lambda each: shares[each][0] - shares[each][1])
    layer, number = place_of(subject, unit)
    return AttentionProfile(
        unit=unit,
        name=f"block {layer} head {number}",
        pattern=pattern,
        share=shares[pattern][0],
        safe=safe[pattern],
        even=shares[pattern][1],
        shares=shares,
    )


def rules_of(subject: Subject, module: int) -> tuple[Rule, ...]:
    """Rules that give the network's next token because of the module, the surest first."""
    answers = subject.answers("train", 0)
    without = subject.answers_without_module("train", module, 0)
    found = [
        *_constant_rules(subject, answers, without),
        *_copying_rules(subject, answers, without),
    ]
    found.sort(key=lambda rule: rule.without - rule.safe)
    return tuple(_beside_random(subject, module, rule) for rule in found[:MOST_RULES])


def _beside_random(subject: Subject, module: int, rule: Rule) -> Rule:
    ids = subject.tokens_given("train", rule.rule)
    own, random = is_its_own(subject, module, ids, rule.where)
    return rule.model_copy(update={"is_own": own > random})


def _constant_rules(subject: Subject, answers: Tensor, without: Tensor) -> list[Rule]:
    """After a token, always the same one."""
    token = subject.variables("train")["token"]
    assert isinstance(token, Words)
    words, rules = subject.text.vocabulary, []
    for k in tokens_before(subject, 2 * LEAST_DOCUMENTS).tolist():
        here = token.ids == k
        answer = answers[here].mode().values
        agreed, alone = (float((a[here] == answer).float().mean()) for a in (answers, without))
        if agreed >= CONSTANT and agreed - alone >= OWED:
            rule, where = repr(words[int(answer)]), f"token == {words[k]!r}"
            rules += _kept_rule(subject, rule, where, agreed, alone)
    return rules


def _copying_rules(subject: Subject, answers: Tensor, without: Tensor) -> list[Rule]:
    """The same token as one before it, or as what came after the last such one."""
    rules, variables = [], subject.variables("train")
    for name in RULES:
        words = variables[name]
        assert isinstance(words, Words)
        for where in streams_of(subject) or [f"{name} != ''"]:
            holds = subject.slice("train", where)
            assert holds is not None
            here = torch.from_numpy(holds)
            agreed, alone = (
                float((a[here] == words.ids[here]).float().mean()) for a in (answers, without)
            )
            if agreed >= CONSTANT and agreed - alone >= OWED:
                rules += _kept_rule(subject, name, where, agreed, alone)
    return rules


def _kept_rule(subject: Subject, rule: str, where: str, agreed: float, alone: float) -> list[Rule]:
    if subject.sources("train", where) < LEAST_DOCUMENTS:
        return []
    ids = subject.tokens_given("train", rule)
    safe, _ = carefully(subject, where).of_program(ids, 0)
    return [Rule(rule=rule, where=where, agreement=agreed, safe=safe.interval()[0], without=alone)]


def _wires(subject: Subject, pair: tuple[int, int], reader: int) -> tuple[float, tuple[str, ...]]:
    """What a module reads of the other, as a share of all capacity, and the strongest edges."""
    writer = pair[0] if reader == pair[1] else pair[1]
    total, crossing, strongest = 0.0, 0.0, list[tuple[float, str]]()
    reads, writes = (torch.from_numpy(subject.partition.holds(k)) for k in (reader, writer))
    for block, shares in subject.capacities():
        joins = reads[block.receivers][:, None] & writes[block.senders]
        total += float(shares.sum())
        amounts = torch.where(joins, shares, 0)
        crossing += float(amounts.sum())
        top = amounts.flatten().topk(min(MOST_WIRES, amounts.numel()))
        for value, place in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            row, column = divmod(place, shares.shape[1])
            ends = block.senders[column], block.receivers[row]
            sender, receiver = (subject.unit_names[int(end)] for end in ends)
            strongest.append((value, f"{sender} -> {receiver}"))
    strongest.sort(reverse=True)
    kept = dict.fromkeys(name for value, name in strongest if value > 0)
    return crossing / (total or 1.0), tuple(kept)[:MOST_WIRES]
