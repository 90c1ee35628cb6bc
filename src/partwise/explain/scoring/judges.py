"""Judges: who reads a description and says which samples need the module."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from partwise.errors import ProgramError
from partwise.explain.claims import Claim, EffectClaim
from partwise.explain.endpoints import Endpoint, Settings, UnansweredError
from partwise.explain.prompts import judge_prompt
from partwise.explain.scoring.samples import Samples
from partwise.explain.values import Description, Failed

AT_ONCE = 20
"""Samples in one prompt."""
MOST = 9
"""The highest rating."""
SUFFERS = 0.1
"""What a removal must add to a loss for the sample to count as one that suffers, in nats."""


class Judge(Protocol):
    """Whoever rates samples by a description."""

    @property
    def name(self) -> str:
        """How reports name the judge."""
        ...

    @property
    def middle(self) -> float:
        """The rating from which on a sample is said to suffer."""
        ...

    def rates(self, words: Description, samples: Samples) -> NDArray[np.float64] | Failed:
        """(n,) how much each sample needs the part, on any scale; or why there is no rating."""
        ...


class ClaimJudge:
    """Believes a description's effect claims, and nothing else.

    A sample is rated by the largest effect that a claim promises for it, 0 where none does.
    """

    name = "claims"
    middle = SUFFERS

    def rates(self, words: Description, samples: Samples) -> NDArray[np.float64] | Failed:
        """See `Judge`."""
        if not _effects(words.claims):
            return Failed(reason="no effect is claimed")
        heads, rows = samples.of_head()
        promised = np.zeros(len(samples))
        for claim in _effects(words.claims):
            try:
                among = samples.subject.slice("final", claim.where)
            except ProgramError as error:
                return Failed(reason=str(error))
            concerned = heads == claim.head
            if among is not None:
                concerned &= np.asarray(among, bool)[rows]
            promised[concerned] = np.maximum(promised[concerned], claim.minimum)
        return promised


def _effects(claims: Sequence[Claim]) -> list[EffectClaim]:
    return [claim for claim in claims if isinstance(claim, EffectClaim)]


class EndpointJudge:
    """A language model that reads name and sentence, and rates samples."""

    middle = MOST / 2

    def __init__(self, endpoint: Endpoint, settings: Settings | None = None) -> None:
        """Takes who is asked, and how."""
        self.name = endpoint.name
        self._endpoint = endpoint
        self._settings = settings or Settings()

    def rates(self, words: Description, samples: Samples) -> NDArray[np.float64] | Failed:
        """See `Judge`."""
        return self.rated(words, [sample.text for sample in samples])

    def rated(self, words: Description, texts: Sequence[str]) -> NDArray[np.float64] | Failed:
        """(n,) ratings of samples that are given as text."""
        found: list[float] = []
        for start in range(0, len(texts), AT_ONCE):
            part = self._part(words, texts[start : start + AT_ONCE])
            if isinstance(part, Failed):
                return part
            found += part
        return np.array(found)

    def _part(self, words: Description, texts: Sequence[str]) -> list[float] | Failed:
        try:
            reply = self._endpoint.ask(
                judge_prompt(words, texts, judge_schema(len(texts)), MOST), self._settings
            )
        except UnansweredError as error:
            return Failed(reason=error.reason, raw_reply=error.raw)
        return _read(reply.text, len(texts), reply.raw)


def judge_schema(samples: int) -> dict[str, Any]:
    """The JSON schema of a judge's reply."""
    rating = {"type": "integer", "minimum": 0, "maximum": MOST}
    ratings = {"type": "array", "items": rating, "minItems": samples, "maxItems": samples}
    return {
        "type": "object",
        "properties": {"ratings": ratings},
        "required": ["ratings"],
        "additionalProperties": False,
    }


def _read(text: str, samples: int, raw: str) -> list[float] | Failed:
    try:
        ratings = json.loads(text)["ratings"]
        found = [float(each) for each in ratings]
    except (ValueError, KeyError, TypeError):
        return Failed(reason="the judge's reply has no ratings", raw_reply=raw)
    if len(found) != samples or not all(0 <= each <= MOST for each in found):
        return Failed(reason=f"the judge gave no {samples} ratings of 0 to {MOST}", raw_reply=raw)
    return found
