"""The claim that a module does not matter to a question, or to a slice of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from partwise.explain.chance import lesion_band
from partwise.explain.claims.base import (
    Amount,
    BaseClaim,
    Measured,
    Where,
    amount,
    checked_program,
    finding,
    known_head,
    loss_on,
    measures_on,
)
from partwise.explain.subject import Names, Part, Subject


class NoEffectClaim(BaseClaim):
    """Holding the module's inputs and hidden units at their means changes a head's mean loss by
    at most `maximum`, in the head's unit; on the samples where `where` holds, if not empty.
    """

    kind: Literal["no_effect"] = "no_effect"
    head: int = Field(0, ge=0)
    maximum: Amount
    where: Where = ""

    _in_the_language = field_validator("where")(checked_program)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        most = amount(names, self.maximum, self.head)
        return (
            f"Without this module {loss_on(names, self.head, self.where)} moves by {most} or less."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The size of what the lesion adds, against random ones of as many units."""
        head, measures = known_head(subject, self.head), measures_on(subject, self.where)
        added = measures.of_module(part.modules[0], head)
        random = measures.by_chance
        band = lesion_band(subject, random.split, part.modules[0])
        chance, unit = band.low(head, random.among), subject.data.heads[head].unit
        return finding(measures, added, self.maximum, "at most", chance, unit)
