"""Composition: every module replaced by its program at once, run against the network.

A question is answered by the program of the module that holds its outputs, over the inputs that
this module reads, also by way of other modules. A program gives an answer, the network chances of
answers: so a program's answer stands for the network's mean chances where it gives that answer, on
evidence; or where it decides by scores or a comparison, for chances by how clear that is, with one
number fitted on evidence. Where no short program was found, the network's mean answer takes its
place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from partwise.explain.evidence.graphs import inputs_of
from partwise.explain.fitting import found_program
from partwise.explain.measures import Measures
from partwise.explain.subject import Subject
from partwise.programs.fit import Found
from partwise.programs.language import Program
from partwise.programs.margins import scores_of
from partwise.tasks import Head, Split

READS = 0.01
"""Share of what a module reads from which on another module's inputs are its own as well."""
MOST_MISSES = 3
LEAST_MISSES = 0.01
SHARPNESS = tuple(2.0**k for k in range(-2, 8))
"""What scores are multiplied by, in units of their spread, before they become chances."""
Array = NDArray[np.float64]


class Miss(BaseModel):
    """An answer of the network that a program does not give.

    Attributes:
        answer: the network's.
        given: what the program gives most often in its place.
        share: of the samples with that answer.
    """

    model_config = ConfigDict(frozen=True)
    answer: float
    given: float
    share: float


class ComposedHead(BaseModel):
    """A question that a program answers in a module's place.

    Attributes:
        head, name: the question.
        kind: classes, binary or value.
        module: the module that answers it.
        inputs: numbers of the inputs that the program may read.
        program: None where no short program was found.
        usual: what is answered then, and where the program gives no finite number.
        form: the program's.
        bits, size: its length in bits, and its parts.
        fidelity, low, high: share of `final` samples where it gives the network's answer.
        chance: the same for the commonest answer.
        loss_network, loss_program, loss_without: mean losses on `final` samples.
        accuracy_network, accuracy_program: share of right answers there.
        misses: where it does not reproduce the network; empty for values.
    """

    model_config = ConfigDict(frozen=True)
    head: int
    name: str
    kind: str
    module: int
    inputs: tuple[int, ...]
    program: str | None
    usual: float
    form: str = ""
    bits: float = 0.0
    size: int = 0
    fidelity: float
    low: float
    high: float
    chance: float
    loss_network: float
    loss_program: float
    loss_without: float
    accuracy_network: float
    accuracy_program: float
    misses: tuple[Miss, ...] = ()

    @property
    def recovered(self) -> float | None:
        """Share of the loss that the modules are worth; None where they are worth nothing."""
        return _share(self.loss_without, self.loss_program, self.loss_network)


class Composition(BaseModel):
    """A network of programs beside the network.

    Attributes:
        heads: the questions.
        modules: number of modules.
        samples: `final` samples that were counted.
        recovered: share of the loss that programs recover, over all questions; values' losses
            count by their variance.
        bits, size: length of all programs.
    """

    model_config = ConfigDict(frozen=True)
    heads: tuple[ComposedHead, ...]
    modules: int
    samples: int
    recovered: float | None
    bits: float
    size: int

    @property
    def words(self) -> str:
        """What came of it, in a sentence."""
        found = sum(head.program is not None for head in self.heads)
        if self.recovered is None:
            return "Programs cannot replace the modules: without them the network loses nothing."
        return (
            f"{found} of {len(self.heads)} questions have a short program ({self.size} parts, "
            f"{self.bits:.0f} bits in all); in place of every module at once they recover "
            f"{self.recovered:.1%} of the loss on {self.samples} samples that nothing else saw."
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """What the network gives on a split.

    Attributes:
        outputs: (b, outputs).
        y: (b, heads) what is right.
    """

    outputs: Tensor
    y: Tensor


def compose(subject: Subject, price: float = 1.0) -> Composition:
    """Replaces every module of a network by its program, and measures what is left.

    Args:
        subject: the network, taken apart.
        price: what a program's bit costs, beside a bit that corrects its answers.

    Raises:
        DataError: if the data is text.
    """
    evidence, final = _run(subject, "train"), _run(subject, "final")
    heads = tuple(
        _composed(subject, k, head, evidence, final, price)
        for k, head in enumerate(subject.task.heads)
    )
    scales = [_scale(head, final.y[:, k]) for k, head in enumerate(subject.task.heads)]
    without, program, network = (
        sum(getattr(head, name) / scale for head, scale in zip(heads, scales, strict=True))
        for name in ("loss_without", "loss_program", "loss_network")
    )
    return Composition(
        heads=heads,
        modules=subject.modules,
        samples=len(final.y),
        recovered=_share(without, program, network),
        bits=sum(head.bits for head in heads),
        size=sum(head.size for head in heads),
    )


def _scale(head: Head, y: Tensor) -> float:
    return max(float(y.var(correction=0)), 1e-12) if head.kind == "value" else 1.0


def _share(without: float, program: float, network: float) -> float | None:
    worth = without - network
    return (without - program) / worth if worth > 1e-9 else None


@torch.no_grad()
def _run(subject: Subject, split: Split) -> _Run:
    rows = subject.batch(split)
    return _Run(subject.model(rows.x), rows.y)


def _composed(
    subject: Subject, number: int, head: Head, evidence: _Run, final: _Run, price: float
) -> ComposedHead:
    module = answering_module(subject, head)
    inputs = inputs_behind(subject, module)
    found = found_program(subject, number, inputs, price)
    answers = head.answers(final.outputs)
    right = final.y[:, number]
    mean = _mean_answer(head, evidence)
    held = head.losses(_without_modules(subject), right).mean()
    always = _losses(head, mean.expand(len(right), -1), right).mean()
    usual = float(mean[0] if head.kind == "value" else mean.argmax())
    given, predicted = _given(subject, head, found, evidence, mean, usual)
    measured, chance = Measures(subject, "final").of_program(given, number)
    low, high = measured.interval()
    return ComposedHead(
        head=number,
        name=head.name,
        kind=head.kind,
        module=module,
        inputs=tuple(int(k) for k in inputs),
        program=None if found is None else found.program.text,
        usual=usual,
        form="" if found is None else found.form,
        bits=0.0 if found is None else found.bits / price,
        size=0 if found is None else found.program.size,
        fidelity=measured.mean,
        low=low,
        high=high,
        chance=chance,
        loss_network=float(head.losses(final.outputs, right).mean()),
        loss_program=float(_losses(head, predicted, right).mean()),
        loss_without=float(min(held, always)),
        accuracy_network=_accuracy(answers, right),
        accuracy_program=_accuracy(given, right),
        misses=() if head.kind == "value" else _misses(answers, given),
    )


def _accuracy(answers: Tensor, right: Tensor) -> float:
    return float(((answers - right).abs() < 0.1).float().mean())


def answering_module(subject: Subject, head: Head) -> int:
    """The module that holds most of a question's outputs."""
    first = subject.units.n - len(subject.task.outputs)
    return int(np.bincount(subject.labels[first + head.start : first + head.stop]).argmax())


def inputs_behind(subject: Subject, module: int) -> NDArray[np.int64]:
    """Inputs that a module reads: its own, and those of modules that it reads in turn."""
    graph, labels = subject.graph, subject.labels
    towards = np.zeros((subject.modules, subject.modules))
    np.add.at(towards, (labels[graph.targets], labels[graph.sources]), graph.capacities)
    reads = towards / np.maximum(towards.sum(1, keepdims=True), 1e-30) >= READS
    known, asked = {module}, [module]
    while asked:
        new = set(np.flatnonzero(reads[asked.pop()]).tolist()) - known
        known |= new
        asked += new
    return np.sort(np.concatenate([inputs_of(subject, each) for each in known]))


def _without_modules(subject: Subject) -> Tensor:
    """(b, outputs) with every input and hidden unit held at its mean."""
    held = torch.as_tensor(subject.is_held)
    with subject.holding("final", held) as model, torch.no_grad():
        outputs: Tensor = model(subject.batch("final").x)
    return outputs


def _chances(head: Head, outputs: Tensor) -> Tensor:
    """(b, k) chances of the classes that the network gives; of a value, the value."""
    out = outputs[:, head.start : head.stop]
    if head.kind == "classes":
        return out.softmax(1)
    if head.kind == "binary":
        high = out.sigmoid()
        return torch.cat([1 - high, high], 1)
    return out


def _mean_answer(head: Head, evidence: _Run) -> Tensor:
    return _chances(head, evidence.outputs).mean(0)


def _losses(head: Head, predicted: Tensor, right: Tensor) -> Tensor:
    """(b,) loss of chances, or of values."""
    if head.kind == "value":
        return (predicted[:, 0] - right) ** 2
    chosen = predicted.gather(1, right.long()[:, None])[:, 0]
    return -chosen.clamp(min=1e-12).log()


def _given(
    subject: Subject, head: Head, found: Found | None, evidence: _Run, mean: Tensor, usual: float
) -> tuple[Tensor, Tensor]:
    """(b,) answers of a program on `final`, and (b, k) chances that they stand for."""
    size = len(subject.batch("final").y)
    if found is None:
        return torch.full((size,), usual), mean.expand(size, -1)
    given = _answers(found.program, subject, "final").nan_to_num(usual, usual, usual)
    if head.kind == "value":
        return given, given[:, None]
    predicted = _predicted(subject, found, given, _chances(head, evidence.outputs), mean)
    return given, predicted


def _predicted(
    subject: Subject, found: Found, given: Tensor, chances: Tensor, mean: Tensor
) -> Tensor:
    """(b, k) chances on `final`, by answer or by how clear it is; what suits the evidence better.

    Args:
        subject: the network, taken apart.
        found: the program.
        given: (b,) its answers on `final`.
        chances: (b, k) the network's on evidence.
        mean: (k,) their mean.
    """
    wanted = chances[found.choice]
    answers = _answers(found.program, subject, "train")[found.choice]
    table = {
        answer: _mean_of(wanted[answers == answer], mean) for answer in answers.unique().tolist()
    }

    def by_answer(answers: Tensor) -> Tensor:
        return torch.stack([table.get(answer, mean) for answer in answers.tolist()])

    scores = scores_of(found.program, subject.variables("train"))
    if scores is None or scores.shape[1] != len(mean):
        return by_answer(given)
    scores = scores[found.choice]
    unit = 1 / float(scores.std().clamp(min=1e-9))
    doubt = 1 / (len(wanted) + 1)

    def by_score(scores: Tensor, times: float) -> Tensor:
        return (1 - doubt) * (scores * unit * times).softmax(1) + doubt * mean

    def cost(predicted: Tensor) -> float:
        return float(-(wanted * predicted.clamp(min=1e-12).log()).sum(1).mean())

    times = min(SHARPNESS, key=lambda each: cost(by_score(scores, each)))
    if cost(by_answer(answers)) <= cost(by_score(scores, times)):
        return by_answer(given)
    final = scores_of(found.program, subject.variables("final"))
    assert final is not None
    return by_score(final, times)


def _mean_of(chances: Tensor, mean: Tensor) -> Tensor:
    return (chances.sum(0) + mean) / (len(chances) + 1)


def _answers(program: Program, subject: Subject, split: Split) -> Tensor:
    """(b,) what a program gives."""
    return program.evaluate(subject.variables(split))


def _misses(answers: Tensor, given: Tensor) -> tuple[Miss, ...]:
    """The answers that programs fail to give most often."""
    found = []
    for answer in answers.unique().tolist():
        own = given[answers == answer]
        wrong = own[own != answer]
        if len(wrong) >= LEAST_MISSES * len(own) and len(wrong):
            instead = wrong.mode().values.item()
            share = len(wrong) / len(own)
            found.append((len(wrong), Miss(answer=answer, given=instead, share=share)))
    found.sort(key=lambda each: -each[0])
    return tuple(miss for _, miss in found[:MOST_MISSES])


__all__ = ["ComposedHead", "Composition", "Miss", "compose"]
