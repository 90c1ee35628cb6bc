"""Found triggers: what a search came back with, and how it compares with clean siblings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import stdtr
from torch import Tensor, nn

from partwise.audit.aims import Aim, aims_of, skill_of
from partwise.audit.patterns import Zone, zones_of
from partwise.audit.search import (
    TRIED,
    Candidate,
    Sample,
    as_patterns,
    leads,
    sample_of,
    search,
    strengths,
)  # fmt: skip
from partwise.audit.siblings import Crowd, crowd_of, fresh_copies, train_siblings
from partwise.errors import first_line
from partwise.explain import Subject
from partwise.tasks import Trigger

FLAG_SUCCESS = 0.5
"""A trigger counts if it forces this share of samples more than happens without it, and more than
siblings can be forced to."""
FLAG_P = 0.005
MOST_LEAD = 1.9
"""The lead of a trigger that forces every sample and that siblings do not obey at all."""
SIBLINGS = (8, 16)
"""Siblings of a large and of a small network: the more, the smaller p-values can be."""
SMALL = 8_000  # parameters
STEPS = 300
MEASURED = 250
"""Held-out samples that triggers of the network and of its siblings are compared on."""
FEWEST = 8
LEAST_SKILL = 0.1
LEAST_SIBLING_SKILL = 0.7
LEAST_SPREAD = 0.05
MOST_PARAMETERS = 300_000
BARE_SUCCESS = 0.8
BARE_INPUTS = 30
BARE_ANSWERS = 3
"""Without siblings only triggers that force nearly all samples further than any clean sample goes
are flagged, and only where an answer has two rivals and the inputs are many."""


@dataclass(frozen=True)
class FoundTrigger:
    """A trigger and how strong it is, measured on `claims`.

    Attributes:
        trigger: inputs, values, and the answer they force; for a value 1 is high and 0 low.
        aim: the forced answer.
        success: share of samples of other answers that get it with the trigger.
        baseline: share of the same samples that get it without.
        siblings: mean share of them that the trigger forces on clean siblings; None without.
        p_value: how often clean siblings can be forced as far, over all kinds of search.
        lead: by how much it is firmer than on siblings, 0 to 2.
    """

    trigger: Trigger
    aim: Aim
    success: float
    baseline: float
    siblings: float | None
    p_value: float
    lead: float

    @property
    def gain(self) -> float:
        """Success above what happens without the trigger, and above what it does to siblings."""
        return self.success - max(self.baseline, self.siblings or 0.0)


@dataclass(frozen=True, eq=False)
class Inquiry:
    """Everything that the search in one network rests on.

    Attributes:
        crowd: the network and its siblings.
        aims: the answers that were searched.
        tried: clean samples that candidates are tried on.
        measured: held-out samples that the found are measured on.
        zones: inside the inputs' ranges, and beyond.
        null: kind of search -> mean and deviation of the siblings' leads.
        reasons: what was not searched or not told, and why.
    """

    crowd: Crowd
    aims: list[Aim]
    tried: Sample
    measured: Sample
    zones: tuple[Zone, ...]
    null: Mapping[str, tuple[float, float]]
    reasons: tuple[str, ...]

    @property
    def bare(self) -> bool:
        """Whether there are no siblings to compare with."""
        return len(self.crowd) == 1

    def p_value(self, test: str, lead: float) -> float:
        """One-sided prediction by Student's t from the siblings' leads, over all kinds of search.

        The null is of the largest lead over answers, so that no answer is counted apart.
        """
        if test not in self.null:
            return 1.0
        mean, deviation = self.null[test]
        count = len(self.crowd) - 1
        t = (lead - mean) / (max(deviation, LEAST_SPREAD) * np.sqrt(1 + 1 / count))
        return float(min(1.0, len(self.null) * stdtr(count - 1, -t)))


def is_flagged(found: FoundTrigger) -> bool:
    """Whether a trigger forces many samples that siblings resist, more than chance would."""
    return found.gain >= FLAG_SUCCESS and found.p_value <= FLAG_P


def inquire(subject: Subject) -> Inquiry:
    """Trains siblings, finds out what they can be forced to, and what cannot be judged."""
    train, claims = subject.batch("train"), subject.batch("claims")
    crowd, reasons = _crowd(subject)
    clean = crowd.outputs(claims.x)
    aims, unsearched = _aims(subject, clean)
    reasons += unsearched
    if not aims:
        empty = Sample(claims.x, torch.zeros(0, len(claims.x)), torch.zeros(len(crowd), 0))
        return Inquiry(crowd, [], empty, empty, (), {}, tuple(reasons))
    tried = sample_of(aims, train.x[:TRIED], train.y[:TRIED], clean, claims.y)
    measured = sample_of(aims, claims.x[:MEASURED], claims.y[:MEASURED], clean, claims.y)
    zones = zones_of(subject)
    inquiry = Inquiry(crowd, aims, tried, measured, zones, {}, tuple(reasons))
    if inquiry.bare:
        return inquiry
    inquiry = replace(inquiry, null=_null(subject, inquiry))
    return replace(inquiry, reasons=(*reasons, *_powerless(inquiry)))


def _crowd(subject: Subject) -> tuple[Crowd, list[str]]:
    """The network with its trained siblings, or alone and why."""
    alone, model = crowd_of(subject.model, []), subject.model
    size = sum(parameter.numel() for parameter in model.parameters())
    if size > MOST_PARAMETERS:
        return alone, [f"No siblings: {size} parameters are more than {MOST_PARAMETERS}."]
    copies = fresh_copies(model, SIBLINGS[size <= SMALL], subject.seed)
    if copies is None:
        return alone, ["No siblings: a layer has no reset_parameters."]
    batch = subject.batch("train")
    try:
        crowd = train_siblings(
            crowd_of(model, copies), subject.task, batch.x, batch.y, STEPS, subject.seed
        )
    except RuntimeError as error:  # what vmap does not take: in-place writes, branches on data
        why = first_line(error)[:120]
        return alone, [f"No siblings: the model cannot be run in a stack ({why})."]
    return crowd, []


def _aims(subject: Subject, clean: Tensor) -> tuple[list[Aim], list[str]]:
    """The answers that can be searched, and why others cannot."""
    truth, known = subject.batch("claims").y, subject.batch("train").y
    aims, reasons = list[Aim](), list[str]()
    for k, head in enumerate(subject.task.heads):
        skill = skill_of(head, clean, truth[:, k])
        if float(skill[0]) < LEAST_SKILL:
            reasons.append(
                f"'{head.name}' was not searched: the network is hardly better than always giving "
                f"the same answer (skill {float(skill[0]):.2f}, wanted {LEAST_SKILL})."
            )
            continue
        if len(skill) > 1 and float(skill[1:].median()) < LEAST_SIBLING_SKILL * float(skill[0]):
            reasons.append(
                f"'{head.name}' was not searched: siblings trained on the clean samples do not "
                f"learn it (skill {float(skill[1:].median()):.2f}, the network's "
                f"{float(skill[0]):.2f})."
            )
            continue
        for aim in aims_of(subject.task, k, known):
            if int(aim.others(truth[:MEASURED]).sum()) >= FEWEST:
                aims.append(aim)
            else:
                reasons.append(
                    f"{aim.words} was not searched: fewer than {FEWEST} samples of other answers."
                )
    return aims, reasons


def _null(subject: Subject, inquiry: Inquiry) -> dict[str, tuple[float, float]]:
    """What the same search finds in each sibling: mean and deviation of the largest leads."""
    siblings = list(range(1, len(inquiry.crowd)))
    largest = dict[str, list[float]]()
    for zone in inquiry.zones:
        found = search(subject, inquiry.crowd, inquiry.aims, inquiry.tried, zone, siblings)
        for owner, candidates in found.items():
            lead = _measure(inquiry, candidates, owner)[0].tolist()
            for test in {each.test for each in candidates}:
                own = [v for v, each in zip(lead, candidates, strict=True) if each.test == test]
                largest.setdefault(test, []).append(max(own))
    return {k: (float(np.mean(v)), float(np.std(v, ddof=1))) for k, v in largest.items()}


def _measure(
    inquiry: Inquiry, candidates: list[Candidate], owner: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(candidates,) lead, success on the owner and mean success on siblings, held out."""
    firm, given = strengths(inquiry.crowd, inquiry.aims, as_patterns(candidates), inquiry.measured)
    rows, aims = torch.arange(len(candidates)), torch.tensor([each.aim for each in candidates])
    firm, given = firm[:, rows, aims], given[:, rows, aims]
    return leads(firm)[owner], given[owner], given[1:].mean(0)


def _powerless(inquiry: Inquiry) -> list[str]:
    """Kinds of search in which even a perfect trigger would not stand out."""
    reasons = []
    for test in inquiry.null:
        if inquiry.p_value(test, MOST_LEAD) > FLAG_P:
            size, zone = test.split()
            reasons.append(
                f"Triggers of {'one input' if size == 'one' else 'a few inputs'} {zone} the "
                "inputs' ranges cannot be told: clean siblings can be forced as far."
            )
    return reasons


def find_triggers(subject: Subject, inquiry: Inquiry) -> list[FoundTrigger]:
    """The network's strongest triggers, flagged ones first.

    Args:
        subject: the network; its model may have been repaired since the inquiry.
        inquiry: what its siblings can be forced to.
    """
    if not inquiry.aims:
        return []
    inquiry = replace(inquiry, crowd=inquiry.crowd.with_first(subject.model))
    found = list[FoundTrigger]()
    for zone in inquiry.zones:
        candidates = search(subject, inquiry.crowd, inquiry.aims, inquiry.tried, zone, [0])[0]
        lead = _measure(inquiry, candidates, 0)[0].tolist()
        best = dict[tuple[str, int], int]()
        for k, each in enumerate(candidates):
            key = each.test, each.aim
            if key not in best or lead[k] > lead[best[key]]:
                best[key] = k
        found += [_found(subject, inquiry, candidates[k], lead[k]) for k in best.values()]
    return sorted(found, key=lambda each: (not is_flagged(each), each.p_value, -each.gain))


def _found(subject: Subject, inquiry: Inquiry, candidate: Candidate, lead: float) -> FoundTrigger:
    aim = inquiry.aims[candidate.aim]
    batch = subject.batch("claims")
    x = batch.x[aim.others(batch.y)]
    trigger = Trigger(candidate.inputs, candidate.values, aim.position, aim.answer)
    clean, stamped = inquiry.crowd.outputs(x), inquiry.crowd.outputs(trigger.stamp(x))
    given = (aim.margins(stamped) > 0).float().mean(1)
    found = FoundTrigger(
        trigger,
        aim,
        float(given[0]),
        float((aim.margins(clean[0]) > 0).float().mean()),
        None if inquiry.bare else float(given[1:].mean()),
        inquiry.p_value(candidate.test, lead),
        lead,
    )
    if inquiry.bare and _is_beyond_clean(subject, inquiry, found, stamped[0]):
        return replace(found, p_value=1 / (1 + len(batch.x)))
    return found


def _is_beyond_clean(
    subject: Subject, inquiry: Inquiry, found: FoundTrigger, stamped: Tensor
) -> bool:
    """Whether a trigger takes nearly all samples further than any clean sample goes by itself."""
    rivals = sum(aim.position == found.aim.position for aim in inquiry.aims)
    few = rivals < BARE_ANSWERS or len(subject.task.inputs) < BARE_INPUTS
    if few or found.success - found.baseline < BARE_SUCCESS:
        return False
    clean = inquiry.crowd.outputs(subject.batch("claims").x)[0]
    return bool(found.aim.margins(stamped).median() > found.aim.margins(clean).max())


@torch.no_grad()
def attack_on(model: nn.Module, found: FoundTrigger, x: Tensor, y: Tensor) -> float:
    """Share of the samples of other answers that a found trigger forces on a network.

    Args:
        model: the network, perhaps repaired.
        found: the trigger.
        x: (b, inputs) clean samples.
        y: (b, heads) their true answers.
    """
    others = x[found.aim.others(y)]
    margins = found.aim.margins(model(found.trigger.stamp(others)))
    return float((margins > 0).float().mean()) if len(others) else 0.0


@torch.no_grad()
def success_of(subject: Subject, trigger: Trigger, x: Tensor) -> float:
    """Share of samples (b, inputs) that get the trigger's class once it is stamped on them."""
    outputs = subject.model(trigger.stamp(x))
    answers = subject.task.heads[trigger.head].answers(outputs)
    return (answers == trigger.answer).float().mean().item()
