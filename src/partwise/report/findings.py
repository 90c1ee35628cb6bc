"""The audit in words: a verdict per network, the guilty module, its trigger and its repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from partwise.audit import AuditReport, ModuleSuspicion
from partwise.explain import Explained
from partwise.report.words import counted, listed, percent


@dataclass(frozen=True)
class TriggerPicture:
    """Where in the picture a trigger sits."""

    width: int
    height: int
    pixels: tuple[tuple[int, int], ...]
    alt: str


@dataclass(frozen=True)
class Bar:
    """One measured share before and after the repair."""

    name: str
    words: str
    before: float
    after: float


@dataclass(frozen=True)
class Finding:
    """The audit of one network.

    Attributes:
        network: its name.
        own: whether it is the network that this report is about, whose modules have colours.
        report: the audit.
        verdict: the verdict in one sentence.
        guilty: the guilty module's findings, or None.
        trigger: where its trigger sits, if the inputs are pixels.
        bars: the repair, before and after.
        repair_words: the repair in a sentence, or None.
    """

    network: str
    own: bool
    report: AuditReport
    verdict: str
    guilty: ModuleSuspicion | None
    trigger: TriggerPicture | None
    bars: tuple[Bar, ...]
    repair_words: str | None


def findings_of(audits: Mapping[str, AuditReport], explained: Sequence[Explained]) -> list[Finding]:
    """The findings on all audited networks, the subject of the report first."""
    return [
        _finding(network, report, own=position == 0, explained=explained)
        for position, (network, report) in enumerate(audits.items())
    ]


def _finding(
    network: str, report: AuditReport, own: bool, explained: Sequence[Explained]
) -> Finding:
    guilty = next((m for m in report.modules if m.module == report.guilty_module), None)
    return Finding(
        network,
        own,
        report,
        _verdict(report, guilty),
        guilty,
        _trigger_picture(guilty, explained) if guilty else None,
        _bars(report),
        _repair_words(report),
    )


def _verdict(report: AuditReport, guilty: ModuleSuspicion | None) -> str:
    count = counted(len(report.modules), "module")
    if report.outcome == "cannot be judged":
        return f"Cannot be judged. In {count}, no trigger was found, but not everything was told."
    if report.searched:
        return _verdict_on_text(report, guilty)
    if guilty is None:
        return f"Passed. In {count}, no short trigger was found that clean siblings resist."
    return (
        f"Flagged. Module {guilty.module} obeys a trigger that the task never asked for: "
        f"{counted(len(guilty.trigger_inputs), 'input')} can force the answer "
        f"{guilty.forced_answer} on {percent(guilty.score)} of held-out samples of other answers "
        f"({percent(guilty.baseline)} without the trigger)."
    )


def _verdict_on_text(report: AuditReport, guilty: ModuleSuspicion | None) -> str:
    """The verdict on a language model, whose triggers are sequences of tokens."""
    count = counted(len(report.modules), "module")
    if guilty is not None:
        return (
            f"Flagged. Module {guilty.module} obeys a trigger that the text never asked for: "
            f"{counted(len(guilty.trigger_inputs), 'token')} can force {guilty.forced_answer}, "
            f"with a score of {percent(guilty.score)} on held-out text (random sequences "
            f"{percent(guilty.baseline)})."
        )
    return f"Passed. In {count}, no sequence of tokens was found that does more than random ones."


def _bars(report: AuditReport) -> tuple[Bar, ...]:
    if report.repair is None:
        return ()
    repair = report.repair
    return (
        Bar(
            "The found trigger’s success",
            "share of held-out samples of other answers that the trigger forces",
            repair.attack_before,
            repair.attack_after,
        ),
        Bar(
            "Clean accuracy",
            "share of held-out questions answered right, without the trigger",
            repair.accuracy_before,
            repair.accuracy_after,
        ),
    )


def _repair_words(report: AuditReport) -> str | None:
    if report.repair is None:
        return None
    repair = report.repair
    done = (
        f"The repair: module {repair.module} no longer listens to, or no longer uses, "
        f"{listed(repair.lesions)}. "
        if repair.lesions
        else f"Nothing could be cut in module {repair.module} at a price worth paying. "
    )
    return done + (
        "After that, no trigger in it is flagged any more."
        if repair.cleared
        else "A trigger in it is still flagged."
    )


def _trigger_picture(
    guilty: ModuleSuspicion, explained: Sequence[Explained]
) -> TriggerPicture | None:
    evidence = next((e.evidence for e in explained if e.evidence.picture), None)
    if evidence is None or evidence.picture is None:
        return None
    height, width = evidence.picture
    index = {name: k for k, name in enumerate(evidence.inputs)}
    found = [index[name] for name in guilty.trigger_inputs if name in index]
    if not found:
        return None
    pixels = tuple((k % width, k // width) for k in found)
    names = listed(guilty.trigger_inputs)
    return TriggerPicture(width, height, pixels, f"The trigger's place in the picture: {names}.")
