"""What travels between evidence, writers, tests and reports.

All texts come from writers, which may be language models that read a model: they are capped in
length here, escaped where they are shown, and never executed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from partwise.explain.language import parse_program


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(_Value):
    """Something a module reads or feeds, and how much of the capacity it stands for."""

    name: str
    share: float


class Example(_Value):
    """A sample that says something about the subject: why, and what happened on it."""

    why: Literal["highest", "lowest", "random"]
    inputs: tuple[float, ...]
    activity: float
    answers: tuple[float, ...]


class UnitProfile(_Value):
    """One hidden unit on the evidence samples.

    `best_answer` is the condition on the right answer that its activation tells best: active
    means above `threshold`, which was chosen for the highest F1.
    """

    unit: int
    layer: str
    strength: float
    quantiles: tuple[float, ...]
    best_answer: str
    threshold: float
    f1: float


class HeadEffect(_Value):
    """What an intervention on the subject does to one question's loss, on evidence samples.

    Attributes:
        head: the question's number.
        name: its name.
        loss_before, loss_after: mean loss without and with the intervention.
        variance: of the values that are asked for, where the loss is a squared error; None where
            it is in nats.
    """

    head: int
    name: str
    loss_before: float
    loss_after: float
    variance: float | None = Field(default=None, gt=0)

    @property
    def scale(self) -> float:
        """What counts as much of a loss as a nat: all that there is to know of a value."""
        return 1.0 if self.variance is None else self.variance

    @property
    def unit(self) -> str:
        """The loss's unit, in words."""
        return "nats" if self.variance is None else "of mean squared error"

    @property
    def added(self) -> float:
        """What the intervention adds to the loss, as a multiple of `scale`."""
        return (self.loss_after - self.loss_before) / self.scale


class Evidence(_Value):
    """All that a writer may see of a module or an interface; never the ground truth.

    Attributes:
        kind: `"module"` or `"interface"`.
        modules: the module's number, or the two numbers that the interface joins.
        units: unit names by layer, strongest first.
        reads: inputs and other modules that it reads, with their shares of its incoming capacity.
        feeds: outputs and other modules that it feeds, with shares of its outgoing capacity.
        interface_frac: share of the network's capacity that leaves the module, or that the
            interface consists of.
        code: the module's strongest weights, canonical and rounded, printed as code.
        effects: what mean-ablating the module, or cutting the interface, does to each head.
        profiles: its strongest hidden units.
        examples: samples on which it is most, least and randomly active.
        inputs: names of all inputs; input k is the variable `x{k}` in programs.
        heads: names of all questions; the right answer to head k is the variable `answer{k}`.
        fitted: a short program that reproduces the subject's answer, if a fit found one.
        fitted_head: the head whose answer `fitted` gives.
        fitted_fidelity: share of evidence samples on which `fitted` agrees with the network.
        picture: height and width, if the inputs are pixels.
    """

    kind: Literal["module", "interface"]
    modules: tuple[int, ...]
    units: dict[str, tuple[str, ...]]
    reads: tuple[Share, ...]
    feeds: tuple[Share, ...]
    interface_frac: float
    code: str
    effects: tuple[HeadEffect, ...]
    profiles: tuple[UnitProfile, ...]
    examples: tuple[Example, ...]
    inputs: tuple[str, ...]
    heads: tuple[str, ...]
    fitted: str | None = None
    fitted_head: int | None = None
    fitted_fidelity: float = 0.0
    picture: tuple[int, int] | None = None

    @property
    def subject(self) -> str:
        """`"module 0"` or `"interface 0-1"`."""
        return f"{self.kind} {'-'.join(map(str, self.modules))}"


Sentence = Annotated[str, Field(min_length=1, max_length=400)]
ProgramText = Annotated[str, Field(min_length=1, max_length=4000)]


class _Claim(_Value):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sentence: Sentence


class ActivationClaim(_Claim):
    """A hidden unit is active when a condition on the sample holds (F1 at natural rates).

    `condition` is a program over `x{k}` and `answer{k}`; active means above `threshold`.
    """

    kind: Literal["activation"] = "activation"
    unit: int = Field(ge=0)
    threshold: float = 0.0
    condition: ProgramText
    minimum_f1: float = Field(0.5, ge=0, le=1)

    @field_validator("condition")
    @classmethod
    def _in_the_language(cls, condition: str) -> str:
        parse_program(condition)
        return condition


class EffectClaim(_Claim):
    """Mean-ablating the module adds at least `minimum` nats to a head's loss."""

    kind: Literal["effect"] = "effect"
    head: int = Field(ge=0)
    minimum: float = Field(gt=0)


class NoEffectClaim(_Claim):
    """Mean-ablating the module changes a head's loss by at most `maximum` nats."""

    kind: Literal["no_effect"] = "no_effect"
    head: int = Field(ge=0)
    maximum: float = Field(gt=0)


class IgnoresClaim(_Claim):
    """Resampling these inputs changes a head's loss by at most `maximum` nats."""

    kind: Literal["ignores"] = "ignores"
    inputs: tuple[int, ...] = Field(min_length=1, max_length=4096)
    head: int = Field(ge=0)
    maximum: float = Field(gt=0)


class InterfaceClaim(_Claim):
    """Cutting the edges between two modules adds at most (idle), or at least, so many nats."""

    kind: Literal["interface"] = "interface"
    head: int = Field(ge=0)
    relation: Literal["at most", "at least"]
    nats: float = Field(gt=0)


class ProgramClaim(_Claim):
    """A program gives the network's answer to a head on at least `agreement` of the samples."""

    kind: Literal["program"] = "program"
    head: int = Field(ge=0)
    program: ProgramText
    agreement: float = Field(ge=0, le=1)

    @field_validator("program")
    @classmethod
    def _in_the_language(cls, program: str) -> str:
        parse_program(program)
        return program


Claim = Annotated[
    ActivationClaim | EffectClaim | NoEffectClaim | IgnoresClaim | InterfaceClaim | ProgramClaim,
    Field(discriminator="kind"),
]


class Description(_Value):
    """What a writer says about a module or an interface.

    Attributes:
        name: a few words.
        sentence: what it does, in one sentence.
        paragraph: the same with detail.
        program: its function in the small language, or None where no short program was found.
        claims: what can be tested about it.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    sentence: Sentence
    paragraph: Annotated[str, Field(min_length=1, max_length=2000)]
    program: ProgramText | None = None
    claims: tuple[Claim, ...] = Field(max_length=30)

    @field_validator("program")
    @classmethod
    def _in_the_language(cls, program: str | None) -> str | None:
        if program is not None:
            parse_program(program)
        return program


class Failed(_Value):
    """A writer's failure: counted in every denominator, shown, never scored nor made into text."""

    reason: str
    raw_reply: Annotated[str, Field(max_length=20000)] = ""


class Verdict(_Value):
    """A claim after its test on held-out samples.

    Attributes:
        claim: what was claimed.
        outcome: supported if the whole 95% interval is on the claim's side of its bound,
            refuted if it is wholly on the other side, undecided otherwise.
        samples: number of held-out samples.
        effect: the measured quantity (nats, F1, or agreement).
        low: lower end of its 95% interval.
        high: upper end.
        bound: the value that the claim stated.
    """

    claim: Claim
    outcome: Literal["supported", "refuted", "undecided"]
    samples: int
    effect: float
    low: float
    high: float
    bound: float


class Explained(_Value):
    """A subject, what was said of it, and what became of the claims."""

    subject: str
    evidence: Evidence
    description: Description | Failed
    verdicts: tuple[Verdict, ...]
    writer: str
