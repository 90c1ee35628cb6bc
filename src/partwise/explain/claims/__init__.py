"""Claims: one file a kind, with its parameters, its words and its test."""

from typing import Annotated

from pydantic import Field

from partwise.explain.claims.activation import ActivationClaim
from partwise.explain.claims.attends import AttendsClaim
from partwise.explain.claims.base import (
    BaseClaim,
    Measured,
    TooFewError,
    UntellingError,
    WrongClaimError,
    condition_in_words,
)
from partwise.explain.claims.effect import EffectClaim
from partwise.explain.claims.ignores import IgnoresClaim
from partwise.explain.claims.interface import InterfaceClaim
from partwise.explain.claims.next_token import NextTokenClaim
from partwise.explain.claims.no_effect import NoEffectClaim
from partwise.explain.claims.program import ProgramClaim
from partwise.explain.claims.promotes import PromotesClaim

Claim = Annotated[
    ActivationClaim
    | EffectClaim
    | NoEffectClaim
    | IgnoresClaim
    | InterfaceClaim
    | ProgramClaim
    | NextTokenClaim
    | AttendsClaim
    | PromotesClaim,
    Field(discriminator="kind"),
]

__all__ = [
    "ActivationClaim",
    "AttendsClaim",
    "BaseClaim",
    "Claim",
    "EffectClaim",
    "IgnoresClaim",
    "InterfaceClaim",
    "Measured",
    "NextTokenClaim",
    "NoEffectClaim",
    "ProgramClaim",
    "PromotesClaim",
    "TooFewError",
    "UntellingError",
    "WrongClaimError",
    "condition_in_words",
]
