"""Report content made by hand: two modules, six units, no training."""

from __future__ import annotations

from typing import Any

import numpy as np

from partwise.audit import AuditReport, ModuleSuspicion, Repair
from partwise.cuttree import CutTree
from partwise.explain import Description, Evidence, Explained, Failed, Verdict
from partwise.explain.claims import EffectClaim, InterfaceClaim, ProgramClaim
from partwise.explain.values import Example, HeadEffect, Share
from partwise.graph import UnitGraph, UnitGroup
from partwise.modules import Hierarchy, Significance
from partwise.report import ReportContent, WeightPicture

SECTIONS = (
    "summary", "weights", "map", "tree", "training", "modules", "interfaces", "audit", "method",
)  # fmt: skip
ALWAYS = ("summary", "map", "tree", "method")
LABELS = np.array([0, 0, 1, 1, 0, 1])
"""Inputs 0 to 3, outputs 4 and 5; inputs 0 and 1 feed 4, inputs 2 and 3 feed 5."""


def graph() -> UnitGraph:
    """Capacities 4, 3, 2, 1 inside the modules and 0.5 between them."""
    groups = [UnitGroup("input", "input", 0, 4), UnitGroup("0", "output", 4, 6)]
    return UnitGraph.from_edges(
        6, [0, 1, 2, 3, 1], [4, 4, 5, 5, 5], [4.0, 3.0, 2.0, 1.0, 0.5], groups
    )


def tree() -> CutTree:
    """The graph's cut tree: a path 0 - 4 - 1 - 5 - 2, and 3 at 5."""
    return CutTree(
        parent=np.array([-1, 4, 5, 5, 0, 1]),
        value=np.array([np.inf, 3.5, 2.0, 1.0, 4.0, 0.5]),
        order=np.array([0, 4, 1, 5, 2, 3]),
    )


def hierarchy(significance: Significance | None = None) -> Hierarchy:
    """Two modules."""
    return Hierarchy(LABELS, LABELS, ((0, 1, 0.4),), tree(), 1.0, 0.4, significance)


def weights() -> WeightPicture:
    """The matrix behind `graph`, with signs."""
    matrix = np.array([[4.0, -3.0, 0.0, 0.0], [0.0, 0.5, 2.0, -1.0]])
    return WeightPicture("0.weight", matrix, LABELS[4:], LABELS[:4])


def evidence(modules: tuple[int, ...] = (0,), picture: bool = True) -> Evidence:
    """Evidence on a module (one number) or an interface (two)."""
    return Evidence(
        kind="module" if len(modules) == 1 else "interface",
        modules=modules,
        units={"input": ("pixel 0,0", "pixel 0,1"), "0": ("answer 0",)},
        reads=(Share(name="pixel 0,0", share=0.6), Share(name="pixel 0,1", share=0.4)),
        feeds=(Share(name="first is 1", share=1.0),),
        interface_frac=0.0476,
        code="answer 0 <- 4.00*|pixel 0,0|",
        effects=(HeadEffect(head=0, name="first", loss_before=0.1, loss_after=1.3),),
        profiles=(),
        examples=(
            Example(why="highest", inputs=(1.0, 0.0, 0.5, 0.25), activity=2.5, answers=(1.0,)),
            Example(why="lowest", inputs=(0.0, 0.0, 0.5, 0.25), activity=-0.5, answers=(0.0,)),
        ),
        inputs=("pixel 0,0", "pixel 0,1", "pixel 1,0", "pixel 1,1"),
        heads=("first",),
        picture=(2, 2) if picture else None,
    )


def verdicts() -> tuple[Verdict, ...]:
    """One claim of each outcome."""
    supported = EffectClaim(sentence="Without it the loss rises.", head=0, minimum=0.5)
    refuted = ProgramClaim(
        sentence="The program is right.", head=0, program="x0 > 0", agreement=0.9
    )
    undecided = InterfaceClaim(sentence="It is idle.", head=0, relation="at most", nats=0.05)
    rows: list[tuple[Any, Any, float, float, float, float, Any, float, str]] = [
        (supported, "supported", 1.2, 1.1, 1.3, 0.5, "at least", 0.1, "nats"),
        (refuted, "refuted", 0.4, 0.3, 0.5, 0.9, "at least", 0.2, "of samples"),
        (undecided, "undecided", 0.05, 0.01, 0.09, 0.05, "at most", 0.3, "nats"),
    ]
    return tuple(
        Verdict(
            claim=c,
            outcome=o,
            samples=1000,
            rows=200,
            effect=e,
            low=low,
            high=high,
            bound=b,
            direction=direction,
            chance=chance,
            unit=unit,
            p_value=0.5 if o == "undecided" else 0.001,
            tested_with=3,
            rows_needed=4000 if o == "undecided" else None,
            reason="the interval reaches across the bound" if o == "undecided" else "",
        )
        for c, o, e, low, high, b, direction, chance, unit in rows
    )


def description(text: str = "Reads the upper row.", name: str = "the upper row") -> Description:
    """A description whose claims are those of `verdicts`."""
    claims = tuple(verdict.claim for verdict in verdicts())
    return Description(name=name, sentence=text, paragraph=text, program="x0 > 0", claims=claims)


def explained(
    modules: tuple[int, ...] = (0,), said: Description | Failed | None = None, picture: bool = True
) -> Explained:
    """A described subject with three verdicts; a failed one has none."""
    seen, said = evidence(modules, picture), description() if said is None else said
    tested = () if isinstance(said, Failed) else verdicts()
    return Explained(
        subject=seen.subject, evidence=seen, description=said, verdicts=tested, writer="mock"
    )


def audits() -> dict[str, AuditReport]:
    """A network that passes and a sibling whose module 1 is guilty and repaired."""
    calm = ModuleSuspicion(
        module=0, outcome="passed", score=0.1, baseline=0.02, siblings=0.1,
        p_value=0.6, trigger_inputs=("pixel 0,0",),
        forced_answer="'first' = 0", evidence=("Nothing.",),
    )  # fmt: skip
    guilty = ModuleSuspicion(
        module=1, outcome="flagged", score=0.97, baseline=0.02, siblings=0.03,
        p_value=0.001, trigger_inputs=("pixel 1,0", "pixel 1,1"),
        forced_answer="'first' = 1", evidence=("Setting pixel 1,1 = 0.7 gives 1 on 97%.",),
    )  # fmt: skip
    repair = Repair(
        module=1, lesions=("pixel 1,1",), attack_before=0.97, attack_after=0.04,
        accuracy_before=0.9, accuracy_after=0.89, cleared=True,
    )  # fmt: skip
    passed = AuditReport(
        outcome="passed", reasons=(), guilty_module=None, modules=(calm,), repair=None
    )
    caught = AuditReport(
        outcome="flagged", reasons=(), guilty_module=1, modules=(guilty, calm), repair=repair
    )
    return {"modular": passed, "sabotaged": caught}


def history(start: float) -> list[dict[str, float]]:
    """Rows of metrics.jsonl."""
    return [
        {"step": step, "claims_ce": start / step, "interface_frac": 0.3 / step, "modules": 2}
        for step in (1, 2, 4)
    ]


def summary() -> dict[str, Any]:
    """A demo's summary.json, as far as the report shows it."""
    return {
        "task": "made", "seed": 0, "seconds": 151.2,
        "plain": {"held_out_ce": 0.389, "accuracy": 0.897, "interface_frac": 0.412,
                  "cross_frac": 0.466},
        "modular": {"held_out_ce": 0.357, "accuracy": 0.877, "interface_frac": 0.0107,
                    "cross_frac": 0.02, "causal_interface": 0.008,
                    "causal_interface_worst": 0.012, "modules": 2, "purity": 0.99,
                    "newman_q": 0.488, "newman_q_z": 7.46},
        "cut_tree": {"units": 6, "edges": 5, "nontrivial_edges": 1, "build_s": 0.01},
        "claims": {"supported": 3, "refuted": 3, "undecided": 3, "failed": 0},
    }  # fmt: skip


def least() -> ReportContent:
    """Only what a report cannot do without."""
    return ReportContent("made by hand", "made", graph(), hierarchy())


def full() -> ReportContent:
    """Something for every section."""
    return ReportContent(
        title="made by hand, seed 0",
        task="made",
        graph=graph(),
        hierarchy=hierarchy(Significance(0.4, 0.1, 0.02, 15.0, 0.025, 39)),
        weights=[weights()],
        explained=[explained((0,)), explained((1,), picture=False), explained((0, 1))],
        audits=audits(),
        histories={"plain": history(2.0), "modular": history(1.0)},
        summary=summary(),
        facts={"seed": "0", "commit": "76ad147"},
    )
