"""What travels between evidence, writers, tests and reports.

All texts come from writers, which may be language models that read a model: they are capped in
length here, escaped where they are shown, and never executed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

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
    means above `threshold`, which was chosen for the highest F1. `f1_low` is the lower end of its
    95% interval, `f1_safe` that of a fifth of the test's rows, `chance` the F1 of a unit that is
    always on.
    """

    unit: int
    layer: str
    strength: float
    quantiles: tuple[float, ...]
    best_answer: str
    threshold: float
    f1: float
    f1_low: float = 0.0
    f1_safe: float = 0.0
    chance: float = 1.0


class Spread(_Value):
    """How certain a change of a loss is, and what random interventions of its size do.

    Attributes:
        low, high: 95% interval of the change.
        safe_low, safe_high: the interval that a fifth of the test's rows would give: bounds that
            a test is likely to bear out.
        chance_low, chance_high: what nineteen in twenty random interventions of the same size
            move the loss by at least, and raise it by at most.
    """

    low: float
    high: float
    safe_low: float
    safe_high: float
    chance_low: float
    chance_high: float

    @property
    def stands_out(self) -> bool:
        """Whether the change is clearly more than random interventions do."""
        return self.low > max(self.chance_high, 0.0)

    @property
    def is_calm(self) -> bool:
        """Whether the change is clearly less than random interventions do."""
        return max(-self.low, self.high) < self.chance_low


class HeadEffect(_Value):
    """What an intervention on the subject does to one question's loss, on evidence samples.

    Attributes:
        head: the question's number.
        name: its name.
        loss_before, loss_after: mean loss without and with the intervention.
        spread: how certain the change is, beside random interventions; None where nobody
            measured that.
        variance: of the values that are asked for, where the loss is a squared error; None where
            it is in nats.
    """

    head: int
    name: str
    loss_before: float
    loss_after: float
    spread: Spread | None = None
    variance: float | None = Field(default=None, gt=0)

    @property
    def scale(self) -> float:
        """What counts as much of a loss as a nat: all that there is to know of a value."""
        return 1.0 if self.variance is None else self.variance

    @property
    def unit(self) -> str:
        """The loss's unit, in words."""
        return "nats" if self.variance is None else "of squared error"

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
        fitted_low: lower end of its 95% interval.
        fitted_safe: the same for a fifth of the test's rows.
        fitted_chance: the same share for the network's most frequent answer.
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
    fitted_low: float = 0.0
    fitted_safe: float = 0.0
    fitted_chance: float = 0.0
    picture: tuple[int, int] | None = None

    @property
    def subject(self) -> str:
        """`"module 0"` or `"interface 0-1"`."""
        return f"{self.kind} {'-'.join(map(str, self.modules))}"


Sentence = Annotated[str, Field(min_length=1, max_length=400)]
ProgramText = Annotated[str, Field(min_length=1, max_length=4000)]


class _Claim(_Value):
    """The parameters of a test.

    `sentence` is rendered from them when the claim is tested; what a writer put there is dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sentence: Annotated[str, Field(max_length=400)] = ""


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
    """Holding the module's inputs and hidden units at their means adds at least `minimum` to a
    head's loss, in the head's unit.
    """

    kind: Literal["effect"] = "effect"
    head: int = Field(ge=0)
    minimum: float = Field(gt=0)


class NoEffectClaim(_Claim):
    """Holding the module's inputs and hidden units at their means changes a head's mean loss by
    at most `maximum`, in the head's unit.
    """

    kind: Literal["no_effect"] = "no_effect"
    head: int = Field(ge=0)
    maximum: float = Field(gt=0)


class IgnoresClaim(_Claim):
    """Taking these inputs from another sample changes a head's mean loss by at most `maximum`, in
    the head's unit.
    """

    kind: Literal["ignores"] = "ignores"
    inputs: tuple[int, ...] = Field(min_length=1, max_length=4096)
    head: int = Field(ge=0)
    maximum: float = Field(gt=0)


class InterfaceClaim(_Claim):
    """Cutting the edges between two modules changes a head's mean loss by at most `amount` (it is
    idle), or adds at least as much, in the head's unit.
    """

    kind: Literal["interface"] = "interface"
    head: int = Field(ge=0)
    relation: Literal["at most", "at least"]
    amount: float = Field(gt=0, validation_alias=AliasChoices("amount", "nats"))


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
        name: a few words; like the next two free prose, which nothing tests.
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
        claim: what was claimed, with its sentence rendered.
        outcome: supported if the measure is on the claim's side of its bound and beyond chance,
            refuted if it is on the other side of its bound, undecided where neither is certain.
        samples: number of held-out samples.
        rows: how many independent rows they are made of.
        effect: the measured quantity, in `unit`.
        low, high: its 95% interval, of this claim alone.
        bound: the value that the claim stated.
        direction: whether the claim wants `effect` to be at least, or at most, the bound.
        chance: what the measure comes to by chance, which a supported claim must be beyond.
        unit: of the effect, its interval, bound and chance; empty for shares and F1.
        p_value: of the outcome, corrected for the number of claims it was tested with (Holm).
        tested_with: that number.
        rows_needed: about how many rows would decide an undecided claim, if the effect is what
            it looks like; None where that cannot be said.
        reason: why an undecided claim is, or why one could not be tested.
    """

    claim: Claim
    outcome: Literal["supported", "refuted", "undecided"]
    samples: int
    rows: int
    effect: float
    low: float
    high: float
    bound: float
    direction: Literal["at least", "at most"]
    chance: float
    unit: str
    p_value: float
    tested_with: int
    rows_needed: int | None = None
    reason: str = ""


class Explained(_Value):
    """A subject, what was said of it, and what became of the claims."""

    subject: str
    evidence: Evidence
    description: Description | Failed
    verdicts: tuple[Verdict, ...]
    writer: str
