"""The claim that a program gives the network's answers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from partwise.explain.claims.base import (
    BaseClaim,
    Measured,
    ProgramText,
    UntellingError,
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
from partwise.programs.wording import in_words
from partwise.tasks.task import SQUARED

MOST_WORDS = 160


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
        near = " to within a tenth of its spread" if is_value(names, self.head) else ""
        samples = f"{self.agreement:.0%} of samples{slice_words(names, self.where)} or more"
        return (
            f"{self._said(names)} gives the network's answer to {named_head(names, self.head)}"
            f"{near} on {samples}."
        )

    def _said(self, names: Names) -> str:
        """The program in words: all of its rules where they are short, else the first ones."""
        called = {f"x{k}": f"'{name}'" for k, name in enumerate(names.inputs)}
        words = in_words(parse_program(self.program), called, "it").removeprefix("it is ")
        if len(words) > MOST_WORDS:
            first, *rest = words.split("; ")
            kept = first if len(first) <= MOST_WORDS else first[: MOST_WORDS - 1] + "…"
            words = f"{kept}; and {len(rest)} more" if rest else kept
        return f"The program '{words}'"

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The share of samples where they agree, against always the commonest answer.

        A value agrees within a tenth of the values' standard deviation; by chance, the median does.
        A program of a module must be of a question that needs this module more than random units.
        """
        given = parse_program(self.program).evaluate(subject.variables("claims"))
        head, measures = known_head(subject, self.head), measures_on(subject, self.where)
        agreement, chance = measures.of_program(given, head)
        if part.kind == "module" and subject.modules > 1 and agreement.mean >= self.agreement:
            _refuse_needless(subject, part.modules[0], head)
        return finding(measures, agreement, self.agreement, "at least", chance, "of samples")


def _refuse_needless(subject: Subject, module: int, head: int) -> None:
    """Stops where the question needs the module no more than as many random units.

    Raises:
        UntellingError: naming what both removals add to its loss.
    """
    measures = measures_on(subject, "")
    own = float(measures.change_without_module(module)[:, head].mean())
    random = measures.of_random_module(module, head)
    if own <= random:
        raise UntellingError(
            f"without the module the question's loss moves by {own:.3g}, without as many random "
            f"units by {random:.3g}: the program is not its own"
        )


def is_value(names: Names, head: int) -> bool:
    """Whether a question asks for a value."""
    return head < len(names.loss_units) and names.loss_units[head] == SQUARED
