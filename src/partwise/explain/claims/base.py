"""What every claim has: the parameters of a test, its words, and how its measure is taken."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from partwise.errors import PartwiseError
from partwise.explain.intervals import Estimate
from partwise.explain.measures import Among, Measures
from partwise.explain.slice_words import clause_in_words, slice_in_words
from partwise.explain.subject import Names, Part, Subject
from partwise.programs.language import parse_program

ProgramText = Annotated[str, Field(min_length=1, max_length=4000)]
Amount = Annotated[float, Field(gt=0, le=1e6)]
Where = Annotated[str, Field(max_length=4000)]
LEAST_SOURCES = 2
"""Fewer documents, or rows, say nothing about others."""


class WrongClaimError(PartwiseError):
    """A claim about something that does not exist: it is refuted."""


class TooFewError(PartwiseError):
    """A claim about too few samples: nothing is decided."""


class UntellingError(PartwiseError):
    """A claim that is as true of random parts: nothing is decided."""


class Measured(NamedTuple):
    """A claim's measure on held-out samples.

    Attributes:
        estimate: of the measure.
        bound: what the claim states.
        direction: the side of the bound that the claim is on; `"at most"` is about its size.
        chance: what the measure comes to by chance.
        unit: the measure's.
        samples: how many samples it was taken on.
        rows: how many independent sources they are from.
    """

    estimate: Estimate
    bound: float
    direction: Literal["at least", "at most"]
    chance: float
    unit: str
    samples: int
    rows: int


class BaseClaim(BaseModel):
    """The parameters of a test.

    `sentence` is rendered from them when the claim is tested; what a writer put there is dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    about: ClassVar[tuple[str, ...]] = ("module",)
    """The kinds of part that such a claim can be made of."""
    data: ClassVar[tuple[str, ...]] = ("table", "text")
    """The kinds of data that it can be tested on."""

    sentence: Annotated[str, Field(max_length=400)] = ""

    @property
    def programs(self) -> list[str]:
        """The programs in it."""
        fields = ("condition", "program", "rule", "where")
        return [text for name in fields if (text := getattr(self, name, ""))]

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        raise NotImplementedError

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The claim's measure on the `claims` split.

        Raises:
            WrongClaimError, ProgramError: if it is about something that does not exist.
            TooFewError: if its slice holds too few samples.
        """
        raise NotImplementedError

    def refuse_misplaced(self, subject: Subject, part: Part) -> None:
        """Stops a claim that cannot be made of this part or these data.

        Raises:
            WrongClaimError: saying why.
        """
        kind = "text" if subject.of_text else "table"
        if kind not in self.data:
            raise WrongClaimError(f"such a claim cannot be tested on a {kind}")
        if part.kind not in self.about:
            raise WrongClaimError(f"it is about {_an(self.about[0])}, and this is none")


def measures_on(subject: Subject, where: str) -> Measures:
    """Measures on the `claims` split, or a slice of it.

    Raises:
        ProgramError: if the condition is none.
        TooFewError: if the slice has samples of fewer than `LEAST_SOURCES` sources.
    """
    found = subject.sources("claims", where)
    if found < LEAST_SOURCES:
        raise TooFewError(
            f"held-out samples where {where} come from {found} independent sources; "
            f"at least {LEAST_SOURCES} are needed"
        )
    return Measures(subject, "claims", where=where)


def finding(
    measures: Measures,
    estimate: Estimate,
    bound: float,
    direction: Literal["at least", "at most"],
    chance: float,
    unit: str,
    among: Among | None = None,
) -> Measured:
    """A measure with the facts about the samples that it was taken on.

    Args:
        measures: where it was taken.
        estimate, bound, direction, chance, unit: as in `Measured`.
        among: (b,) the samples that count, where those of `measures` are not all.
    """
    rows = measures.subject.rows(measures.split)
    among = measures.among if among is None else among
    if among is None:
        samples, independent = len(rows.y), rows.independent
    else:
        samples = int(among.sum())
        independent = len(set(rows.sources[among].ravel().tolist()))
    return Measured(estimate, bound, direction, float(chance), unit, samples, independent)


def known_head(subject: Subject, head: int) -> int:
    """A question's number.

    Raises:
        WrongClaimError: if there is none of that number.
    """
    if head >= len(subject.data.heads):
        raise WrongClaimError("it names a question that does not exist")
    return head


def own_unit(subject: Subject, part: Part, unit: int) -> int:
    """The number of a unit of a module.

    Raises:
        WrongClaimError: if it does not exist, or is in another module.
    """
    if unit >= subject.units.n:
        raise WrongClaimError("it names a unit that does not exist")
    if subject.labels[unit] not in part.modules:
        raise WrongClaimError(f"unit {subject.unit_names[unit]} is not in this module")
    return unit


def checked_program(text: str) -> str:
    """A program, or nothing.

    Raises:
        ProgramError: if it is not in the language.
    """
    if text:
        parse_program(text)
    return text


def named_head(names: Names, head: int) -> str:
    """A question in words."""
    known = head < len(names.heads)
    return f"'{names.heads[head]}'" if known else f"question {head}, which does not exist"


def named_unit(names: Names, unit: int) -> str:
    """A unit in words."""
    return names.units[unit] if unit < len(names.units) else f"{unit}, which does not exist,"


def amount(names: Names, value: float, head: int) -> str:
    """An amount of a question's loss in words."""
    return f"{value:g} {names.loss_units[head]}" if head < len(names.heads) else f"{value:g}"


def loss_on(names: Names, head: int, where: str) -> str:
    """The loss on a question, or a slice of it, in words."""
    if names.of_text:
        return f"the loss on tokens {slice_in_words(where)}" if where else "the loss on all tokens"
    return f"the loss on {named_head(names, head)}{slice_words(names, where)}"


def slice_words(names: Names, where: str) -> str:
    """A condition in words, with the blank before it."""
    if names.of_text and where:
        return f" {slice_in_words(where)}"
    return f" where {condition_in_words(where, names.heads)}" if where else ""


def condition_in_words(condition: str, heads: tuple[str, ...]) -> str:
    """A condition with the question's name: `answer0 == 5` as `'first digit' is 5`."""
    worded = clause_in_words(condition)
    if worded != condition:
        return worded
    parts = condition.split()
    number = parts[0].removeprefix("answer") if len(parts) == 3 else ""
    if number.isdecimal() and int(number) < len(heads) and parts[1] in ("==", ">"):
        return f"'{heads[int(number)]}' is {'' if parts[1] == '==' else 'above '}{parts[2]}"
    return condition if len(condition) <= 200 else condition[:199] + "…"


def _an(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
