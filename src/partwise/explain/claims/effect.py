"""The claim that a module matters to a question, or to a slice of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

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


class EffectClaim(BaseClaim):
    """Holding the module's inputs and hidden units at their means adds at least `minimum` to a
    head's loss, in the head's unit; on the samples where `where` holds, if it is not empty.
    """

    kind: Literal["effect"] = "effect"
    head: int = Field(0, ge=0)
    minimum: Amount
    where: Where = ""

    _in_the_language = field_validator("where")(checked_program)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        least = amount(names, self.minimum, self.head)
        return (
            f"Without this module {loss_on(names, self.head, self.where)} rises by {least} or more."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """What the lesion adds, against random ones of as many units."""
        head, measures = known_head(subject, self.head), measures_on(subject, self.where)
        added = measures.of_module(part.modules[0], head)
        chance = measures.of_random_module(part.modules[0], head)
        unit = subject.data.heads[head].unit
        return finding(measures, added, self.minimum, "at least", chance, unit)
