"""The claim that a program gives the network's answers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from partwise.explain.claims.base import (
    BaseClaim,
    Measured,
    ProgramText,
    Where,
    checked_program,
    finding,
    known_head,
    measures_on,
    named_head,
    slice_words,
)
from partwise.explain.subject import Names, Part, Subject
from partwise.programs.language import parse_program


class ProgramClaim(BaseClaim):
    """A program gives the network's answer to a head on at least `agreement` of the samples where
    `where` holds, or of all if it is empty.
    """

    about: ClassVar[tuple[str, ...]] = ("module", "interface")
    data: ClassVar[tuple[str, ...]] = ("table",)

    kind: Literal["program"] = "program"
    head: int = Field(ge=0)
    program: ProgramText
    agreement: float = Field(ge=0, le=1)
    where: Where = ""

    _in_the_language = field_validator("program", "where")(checked_program)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        long = len(self.program) > 60
        text = f"The program {self.program[:40]}…" if long else self.program
        samples = f"{self.agreement:.0%} of samples{slice_words(names, self.where)} or more"
        return f"{text} gives the network's answer to {named_head(names, self.head)} on {samples}."

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The share of samples where they agree, against always the commonest answer."""
        given = parse_program(self.program).evaluate(subject.variables("claims"))
        head, measures = known_head(subject, self.head), measures_on(subject, self.where)
        agreement, chance = measures.of_program(given, head)
        return finding(measures, agreement, self.agreement, "at least", chance, "of samples")
