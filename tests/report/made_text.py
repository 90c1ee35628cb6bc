"""Report content of a language model made by hand: no training, tokens that would do harm."""

from __future__ import annotations

import numpy as np

from partwise.cuttree import CutTree
from partwise.explain import Description, Evidence, Explained, Verdict
from partwise.explain.claims import EffectClaim, InterfaceClaim
from partwise.explain.values import (
    AttentionProfile,
    Context,
    Direction,
    HeadEffect,
    Rule,
    SliceEffect,
    Spread,
    TextEvidence,
    TokenRise,
    UnitProfile,
)
from partwise.graph import UnitGraph, UnitGroup
from partwise.modules import Hierarchy
from partwise.report import ReportContent, WeightPicture

HOSTILE = (
    "<script>alert(1)</script>",
    "\"' onmouseover='alert(2)",
    "\u202egnp.exe",
    "\x00\x1b",
    "\u200f",
    "]]>-->",
)
SECTIONS = ("summary", "weights", "map", "tree", "training", "modules", "interfaces", "method")
VOCABULARY = ("a", "b", " ", "1", "\n", "=")
LABELS = np.array([0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1])
"""Six tokens, two channels, two heads, four neurons."""


def graph() -> UnitGraph:
    """A path through all units, so that everything is joined."""
    groups = [
        UnitGroup("tokens", "token", 0, 6),
        UnitGroup("residual", "residual", 6, 8),
        UnitGroup("blocks.0.heads", "head", 8, 10),
        UnitGroup("blocks.0.mlp", "neuron", 10, 14),
    ]
    ends = np.arange(13)
    return UnitGraph.from_edges(14, ends, ends + 1, np.linspace(2, 1, 13), groups)


def hierarchy() -> Hierarchy:
    """Two modules."""
    path = CutTree(np.arange(-1, 13), np.r_[np.inf, np.linspace(2, 1, 13)], np.arange(14))
    return Hierarchy(LABELS, LABELS, ((0, 1, 0.4),), path, 1.0, 0.4, None)


def effect(where: str, before: float, added: float, calm: bool = False) -> SliceEffect:
    """An effect whose interval is a tenth of a nat to either side."""
    spread = Spread(
        low=added - 0.1, high=added + 0.1, safe_low=added - 0.2, safe_high=added + 0.2,
        chance_low=0.9 if calm else None, chance_high=None if calm else 0.3,
    )  # fmt: skip
    return SliceEffect(
        where=where, tokens=4096, loss_before=before, loss_after=before + added, spread=spread
    )


def context(tokens: tuple[str, ...] = ("a", " ", "b", "\n"), stream: str = "letters") -> Context:
    """Marks fall from 2 to below 0."""
    return Context(tokens=tokens, marks=tuple(np.linspace(2, -1, len(tokens))), stream=stream)


def direction(reader: int) -> Direction:
    """What a module reads of the other."""
    return Direction(
        reader=reader,
        share=0.02,
        slices=(effect("", 1.2, 0.04), effect("next in DIGITS", 1.5, -0.02)),
        suffering=(context(),),
        wires=("'a' -> channel 1", "channel 0 -> block 0 head 1"),
    )


def empty() -> TextEvidence:
    """A module of which nothing is known."""
    return TextEvidence(streams=("letters", "digits"))


def full_text(hostile: tuple[str, ...] = ()) -> TextEvidence:
    """A module of which everything is known; hostile tokens stand wherever a token can."""
    tokens = hostile or ("a", " ", "\n")
    many = [effect(f"token == {token!r}", 1.0, 0.5) for token in (*tokens, *"cdefghijklm")]
    return TextEvidence(
        streams=("letters", "digits"),
        tokens=tokens,
        slices=(
            effect("stream == 'letters'", 1.4, 1.7),
            *many,
            effect("stream == 'digits'", 1.0, 0.0, calm=True),
        ),
        promoted=tuple(TokenRise(token=token, rise=6.3) for token in tokens),
        suppressed=tuple(TokenRise(token=token, rise=-2.5) for token in tokens),
        suffering=(context(tokens),),
        spared=(context(tokens, "digits"),),
        attention=(
            AttentionProfile(
                unit=8, name="block 0 head 0", pattern="previous token", share=0.8, safe=0.7,
                even=0.1, shares={"previous token": (0.8, 0.1), "back 2": (0.05, 0.09),
                                  "token in DIGITS": (0.3, 0.4)},
            ),
        ),
        rules=(
            Rule(rule="'e'", where="token == 'h'", agreement=0.69, safe=0.5, without=0.16),
            Rule(rule="induced", where="stream == 'letters'", agreement=0.8, safe=0.5, without=0.1),
        ),
    )  # fmt: skip


def module_evidence(module: int, text: TextEvidence) -> Evidence:
    """Evidence on a module of a language model."""
    neurons = [
        UnitProfile(
            unit=10 + k, layer=f"block 0 neuron {k}", strength=1.0, quantiles=(0.0, 1.0),
            best_answer="token == ' '", threshold=0.5, f1=0.93, chance=0.15,
            contexts=(context(text.tokens),) if text.tokens else (),
        )
        for k in range(5)
    ]  # fmt: skip
    return _evidence("module", (module,), text, tuple(neurons) if text.tokens else ())


def interface_evidence(pair: tuple[int, int] = (0, 1)) -> Evidence:
    """Evidence on an interface of a language model."""
    text = TextEvidence(streams=("letters", "digits"), directions=tuple(map(direction, pair)))
    return _evidence("interface", pair, text, ())


def _evidence(
    kind, modules: tuple[int, ...], text: TextEvidence, profiles: tuple[UnitProfile, ...]
) -> Evidence:
    whole = effect("", 1.2, 0.04)
    return Evidence(
        kind=kind, modules=modules, units={"tokens": ("'a'",)}, reads=(), feeds=(),
        interface_frac=0.036, code="",
        effects=(HeadEffect(head=0, name="next token", loss_before=1.2, loss_after=1.24,
                            spread=whole.spread),),
        profiles=profiles, examples=(), inputs=(), heads=("next token",), text=text,
    )  # fmt: skip


def explained(seen: Evidence) -> Explained:
    """A described part with one supported claim."""
    module = seen.kind == "module"
    claim = (
        EffectClaim(sentence="It rises.", minimum=1.5, where="stream == 'letters'")
        if module
        else InterfaceClaim(
            sentence="It is idle.", relation="at most", amount=0.1, where="next == 'q'", reader=0
        )
    )
    verdict = Verdict(
        claim=claim, outcome="supported", samples=4096, rows=128, effect=1.657 if module else 0.042,
        low=0.01, high=2.0, bound=1.5, direction="at least", chance=0.2, unit="nats",
        p_value=0.001, tested_with=2,
    )  # fmt: skip
    said = Description(
        name="predicts letters", sentence="Letters need it.", paragraph="So.", claims=(claim,)
    )
    return Explained(
        subject=seen.subject, evidence=seen, description=said, verdicts=(verdict,), writer="mock"
    )


def pictures() -> list[WeightPicture]:
    """A matrix outside of blocks, and one in block 0; half of a quarter joins modules."""
    masses = np.array([[0.5, 0.125], [0.0, 0.375]])
    rng = np.random.default_rng(0)
    return [
        WeightPicture(name, rng.normal(size=(2, 6)), LABELS[6:8], LABELS[:6], masses)
        for name in ("tokens.weight", "blocks.0.up.weight")
    ]


def history() -> list[dict[str, float]]:
    """Rows of metrics.jsonl."""
    return [
        {"step": step, "held_letters": 2 / step, "held_digits": 1 / step, "modules": 2,
         "interface_frac": 0.3 / step}
        for step in (1, 2, 4)
    ]  # fmt: skip


def full(text: TextEvidence | None = None) -> ReportContent:
    """Something for every section."""
    known = full_text() if text is None else text
    return ReportContent(
        title="letters and digits",
        task="next tokens of letters and digits",
        graph=graph(),
        hierarchy=hierarchy(),
        weights=pictures(),
        explained=[
            explained(module_evidence(0, known)),
            explained(module_evidence(1, known)),
            explained(interface_evidence()),
        ],
        histories={"run": history()},
        vocabulary=VOCABULARY,
    )
