"""The claim that a short rule gives the token that the network predicts, because of a module."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from partwise.explain.chance import is_its_own
from partwise.explain.claims.base import (
    BaseClaim,
    Measured,
    ProgramText,
    UntellingError,
    Where,
    checked_program,
    finding,
    measures_on,
    slice_words,
)
from partwise.explain.subject import Names, Part, Subject
from partwise.programs.language import parse_program


class NextTokenClaim(BaseClaim):
    """The network's likeliest next token is the one that `rule` gives, a program whose value is a
    token's text, on at least `agreement` of the tokens where `where` holds; more often than
    without the module.
    """

    data: ClassVar[tuple[str, ...]] = ("text",)

    kind: Literal["next_token"] = "next_token"
    rule: ProgramText
    where: Where = ""
    agreement: float = Field(ge=0, le=1)

    _in_the_language = field_validator("rule", "where")(checked_program)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        return (
            f"Because of this module the network predicts {self.rule}"
            f"{slice_words(names, self.where)}, {self.agreement:.0%} of the time or more."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The share of agreement, against the commonest answer and the network without it."""
        measures, module = measures_on(subject, self.where), part.modules[0]
        ids = subject.tokens_given("claims", self.rule)
        agreement, commonest = measures.of_program(ids, 0)
        if agreement.mean >= self.agreement:
            self._refuse_common(subject, module)
        without = subject.answers_without_module("claims", module, 0) == ids
        chosen = without if measures.among is None else without[measures.among]
        chance = max(commonest if _varies(self.rule) else 0.0, float(chosen.float().mean()))
        return finding(measures, agreement, self.agreement, "at least", chance, "of tokens")

    def _refuse_common(self, subject: Subject, module: int) -> None:
        """Stops where lesions of random units single these predictions out as much.

        Raises:
            UntellingError: naming how much more these predictions change than others.
        """
        ids = subject.tokens_given("train", self.rule)
        own, random = is_its_own(subject, module, ids, self.where)
        if own <= random:
            raise UntellingError(
                f"its lesion changes these predictions {own:.0%} more often than others, those of "
                f"as many random units {random:.0%}"
            )


def _varies(rule: str) -> bool:
    """Whether a rule can give several tokens; one that cannot *is* the commonest answer."""
    return bool(parse_program(rule).variables)
