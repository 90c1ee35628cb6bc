"""What travels between evidence, writers, tests and reports.

All texts come from writers, which may be language models that read a model: they are capped in
length here, escaped where they are shown, and never executed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from partwise.explain.claims import Claim
from partwise.explain.claims.base import ProgramText
from partwise.explain.subject import Part
from partwise.programs.language import parse_program
from partwise.tasks.task import SQUARED


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


class Context(_Value):
    """A piece of text, with a number per token that says where something happens.

    Attributes:
        tokens: the text, token by token.
        marks: what happens at each token: nats that its prediction loses, or an activation.
        stream: where the text is from.
    """

    tokens: tuple[str, ...]
    marks: tuple[float, ...]
    stream: str = ""


class UnitProfile(_Value):
    """One hidden unit on the evidence samples.

    `best_answer` is the condition on the right answer, or the tokens, that its activation tells
    best: active means above `threshold`, which was chosen for the highest F1. `f1_low` is the lower
    end of its 95% interval, `f1_safe` that of a fifth of the test's rows, `chance` the F1 of a unit
    that is always on. Of text, `contexts` show where it is most active.
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
    contexts: tuple[Context, ...] = ()


class Spread(_Value):
    """How certain a change of a loss is, and what random interventions of its size do.

    Attributes:
        low, high: 95% interval of the change.
        safe_low, safe_high: the interval that a fifth of the test's rows would give: bounds that
            a test is likely to bear out.
        chance_low, chance_high: what nineteen in twenty random interventions of the same size
            move the loss by at least, and raise it by at most; None where nobody measured that.
    """

    low: float
    high: float
    safe_low: float
    safe_high: float
    chance_low: float | None
    chance_high: float | None

    @property
    def stands_out(self) -> bool:
        """Whether the change is clearly more than random interventions do."""
        return self.chance_high is not None and self.low > max(self.chance_high, 0.0)

    @property
    def is_calm(self) -> bool:
        """Whether the change is clearly less than random interventions do."""
        return self.chance_low is not None and max(-self.low, self.high) < self.chance_low

    def least(self, smallest: float) -> float | None:
        """A bound below a change that stands out, of at least `smallest`; None if it does not."""
        if not self.stands_out or self.safe_low <= 0:
            return None
        return max(self.safe_low, self.chance_high or 0.0, smallest)

    def most(self, smallest: float) -> float | None:
        """A bound above the size of a calm change, of at least `smallest`; None if it is not."""
        bound = max(self.safe_high, -self.safe_low, smallest)
        return bound if self.chance_low is not None and bound < self.chance_low else None


class SliceEffect(_Value):
    """What an intervention does to the loss on a slice of the tokens, on evidence samples.

    Attributes:
        where: the condition that makes the slice; empty for all tokens.
        tokens: number of evidence tokens in it.
        loss_before, loss_after: mean loss in nats without and with the intervention.
        spread: how certain the change is, beside random interventions.
    """

    where: str
    tokens: int
    loss_before: float
    loss_after: float
    spread: Spread

    @property
    def added(self) -> float:
        """What the intervention adds, in nats."""
        return self.loss_after - self.loss_before


class AttentionProfile(_Value):
    """The place that a head looks at most, beyond what looking everywhere alike would give.

    Attributes:
        unit: the head.
        name: its name.
        pattern: the place, as in `AttendsClaim`.
        share: mean share of its attention.
        safe: what a test is likely to find at least.
        even: what attention to all earlier tokens alike would give.
        shares: share and even share of every place that was looked at.
    """

    unit: int
    name: str
    pattern: str
    share: float
    safe: float
    even: float
    shares: dict[str, tuple[float, float]] = {}


class TokenRise(_Value):
    """What a module's writing adds to a token's logit where that token comes next."""

    token: str
    rise: float


class Promotion(_Value):
    """What a module's writing adds to the logits of some tokens, where one of them comes next.

    Attributes:
        tokens: those that it raises clearly.
        rise: the mean over them, in logits.
        safe: what a test is likely to find at least.
        chance: what nineteen in twenty sets of as many random units add at most.
    """

    tokens: tuple[str, ...]
    rise: float
    safe: float
    chance: float


class Rule(_Value):
    """A rule that gives the network's likeliest next token on a slice.

    Attributes:
        rule, where: programs, as in `NextTokenClaim`.
        agreement: share of the slice's evidence tokens where it does.
        safe: what a test is likely to find at least.
        without: the same share for the network without the module.
        is_own: whether the module's removal changes these predictions more, beside others, than
            that of as many random units.
    """

    rule: str
    where: str
    agreement: float
    safe: float
    without: float
    is_own: bool = False


class Direction(_Value):
    """What one module reads of another.

    Attributes:
        reader: the module that reads.
        share: of the network's capacity.
        slices: what happens to the loss when only this is cut.
        suffering: contexts that suffer most.
        wires: the strongest of its edges.
    """

    reader: int
    share: float
    slices: tuple[SliceEffect, ...]
    suffering: tuple[Context, ...]
    wires: tuple[str, ...]


class TextEvidence(_Value):
    """What is known of a part of a language model, beside what is known of any part.

    Attributes:
        streams: names of the streams of text.
        tokens: the module's own tokens, strongest first.
        slices: what the intervention does to the loss on slices of the tokens.
        promoted, suppressed: tokens whose logits its writing raises and lowers most.
        promotion: those raised clearly, taken together; None where there are none.
        suffering, spared: contexts that its removal harms most and least.
        attention: where its heads look.
        rules: what the network predicts because of it.
        directions: of an interface, what each of its modules reads of the other.
    """

    streams: tuple[str, ...]
    tokens: tuple[str, ...] = ()
    slices: tuple[SliceEffect, ...] = ()
    promoted: tuple[TokenRise, ...] = ()
    suppressed: tuple[TokenRise, ...] = ()
    promotion: Promotion | None = None
    suffering: tuple[Context, ...] = ()
    spared: tuple[Context, ...] = ()
    attention: tuple[AttentionProfile, ...] = ()
    rules: tuple[Rule, ...] = ()
    directions: tuple[Direction, ...] = ()


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
        return "nats" if self.variance is None else SQUARED

    @property
    def added(self) -> float:
        """What the intervention adds to the loss, as a multiple of `scale`."""
        return (self.loss_after - self.loss_before) / self.scale


class Patch(_Value):
    """The part of a sample's picture that a channel sees where it is most active.

    Attributes:
        row, column: of its first pixel.
        activity: what the convolution writes there.
        pixels: of each map that is shown, row by row.
    """

    row: int
    column: int
    activity: float
    pixels: tuple[tuple[tuple[float, ...], ...], ...]


class MapProfile(_Value):
    """One channel of a convolution on the evidence samples.

    Attributes:
        unit: its number.
        name: such as `"channel 3 of conv2"`.
        layer: `"conv2"`.
        reads: channels that it reads, with their shares of its weights.
        sees: maps of the picture, with their shares of what it sees by way of other channels.
        shown: maps of the picture that `patches` hold.
        patches: where it is most active, each in another sample.
        effects: what holding it at its mean over samples and positions does to each question.
    """

    unit: int
    name: str
    layer: str
    reads: tuple[Share, ...]
    sees: tuple[Share, ...]
    shown: tuple[str, ...]
    patches: tuple[Patch, ...]
    effects: tuple[HeadEffect, ...]


class Foreign(_Value):
    """The inputs of all other modules, and what becomes of questions without them.

    Attributes:
        inputs: their numbers.
        effects: what taking them from other samples does to each question.
    """

    inputs: tuple[int, ...]
    effects: tuple[HeadEffect, ...]


class Evidence(_Value):
    """All that a writer may see of a module or an interface; never the ground truth.

    Attributes:
        kind: `"module"` or `"interface"`.
        modules: the module's number, or the two numbers that the interface joins.
        units: unit names by layer, strongest first: all inputs, at most 64 of other layers.
        sizes: how many units there are, by layer.
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
        text: what else is known where the samples are tokens; None of tables.
        maps: its strongest channels, where the network has convolutions.
        foreign: what its channels should not see, likewise; None where there is nothing else.
    """

    kind: Literal["module", "interface"]
    modules: tuple[int, ...]
    units: dict[str, tuple[str, ...]]
    sizes: dict[str, int] = {}
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
    text: TextEvidence | None = None
    maps: tuple[MapProfile, ...] = ()
    foreign: Foreign | None = None

    @property
    def sized(self) -> str:
        """How many units it has in which layer, in words."""
        counts = {layer: self.sizes.get(layer, len(own)) for layer, own in self.units.items()}
        return ", ".join(f"{count} in {layer}" for layer, count in counts.items() if count)

    @property
    def part(self) -> Part:
        """What it is about."""
        return Part(self.kind, self.modules)

    @property
    def subject(self) -> str:
        """`"module 0"` or `"interface 0-1"`."""
        return f"{self.kind} {'-'.join(map(str, self.modules))}"


Sentence = Annotated[str, Field(min_length=1, max_length=400)]


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


class Told(_Value):
    """How much of what a module does a description of so many yes-or-no questions tells.

    Attributes:
        questions: how many it may ask.
        explained: share of the variance of held-out lesion effects that it explains (R²).
        answers: what holds, and the mean effect there in nats or variances, the strongest first;
            empty where there are more than four questions.
    """

    questions: int
    explained: float
    answers: tuple[tuple[str, float], ...] = ()


class Score(_Value):
    """How well words tell which held-out samples need a module.

    Attributes:
        kind: simulation, a correlation; detection, an F1; or fuzzing, a mean of hit rates.
        judge: who rated the samples: a language model that read name and sentence, or `"claims"`,
            which believes the effects that are claimed.
        value: the score.
        low, high: its 95% interval, over sources.
        control: the same judge's mean score of other modules' words; None where there are none.
        samples: how many were rated.
        failure: why there is no score.
    """

    kind: Literal["simulation", "detection", "fuzzing"]
    judge: str
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0
    control: float | None = None
    samples: int = 0
    failure: str = ""


class Explained(_Value):
    """A subject, what was said of it, and what became of the claims.

    Attributes:
        subject: `"module 0"` or `"interface 0-1"`.
        evidence: what the writer saw.
        description: what it said, or why it said nothing.
        verdicts: what became of each claim.
        writer: who wrote.
        scores: of a module's words, on the `final` split.
        told: of a module, what descriptions of rising length tell.
    """

    subject: str
    evidence: Evidence
    description: Description | Failed
    verdicts: tuple[Verdict, ...]
    writer: str
    scores: tuple[Score, ...] = ()
    told: tuple[Told, ...] = ()

    @property
    def judged(self) -> Score | None:
        """What a language model made of name and sentence; None where none was asked."""
        return next((s for s in self._simulations if s.judge != "claims"), None)

    @property
    def claims_score(self) -> Score | None:
        """What the effect claims predict; None where there is no module."""
        return next((s for s in self._simulations if s.judge == "claims"), None)

    @property
    def _simulations(self) -> list[Score]:
        return [score for score in self.scores if score.kind == "simulation"]
