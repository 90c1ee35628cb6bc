"""Cards: what was said of a module or an interface, what it was said from, and what held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.explain import Description, Evidence, Explained, Failed
from partwise.explain.values import Example, Score, Share
from partwise.report.claims import ClaimRow, claim_rows
from partwise.report.palette import picture_colour
from partwise.report.patches import MapRow, map_rows
from partwise.report.png import Picture, tinted_picture
from partwise.report.texts import TextView, text_view
from partwise.report.words import listed, number

MOST_NAMES = 6
MOST_NUMBERS = 12


@dataclass(frozen=True)
class Sample:
    """An example: a picture, or its first inputs by name."""

    why: str
    answers: str
    activity: float
    picture: Picture | None
    numbers: tuple[tuple[str, float], ...]
    more: int


@dataclass(frozen=True)
class Shares:
    """The largest shares by name, and how many are not named."""

    named: tuple[Share, ...]
    more: int


@dataclass(frozen=True)
class Card:
    """A module or an interface.

    Attributes:
        explained: everything known of it.
        modules: its number, or its two numbers.
        description: what was said, or None.
        failed: why nothing was said, or None.
        claims: what was claimed, and what became of it.
        counts: number of claims by outcome.
        reading: map of the inputs that it reads, if they are pixels.
        samples: examples.
        reads, feeds: by name.
        text: what is known of it as a part of a language model, or None.
        maps: what its channels see, layer by layer, where it has convolutions.
    """

    explained: Explained
    modules: tuple[int, ...]
    description: Description | None
    failed: Failed | None
    claims: tuple[ClaimRow, ...]
    counts: dict[str, int]
    reading: Picture | None
    samples: tuple[Sample, ...]
    reads: Shares
    feeds: Shares
    text: TextView | None
    maps: tuple[MapRow, ...]

    @property
    def source(self) -> str:
        """What held-out data consist of."""
        return "row" if self.text is None else "document"

    @property
    def anchor(self) -> str:
        """Id of the card on the page."""
        return f"{self.explained.evidence.kind}-{'-'.join(map(str, self.modules))}"

    @property
    def judged(self) -> Score | None:
        """What a language model made of name and sentence, where it rated them."""
        return _known(self.explained.judged)

    @property
    def claims_score(self) -> Score | None:
        """What its effect claims predict, where there are any."""
        return _known(self.explained.claims_score)

    @property
    def name(self) -> str:
        """What the writer called it."""
        return self.description.name if self.description else "no description"


def _known(score: Score | None) -> Score | None:
    return None if score is None or score.failure else score


def cards_of(explained: Sequence[Explained], kind: str) -> list[Card]:
    """The cards of all modules, or of all interfaces."""
    return [_card(each) for each in explained if each.evidence.kind == kind]


def _card(explained: Explained) -> Card:
    evidence, said = explained.evidence, explained.description
    text = text_view(evidence)
    rows = claim_rows(explained.verdicts, "row" if text is None else "document")
    outcomes = [row.outcome for row in rows]
    return Card(
        explained,
        evidence.modules,
        said if isinstance(said, Description) else None,
        said if isinstance(said, Failed) else None,
        tuple(rows),
        {o: outcomes.count(o) for o in ("supported", "refuted", "undecided")},
        reading_map(evidence) if evidence.kind == "module" else None,
        _samples(evidence),
        _shares(evidence.reads),
        _shares(evidence.feeds),
        text,
        map_rows(evidence),
    )


def reading_map(evidence: Evidence) -> Picture | None:
    """Where a module reads: every pixel's share of what it reads, in the module's colour."""
    if evidence.picture is None:
        return None
    share = {each.name: each.share for each in evidence.reads}
    heat = np.array([share.get(name, 0.0) for name in evidence.inputs])
    if not heat.any() or len(heat) != np.prod(evidence.picture):
        return None
    best = int(heat.argmax())
    alt = (
        f"Picture of the inputs that {evidence.subject} reads. It reads "
        f"{np.count_nonzero(heat)} of {len(heat)} pixels, {evidence.inputs[best]} most."
    )
    height, width = evidence.picture
    strength = np.sqrt(heat / heat.max()).reshape(height, width)
    uri = tinted_picture(strength, picture_colour(evidence.modules[0]))
    return Picture(uri, alt, width, height)


def _shares(shares: Sequence[Share]) -> Shares:
    """The largest, and every module, since those are few and matter most."""
    named = [
        share
        for i, share in enumerate(shares)
        if i < MOST_NAMES or share.name.startswith("module ")
    ]
    return Shares(tuple(named), len(shares) - len(named))


def _samples(evidence: Evidence) -> tuple[Sample, ...]:
    values = np.array([each.inputs for each in evidence.examples], float)
    if not values.size:
        return ()
    low, span = values.min(), np.ptp(values) or 1.0
    return tuple(
        _sample(evidence, example, (value - low) / span)
        for example, value in zip(evidence.examples, values, strict=True)
    )


def _sample(evidence: Evidence, example: Example, ink: NDArray[np.float64]) -> Sample:
    answers = listed(
        [f"{h} {number(a)}" for h, a in zip(evidence.heads, example.answers, strict=False)]
    )
    if evidence.picture is not None and len(ink) == np.prod(evidence.picture):
        height, width = evidence.picture
        uri = tinted_picture(ink.reshape(height, width))
        alt = f"Example of {example.why} activity; right answers: {answers}."
        picture = Picture(uri, alt, width, height)
        return Sample(example.why, answers, example.activity, picture, (), 0)
    pairs = tuple(zip(evidence.inputs, example.inputs, strict=False))
    shown = pairs[:MOST_NUMBERS]
    return Sample(example.why, answers, example.activity, None, shown, len(pairs) - len(shown))
