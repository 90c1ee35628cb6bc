"""Audits: whether a network does only what it is for, and if not, which module is the reason."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from partwise.audit.blame import clean_means, guilty_module
from partwise.audit.outcomes import AuditReport, ModuleSuspicion, Outcome
from partwise.audit.repair import repair_module
from partwise.audit.text import audit_text
from partwise.audit.triggers import FoundTrigger, Inquiry, find_triggers, inquire, is_flagged
from partwise.explain import Subject, subject_of
from partwise.graph import UnitMap
from partwise.graph.activity import evaluating
from partwise.modules import Partition
from partwise.tasks import Data

UNUSED_STD = 0.1  # of the widest range: an input that clean data hardly moves


def audit(
    model: nn.Module,
    partition: Partition | ArrayLike,
    data: Data,
    *,
    units: UnitMap | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> AuditReport:
    """Searches a network for triggers, and measures the repair of what it finds.

    Siblings of the same shape are trained on the task's clean training rows. The fewest inputs
    are sought that force an answer on the network and not on its siblings. The same search in
    each sibling says how far a clean network can be forced. A trigger is flagged if, on held-out
    rows, it forces half of them more than happens without it and more than on siblings, at a
    p-value of at most `FLAG_P`. The module that it acts through is guilty.

    Of a language model, triggers are one to three tokens in clean text. One is flagged if far
    behind it, on documents that no search has seen, the network writes what clean text does not
    hold, gives one answer in place of right ones, or loses what it knows: half more than random
    sequences of as many tokens do, at the same p-value. Nothing is repaired there yet.

    Args:
        model: the network; it is not changed.
        partition: its modules, or (n,) the module of each unit.
        data: what the network is for, a task or text; clean samples come from its `train` and
            `claims` splits.
        units: the model's unit map, where it was read already.
        samples: at most this many samples per split, or about as many tokens.
        seed: seed of the samples and of the siblings.

    Raises:
        DataError: if the partition or the data do not fit the network.
        UnreadableModelError: if the model cannot be read.
    """
    with evaluating(model):
        return audit_subject(subject_of(model, partition, data, units, samples, seed))


def audit_subject(subject: Subject) -> AuditReport:
    """`audit` for a subject that was taken apart already."""
    if subject.of_text:
        return audit_text(subject)
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
        return ModuleSuspicion.silent(module, _outcome(False, inquiry))
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
