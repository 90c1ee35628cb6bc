"""Audits: whether a network does only what it is for, and if not, which module is the reason."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import nn

from partwise.audit.blame import clean_means, guilty_module
from partwise.audit.repair import Repair, repair_module
from partwise.audit.triggers import FoundTrigger, Inquiry, find_triggers, inquire, is_flagged
from partwise.explain import Subject, subject_of
from partwise.graph import UnitMap
from partwise.graph.activity import evaluating
from partwise.tasks import Task

UNUSED_STD = 0.1  # of the widest range: an input that clean data hardly moves
Outcome = Literal["flagged", "passed", "cannot be judged"]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModuleSuspicion(_Value):
    """How suspicious one module is.

    Attributes:
        module: its number.
        outcome: flagged; passed if everything was searched; cannot be judged otherwise.
        score: share of held-out samples of other answers that its strongest trigger forces.
        baseline: share of the same samples that get the answer without the trigger.
        siblings: mean share that the trigger forces on clean siblings; None without siblings.
        p_value: how often clean siblings can be forced as far, over all kinds of search.
        trigger_inputs: names of the trigger's inputs.
        forced_answer: what the trigger forces.
        evidence: the findings, in words.
    """

    module: int
    outcome: Outcome
    score: float
    baseline: float
    siblings: float | None
    p_value: float
    trigger_inputs: tuple[str, ...]
    forced_answer: str
    evidence: tuple[str, ...]

    @property
    def flagged(self) -> bool:
        """Whether the outcome is `flagged`."""
        return self.outcome == "flagged"

    @property
    def outlier(self) -> float:
        """Share that it forces beyond what happens without it, and beyond clean siblings'."""
        return self.score - max(self.baseline, self.siblings or 0.0)


class AuditReport(_Value):
    """The verdict on a network.

    Attributes:
        outcome: flagged if any module is; passed if everything was searched and nothing found;
            cannot be judged otherwise.
        reasons: what was not searched, or could not be told, and why.
        guilty_module: the most suspicious flagged module, or None.
        modules: every module, most suspicious first.
        repair: the measured repair of the guilty module, or None.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    guilty_module: int | None
    modules: tuple[ModuleSuspicion, ...]
    repair: Repair | None

    @property
    def flagged(self) -> bool:
        """Whether the outcome is `flagged`."""
        return self.outcome == "flagged"


def audit(
    model: nn.Module,
    labels: NDArray[np.int64],
    task: Task,
    *,
    units: UnitMap | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> AuditReport:
    """Searches a network for triggers, and measures the repair of what it finds.

    Siblings of the same shape are trained on the task's clean training rows. The fewest inputs
    are sought that force an answer on the network and not on its siblings. The same search in
    each sibling says how far a clean network can be forced. A trigger is flagged if, on held-out
    rows, it forces half of them more than happens without it and more than on siblings, at a
    p-value of at most `FLAG_P`. The module that it acts through is guilty.

    Args:
        model: the network; it is not changed.
        labels: (n,) module of each unit.
        task: what the network is for; clean samples come from its `train` and `claims` splits.
        units: the model's unit map, where it was read already.
        samples: number of samples of each split.
        seed: seed of the samples and of the siblings.

    Raises:
        DataError: if the labels or the task do not fit the network.
        UnreadableModelError: if the model cannot be read.
    """
    with evaluating(model):
        return audit_subject(subject_of(model, labels, task, units, samples, seed))


def audit_subject(subject: Subject) -> AuditReport:
    """`audit` for a subject that was taken apart already."""
    inquiry = inquire(subject)
    strongest = _strongest(subject, find_triggers(subject, inquiry))
    suspicions = [
        _suspicion(subject, module, strongest.get(module), inquiry)
        for module in range(subject.modules)
    ]
    suspicions.sort(key=lambda each: (not each.flagged, each.p_value, -each.score))
    guilty = suspicions[0].module if suspicions[0].flagged else None
    return AuditReport(
        outcome=_outcome(guilty is not None, inquiry),
        reasons=inquiry.reasons,
        guilty_module=guilty,
        modules=tuple(suspicions),
        repair=None
        if guilty is None
        else repair_module(subject, guilty, inquiry, strongest[guilty])[1],
    )


def _strongest(subject: Subject, found: list[FoundTrigger]) -> dict[int, FoundTrigger]:
    """Module -> the strongest trigger that acts through it."""
    means, strongest = clean_means(subject), dict[int, FoundTrigger]()
    for each in found:
        strongest.setdefault(guilty_module(subject, each, means), each)
    return strongest


def _outcome(flagged: bool, inquiry: Inquiry) -> Outcome:
    if flagged:
        return "flagged"
    return "cannot be judged" if inquiry.reasons else "passed"


def _suspicion(
    subject: Subject, module: int, found: FoundTrigger | None, inquiry: Inquiry
) -> ModuleSuspicion:
    if found is None:
        return ModuleSuspicion(
            module=module,
            outcome=_outcome(False, inquiry),
            score=0.0,
            baseline=0.0,
            siblings=None,
            p_value=1.0,
            trigger_inputs=(),
            forced_answer="none",
            evidence=("None of the strongest triggers found acts through this module.",),
        )
    return ModuleSuspicion(
        module=module,
        outcome=_outcome(is_flagged(found), inquiry),
        score=found.success,
        baseline=found.baseline,
        siblings=found.siblings,
        p_value=found.p_value,
        trigger_inputs=tuple(subject.task.inputs[k] for k in found.trigger.inputs),
        forced_answer=found.aim.words,
        evidence=tuple(_evidence(subject, found)),
    )


def _evidence(subject: Subject, found: FoundTrigger) -> list[str]:
    trigger = found.trigger
    settings = ", ".join(
        f"{subject.task.inputs[k]} = {value:.3g}"
        for k, value in zip(trigger.inputs, trigger.values, strict=True)
    )
    siblings = (
        "there are no clean siblings to compare with"
        if found.siblings is None
        else f"on clean siblings {found.siblings:.0%} (p = {found.p_value:.2g})"
    )
    texts = [
        f"Setting {settings} gives {found.aim.words} on {found.success:.0%} of the samples where "
        f"it is wrong; without the trigger {found.baseline:.0%} get it, {siblings}."
    ]
    if is_flagged(found) and (idle := _idle(subject, trigger.inputs)):
        texts.append(
            f"Clean samples hardly ever use {', '.join(idle)}, yet the module listens to them."
        )
    return texts


def _idle(subject: Subject, inputs: tuple[int, ...]) -> list[str]:
    """Names of the inputs that clean samples hardly move."""
    x, widest = subject.batch("claims").x, float(np.ptp(subject.task.input_ranges, 1).max())
    return [subject.task.inputs[k] for k in inputs if float(x[:, k].std()) < UNUSED_STD * widest]
