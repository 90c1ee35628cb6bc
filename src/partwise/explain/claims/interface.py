"""The claim that an interface, or one direction of it, carries something or is idle."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AliasChoices, Field, field_validator

from partwise.explain.chance import wire_band
from partwise.explain.claims.base import (
    Amount,
    BaseClaim,
    Measured,
    Where,
    WrongClaimError,
    amount,
    checked_program,
    finding,
    known_head,
    loss_on,
    measures_on,
)
from partwise.explain.subject import Names, Part, Subject


class InterfaceClaim(BaseClaim):
    """Cutting the edges between two modules changes a head's mean loss by at most `amount` (it is
    idle), or adds at least as much, in the head's unit; on the samples where `where` holds, if
    not empty. With `reader`, only what this one of the two modules reads of the other is cut.
    """

    about: ClassVar[tuple[str, ...]] = ("interface",)

    kind: Literal["interface"] = "interface"
    head: int = Field(0, ge=0)
    relation: Literal["at most", "at least"]
    amount: Amount = Field(validation_alias=AliasChoices("amount", "nats"))
    where: Where = ""
    reader: int | None = Field(None, ge=0)

    _in_the_language = field_validator("where")(checked_program)

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        what = "it" if self.reader is None else f"what module {self.reader} reads through it"
        verb = "raises" if self.relation == "at least" else "moves"
        bound = amount(names, self.amount, self.head)
        loss = loss_on(names, self.head, self.where)
        return f"Cutting {what} {verb} {loss} by {self.relation} {bound}."

    def measured(self, subject: Subject, part: Part) -> Measured:
        """What the cut adds, against cuts of as many random wires, or of as much capacity."""
        if self.reader is not None and self.reader not in part.modules:
            raise WrongClaimError(f"module {self.reader} is none of the two that it joins")
        pair = part.modules[0], part.modules[1]
        head, measures = known_head(subject, self.head), measures_on(subject, self.where)
        added = measures.of_interface(pair, head, self.reader)
        random = measures.by_chance
        unit, among = subject.data.heads[head].unit, random.among
        if self.relation == "at least":
            band = wire_band(subject, random.split, pair, "capacity", self.reader)
            change = random.change_without_interface(pair, self.reader)
            chance = band.beyond_elsewhere(head, among, change)
            return finding(measures, added, self.amount, "at least", chance, unit)
        band = wire_band(subject, random.split, pair, "number", self.reader)
        return finding(measures, added, self.amount, "at most", band.low(head, among), unit)
