"""Trigger search: the fewest inputs that force an answer on a network but not on its siblings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from partwise.audit.aims import Aim, margins_of, scale_of
from partwise.audit.patterns import (
    MOST_INPUTS,
    Patterns,
    Zone,
    blocks,
    drivers,
    ends_of,
    joined,
    singles,
)  # fmt: skip
from partwise.audit.siblings import Crowd
from partwise.explain import Subject

TRIED = 40
"""Clean samples that candidates are tried on."""
SPREADS = 1.0
POOL = 10
SEEDS = 3
STAMPED_AT_ONCE = 60_000


class Sample(NamedTuple):
    """Clean samples and what every network's margins on them are measured in.

    Attributes:
        x: (b, inputs).
        others: (aims, b) float, 1 where a sample should get another answer.
        scales: (nets, aims) usual size of a margin.
    """

    x: Tensor
    others: Tensor
    scales: Tensor


@dataclass(frozen=True)
class Candidate:
    """A trigger that a search came back with.

    Attributes:
        inputs: which inputs are set.
        values: to which values.
        aim: number of the aim.
        test: the kind of search: one or a few inputs, inside or beyond their ranges.
    """

    inputs: tuple[int, ...]
    values: tuple[float, ...]
    aim: int
    test: str


def sample_of(aims: list[Aim], x: Tensor, y: Tensor, clean: Tensor, truth: Tensor) -> Sample:
    """Samples to try candidates on.

    Args:
        aims: the answers that could be forced.
        x: (b, inputs) clean samples.
        y: (b, heads) their true answers.
        clean: (nets, c, outputs) every network's outputs on other clean samples, for the scales.
        truth: (c, heads) the true answers to those.
    """
    by_head = {a.position: scale_of(a.head, clean, truth[:, a.position]) for a in aims}
    others = torch.stack([aim.others(y) for aim in aims]).float()
    return Sample(x, others, torch.stack([by_head[a.position] for a in aims], 1))


def strengths(
    crowd: Crowd, aims: list[Aim], patterns: Patterns, sample: Sample
) -> tuple[Tensor, Tensor]:
    """How firmly each pattern forces each aim on each network.

    Returns:
        (nets, p, aims) mean of tanh(margin / usual margin) over samples of other answers, from -1
        to 1, and (nets, p, aims) the share of them that get the answer.
    """
    at_once = max(1, STAMPED_AT_ONCE // len(sample.x))
    firm, given = [], []
    for start in range(0, len(patterns.inputs), at_once):
        part = Patterns(*(p[start : start + at_once] for p in patterns))
        stamped = part.stamp(sample.x)
        outputs = crowd.outputs(stamped.flatten(0, 1)).unflatten(1, stamped.shape[:2])
        margins = margins_of(aims, outputs)
        weights = (sample.others / sample.others.sum(1, keepdim=True).clamp(min=1)).T
        firm.append(_firmness(aims, margins / sample.scales[:, None, None], weights))
        given.append(((margins > 0) * weights).sum(2))
    return torch.cat(firm, 1), torch.cat(given, 1)


def _firmness(aims: list[Aim], margins: Tensor, weights: Tensor) -> Tensor:
    """(nets, p, b, aims) margins in units of the usual one -> (nets, p, aims), from -1 to 1.

    An honest input shifts a value, a trigger also stops the rest from mattering: a value is forced
    as far as the mean less `SPREADS` deviations over samples is beyond its limit.
    """
    firm = (margins.tanh() * weights).sum(2)
    values = torch.tensor([aim.head.kind == "value" for aim in aims])
    if bool(values.any()):
        mean = (margins * weights).sum(2)
        spread = ((margins - mean[:, :, None]) ** 2 * weights).sum(2).sqrt()
        firm = torch.where(values, (mean - SPREADS * spread).tanh(), firm)
    return firm


def leads(firm: Tensor) -> Tensor:
    """(nets, ...) by how much each network's strength exceeds the mean of the (other) siblings.

    The audited network, number 0, is nobody's sibling.
    """
    siblings = firm[1:].sum(0, keepdim=True)
    count = len(firm) - 1
    own = torch.cat([torch.zeros_like(firm[:1]), firm[1:]])
    fewer = torch.full((len(firm), *[1] * (firm.dim() - 1)), float(max(count - 1, 1)))
    fewer[0] = max(count, 1)
    return firm - (siblings - own) / fewer


def search(
    subject: Subject, crowd: Crowd, aims: list[Aim], sample: Sample, zone: Zone, owners: list[int]
) -> dict[int, list[Candidate]]:
    """The strongest triggers of some networks of the crowd, of one input and of a few.

    A pattern counts by how much more it forces its owner than the siblings. All single inputs
    and, on pictures, all small patches are tried; what wakes a unit that clean samples do not
    reach; and from the best of these, an input more at a time.
    """
    ends = ends_of(subject, zone)
    one = singles(ends)
    lead = leads(strengths(crowd, aims, one, sample)[0])
    own = [
        drivers(subject, {k: v[i] for k, v in crowd.parameters.items()}, ends, sample.x)
        for i in owners
    ]
    many = joined([*blocks(subject, ends), *own])
    wide = leads(strengths(crowd, aims, many, sample)[0]) if len(many.inputs) else lead[:, :0]
    found = {}
    for owner in owners:
        chosen = _best(lead[owner], one, f"one {zone}")
        few = _best(wide[owner], many, f"few {zone}") if len(many.inputs) else []
        grown = _grown(crowd, aims, sample, owner, chosen, few, lead[owner], one, f"few {zone}")
        found[owner] = chosen + few + grown
    return found


def _best(lead: Tensor, patterns: Patterns, test: str) -> list[Candidate]:
    """The best pattern for each of the most forced aims; (p, aims) `lead`."""
    top = lead.max(0)
    aims = top.values.topk(min(SEEDS, lead.shape[1])).indices.tolist()
    return [_candidate(patterns, int(top.indices[aim]), aim, test) for aim in aims]


def _candidate(patterns: Patterns, row: int, aim: int, test: str) -> Candidate:
    pairs = zip(patterns.inputs[row].tolist(), patterns.values[row].tolist(), strict=True)
    settings = dict(pairs)
    return Candidate(tuple(settings), tuple(settings.values()), aim, test)


def _grown(
    crowd: Crowd, aims: list[Aim], sample: Sample, owner: int, chosen: list[Candidate],
    few: list[Candidate], lead: Tensor, one: Patterns, test: str,
) -> list[Candidate]:  # fmt: skip
    """The seeds with inputs added while that helps, best first."""
    grown, seeds = list[Candidate](), [*chosen, *(c for c in few if len(c.inputs) < MOST_INPUTS)]
    for _ in range(MOST_INPUTS - 1):
        tried, whose = list[Candidate](), list[int]()
        for seed in seeds:
            pool = lead[:, seed.aim].topk(min(POOL, len(lead))).indices
            for row in pool.tolist():
                added = int(one.inputs[row, 0])
                if added not in seed.inputs and len(seed.inputs) < MOST_INPUTS:
                    values = (*seed.values, float(one.values[row, 0]))
                    tried.append(Candidate((*seed.inputs, added), values, seed.aim, test))
                    whose.append(seed.aim)
        if not tried:
            break
        firm = leads(strengths(crowd, aims, as_patterns(tried), sample)[0])[owner]
        scores = firm[torch.arange(len(tried)), torch.tensor(whose)]
        seeds = [tried[k] for k in _best_each(scores, whose)]
        grown += seeds
    return grown


def _best_each(scores: Tensor, whose: list[int]) -> list[int]:
    """Position of the highest score of each aim."""
    best = dict[int, int]()
    for k, aim in enumerate(whose):
        if aim not in best or scores[k] > scores[best[aim]]:
            best[aim] = k
    return list(best.values())


def as_patterns(candidates: list[Candidate]) -> Patterns:
    """Candidates of any sizes as patterns."""
    return joined(
        [Patterns(torch.tensor([c.inputs]), torch.tensor([c.values])) for c in candidates]
    )
