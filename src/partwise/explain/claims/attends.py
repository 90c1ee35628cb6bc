"""The claim that an attention head looks at a certain place."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from partwise.errors import ProgramError
from partwise.explain.attention import PATTERNS, attended, pattern_mask, place_words
from partwise.explain.claims.base import (
    BaseClaim,
    Measured,
    Where,
    WrongClaimError,
    checked_program,
    finding,
    measures_on,
    named_unit,
    own_unit,
    slice_words,
)
from partwise.explain.subject import Names, Part, Subject


class AttendsClaim(BaseClaim):
    """An attention head gives at least `minimum` of its attention, on average, to `pattern`.

    A pattern is "previous token", "current token", "first token", "same token" (earlier
    occurrences of the current one), "induction" (what came after them), "back 5" (so many tokens
    back), or a condition on the token that is looked at. Only tokens with such a place count, and
    of them those where `where` holds, if it is not empty.
    """

    data: ClassVar[tuple[str, ...]] = ("text",)

    kind: Literal["attends"] = "attends"
    unit: int = Field(ge=0)
    pattern: str = Field(min_length=1, max_length=400)
    minimum: float = Field(gt=0, le=1)
    where: Where = ""

    _in_the_language = field_validator("where")(checked_program)

    @field_validator("pattern")
    @classmethod
    def _known(cls, pattern: str) -> str:
        known = pattern in PATTERNS or pattern.removeprefix("back ").isdecimal()
        return pattern if known else checked_program(pattern)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        return (
            f"Unit {named_unit(names, self.unit)} gives {self.minimum:.0%} of its attention or "
            f"more to {place_words(self.pattern)}{slice_words(names, self.where)}."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The mean share of attention, against attention to all earlier tokens alike."""
        unit = own_unit(subject, part, self.unit)
        if subject.graph.groups[subject.graph.group_of_unit()[unit]].kind != "head":
            raise WrongClaimError(f"unit {subject.unit_names[unit]} is no attention head")
        measures = measures_on(subject, self.where)
        try:
            mask = pattern_mask(subject, "claims", self.pattern)
        except ValueError as error:
            raise ProgramError(str(error)) from error
        shares, even, possible = attended(subject, "claims", unit, mask)
        among = possible if measures.among is None else possible & measures.among
        if len(np.unique(subject.rows("claims").sources[among])) < 2:
            raise WrongClaimError("no held-out token has such a place to look at")
        found = measures.mean_share(shares, among)
        return finding(
            measures, found, self.minimum, "at least", _mean(even, among), "of attention", among
        )


def _mean(values: Tensor, among: np.ndarray) -> float:
    return float(values[torch.from_numpy(among)].mean())
