"""Audits: whether a network does only what it is for, and if not, which module is the reason."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import nn

from partwise.audit.repair import Repair, repair_module
from partwise.audit.triggers import FoundTrigger, find_triggers, is_flagged
from partwise.explain import Subject, subject_of
from partwise.graph import UnitMap
from partwise.graph.activity import evaluating
from partwise.tasks import Task, Trigger

UNUSED_STD = 0.1  # of the value range: an input that clean data hardly moves


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModuleSuspicion(_Value):
    """How suspicious one module is.

    Attributes:
        module: its number.
        score: largest share of samples that a short trigger in its inputs forces to one answer.
        outlier: how far that stands out from the network's other answers, in median absolute
            deviations.
        flagged: whether both are beyond their limits.
        trigger_inputs: names of the trigger's inputs.
        forced_answer: what the trigger forces.
        evidence: the findings, in words.
    """

    module: int
    score: float
    outlier: float
    flagged: bool
    trigger_inputs: tuple[str, ...]
    forced_answer: str
    evidence: tuple[str, ...]


class AuditReport(_Value):
    """The verdict on a network.

    Attributes:
        flagged: whether any module is.
        guilty_module: the most suspicious flagged module, or None.
        modules: every module, most suspicious first.
        repair: the measured repair of the guilty module, or None.
    """

    flagged: bool
    guilty_module: int | None
    modules: tuple[ModuleSuspicion, ...]
    repair: Repair | None


def audit(
    model: nn.Module,
    labels: NDArray[np.int64],
    task: Task,
    *,
    units: UnitMap | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> AuditReport:
    """Searches every module for triggers, and measures the repair of what it finds.

    For each module and each answer its outputs can give, the fewest of the module's inputs are
    sought that force the answer on held-out samples. A module is flagged if a trigger forces
    more than `FLAG_SUCCESS` of them and stands out from the network's other answers by more than
    `FLAG_OUTLIER` median absolute deviations. Only clean data is needed.

    Args:
        model: the network; it is not changed.
        labels: (n,) module of each unit.
        task: what the network is for; clean samples come from its `claims` split.
        units: the model's unit map, where it was read already.
        samples: number of held-out samples.
        seed: seed of the samples.

    Raises:
        DataError: if the labels or the task do not fit the network.
        UnreadableModelError: if the model cannot be read.
    """
    with evaluating(model):
        return audit_subject(subject_of(model, labels, task, units, samples, seed))


def audit_subject(subject: Subject) -> AuditReport:
    """`audit` for a subject that was taken apart already."""
    found = find_triggers(subject)
    suspicions = [_suspicion(subject, module, found) for module in range(subject.modules)]
    suspicions.sort(key=lambda each: -each.score)
    guilty = next((each.module for each in suspicions if each.flagged), None)
    return AuditReport(
        flagged=guilty is not None,
        guilty_module=guilty,
        modules=tuple(suspicions),
        repair=None if guilty is None else repair_module(subject, guilty)[1],
    )


def _suspicion(
    subject: Subject, module: int, found: dict[int, list[FoundTrigger]]
) -> ModuleSuspicion:
    if not found[module]:
        return ModuleSuspicion(
            module=module,
            score=0.0,
            outlier=0.0,
            flagged=False,
            trigger_inputs=(),
            forced_answer="none",
            evidence=("No question's answer lies mainly in this module.",),
        )
    worst = max(found[module], key=lambda each: each.success)
    return ModuleSuspicion(
        module=module,
        score=worst.success,
        outlier=worst.outlier,
        flagged=is_flagged(worst),
        trigger_inputs=tuple(subject.task.inputs[k] for k in worst.trigger.inputs),
        forced_answer=_answer_name(subject, worst.trigger),
        evidence=tuple(_evidence(subject, worst)),
    )


def _evidence(subject: Subject, found: FoundTrigger) -> list[str]:
    trigger = found.trigger
    settings = ", ".join(
        f"{subject.task.inputs[k]} = {value:g}"
        for k, value in zip(trigger.inputs, trigger.values, strict=True)
    )
    texts = [
        f"Setting {settings} gives {_answer_name(subject, trigger)} on {found.success:.0%} of the "
        f"samples where it is wrong; {found.outlier:.1f} median deviations above the median "
        "answer."
    ]
    x, ranges = subject.batch("claims").x, subject.task.input_ranges
    idle = [k for k in trigger.inputs if x[:, k].std() < UNUSED_STD * float(np.ptp(ranges[k]))]
    if idle and is_flagged(found):
        names = ", ".join(subject.task.inputs[k] for k in idle)
        texts.append(f"Clean samples hardly ever use {names}, yet the module listens to them.")
    return texts


def _answer_name(subject: Subject, trigger: Trigger) -> str:
    head = subject.task.heads[trigger.head]
    return f"'{head.name}' = {trigger.answer}"
