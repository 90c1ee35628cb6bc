"""The claim that what a module writes makes some tokens likelier than others."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from partwise.explain.claims.base import (
    Amount,
    BaseClaim,
    Measured,
    WrongClaimError,
    finding,
    measures_on,
)
from partwise.explain.contribution import promotion, random_promotions
from partwise.explain.slice_words import token_among
from partwise.explain.subject import Names, Part, Subject


class PromotesClaim(BaseClaim):
    """Where one of `tokens` comes next, what the module writes raises its logit, relative to all
    tokens' and to what the module writes elsewhere in the stream, by at least `minimum` on average.
    """

    data: ClassVar[tuple[str, ...]] = ("text",)

    kind: Literal["promotes"] = "promotes"
    tokens: tuple[str, ...] = Field(min_length=1, max_length=64)
    minimum: Amount

    def words(self, names: Names) -> str:
        """The claim as a sentence."""
        shown = ", ".join(repr(token) for token in self.tokens[:12])
        more = f" and {len(self.tokens) - 12} more" if len(self.tokens) > 12 else ""
        return (
            f"What this module writes raises the logit of {shown}{more}, where one of them comes "
            f"next, by {self.minimum:g} or more."
        )

    def measured(self, subject: Subject, part: Part) -> Measured:
        """The mean rise of the logit, against what as many random units write."""
        vocabulary = subject.text.vocabulary
        place = {token: k for k, token in enumerate(vocabulary)}
        unknown = [token for token in self.tokens if token not in place]
        if unknown:
            raise WrongClaimError(f"there is no token {unknown[0]!r}")
        where = token_among("next", self.tokens)
        measures = measures_on(subject, where)
        among = measures.among
        assert among is not None
        values = promotion(subject, "claims", subject.members(part.modules[0]))
        chance = random_promotions(subject, "claims", part.modules[0], among)
        found = measures.mean(values.double().numpy(), among)
        return finding(measures, found, self.minimum, "at least", chance, "logits")
