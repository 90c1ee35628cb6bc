"""The claim that a question does not depend on some inputs."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from partwise.explain.chance import input_band
from partwise.explain.claims.base import (
    Amount,
    BaseClaim,
    Measured,
    WrongClaimError,
    amount,
    finding,
    known_head,
    loss_on,
    measures_on,
)
from partwise.explain.subject import Names, Part, Subject

MOST_NAMES = 8


class IgnoresClaim(BaseClaim):
    """Taking these inputs from another sample changes a head's mean loss by at most `maximum`, in
    the head's unit. About a module it can only be claimed of inputs that are not the module's own.
    """

    about: ClassVar[tuple[str, ...]] = ("module", "interface")
    data: ClassVar[tuple[str, ...]] = ("table",)

    kind: Literal["ignores"] = "ignores"
    inputs: tuple[int, ...] = Field(min_length=1, max_length=4096)
    head: int = Field(ge=0)
    maximum: Amount

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        return (
            f"{_named(self.inputs, names.inputs)} taken from other samples move "
            f"{loss_on(names, self.head, '')} by {amount(names, self.maximum, self.head)} or less."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The size of what the swap adds, against as many random inputs."""
        if max(self.inputs) >= len(subject.task.inputs) or min(self.inputs) < 0:
            raise WrongClaimError("it names an input that does not exist")
        own = set(np.flatnonzero(np.isin(subject.labels[: len(subject.task.inputs)], part.modules)))
        if part.kind == "module" and own & set(self.inputs):
            raise WrongClaimError("it names inputs of this module, which are no others'")
        head, measures = known_head(subject, self.head), measures_on(subject, "")
        added = measures.of_inputs(self.inputs, head)
        chance = input_band(subject, "claims", self.inputs).low(head)
        unit = subject.data.heads[head].unit
        return finding(measures, added, self.maximum, "at most", chance, unit)


def _named(chosen: tuple[int, ...], inputs: tuple[str, ...]) -> str:
    if len(chosen) > MOST_NAMES or max(chosen) >= len(inputs):
        return f"{len(chosen)} of the {len(inputs)} inputs"
    return ", ".join(inputs[k] for k in chosen)
