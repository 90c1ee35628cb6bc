"""The claim that a unit stands for a condition."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from partwise.explain.claims.base import (
    BaseClaim,
    Measured,
    ProgramText,
    checked_program,
    condition_in_words,
    finding,
    measures_on,
    named_unit,
    own_unit,
)
from partwise.explain.subject import Names, Part, Subject, where_holds


class ActivationClaim(BaseClaim):
    """A hidden unit is active when a condition on the sample holds (F1 at natural rates).

    `condition` is a program over the sample's variables; active means above `threshold`. A head's
    activity is the norm of its output.
    """

    kind: Literal["activation"] = "activation"
    unit: int = Field(ge=0)
    threshold: float = 0.0
    condition: ProgramText
    minimum_f1: float = Field(0.5, ge=0, le=1)

    _in_the_language = field_validator("condition")(checked_program)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        return (
            f"Unit {named_unit(names, self.unit)} is active (above {self.threshold:.3g}) when "
            f"{condition_in_words(self.condition, names.heads)}, with an F1 of {self.minimum_f1:g} "
            "or more."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The F1, against that of a unit that is always on."""
        unit, measures = own_unit(subject, part, self.unit), measures_on(subject, "")
        holds = where_holds(self.condition, subject.variables("claims"))
        f1, chance = measures.of_unit(unit, self.threshold, holds.numpy())
        return finding(measures, f1, self.minimum_f1, "at least", chance, "F1")
