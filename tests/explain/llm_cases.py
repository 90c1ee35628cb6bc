"""A module of a table, one of text, and a good answer about each."""

from __future__ import annotations

from partwise.explain.endpoints import Limits
from partwise.explain.values import (
    AttentionProfile,
    Context,
    Direction,
    Evidence,
    Example,
    HeadEffect,
    Promotion,
    Rule,
    Share,
    SliceEffect,
    Spread,
    TextEvidence,
    TokenRise,
    UnitProfile,
)

KEY = "sk-test/Abc+123=secret"
LIMITS = Limits(connect_s=1, read_s=1, deadline_s=3, reply_bytes=30_000, retries=2, first_wait_s=1)
EVIDENCE = Evidence(
    kind="module",
    modules=(0,),
    units={"hidden": ("hidden.1", "hidden.2"), "output": ("out.0",)},
    reads=(Share(name="x0", share=0.9), Share(name="module 1", share=0.1)),
    feeds=(Share(name="is it big?", share=1.0),),
    interface_frac=0.025,
    code="out0 = 2.0 * relu(x0 - 0.5)",
    effects=(HeadEffect(head=0, name="is it big?", loss_before=0.1, loss_after=0.9),),
    profiles=(
        UnitProfile(
            unit=4,
            layer="hidden[4]",
            strength=1.5,
            quantiles=(0.0, 0.5, 1.0),
            best_answer="answer0 == 1",
            threshold=0.25,
            f1=0.8,
        ),
    ),
    examples=(Example(why="highest", inputs=(0.9, -0.5), activity=2.0, answers=(1.0,)),),
    inputs=("size", "noise"),
    heads=("is it big?",),
)
ANSWER = {
    "name": "size detector",
    "sentence": "It says whether the input is big.",
    "paragraph": "It compares the size with one half.",
    "program": "1 if x0 > 0.5 else 0",
    "claims": [
        {"kind": "effect", "sentence": "It is needed.", "head": 0, "minimum": 0.5},
        {
            "kind": "activation",
            "sentence": "Unit 4 is active for big inputs.",
            "unit": 4,
            "threshold": 0.25,
            "condition": "x0 > 0.5",
            "minimum_f1": 0.9,
        },
        {"kind": "ignores", "sentence": "x1 is noise.", "inputs": [1], "head": 0, "maximum": 0.01},
        {
            "kind": "program",
            "sentence": "It is a threshold.",
            "head": 0,
            "program": "x0 > 0.5",
            "agreement": 0.9,
        },
    ],
}
SPREAD = Spread(low=1.1, high=1.3, safe_low=1.0, safe_high=1.4, chance_low=0.1, chance_high=0.2)
SLICE = SliceEffect(
    where="next in DIGITS", tokens=400, loss_before=0.5, loss_after=1.7, spread=SPREAD
)
CONTEXT = Context(tokens=("1", "+", "2", "=", "3"), marks=(0.0, 0.1, 0.0, 0.2, 2.5), stream="sums")
TEXT = EVIDENCE.model_copy(
    update={
        "inputs": (),
        "heads": ("next token",),
        "examples": (),
        "profiles": (EVIDENCE.profiles[0].model_copy(update={"contexts": (CONTEXT,)}),),
        "text": TextEvidence(
            streams=("sums", "letters"),
            tokens=("1", "\n"),
            slices=(SLICE,),
            promoted=(TokenRise(token="3", rise=2.0),),
            suppressed=(TokenRise(token="q", rise=-1.5),),
            promotion=Promotion(tokens=("3", "4"), rise=1.9, safe=1.6, chance=0.3),
            suffering=(CONTEXT,),
            spared=(Context(tokens=("a", "b"), marks=(0.0, -0.1), stream="letters"),),
            attention=(
                AttentionProfile(
                    unit=7, name="block 0 head 1", pattern="back 2", share=0.8, safe=0.7, even=0.1
                ),
            ),
            rules=(
                Rule(
                    rule="induced",
                    where="token in DIGITS",
                    agreement=0.9,
                    safe=0.85,
                    without=0.2,
                    is_own=True,
                ),
            ),
            directions=(
                Direction(
                    reader=1, share=0.01, slices=(SLICE,), suffering=(CONTEXT,), wires=("a -> b",)
                ),
            ),
        ),
    }
)
TEXT_ANSWER = {
    "name": "adder",
    "sentence": "It adds.",
    "paragraph": "It adds digits.",
    "program": None,
    "claims": [
        {"kind": "effect", "head": 0, "minimum": 1.0, "where": "next in DIGITS"},
        {"kind": "attends", "unit": 7, "pattern": "back 2", "minimum": 0.7, "where": ""},
        {"kind": "promotes", "tokens": ["3", "4"], "minimum": 1.5},
        {"kind": "next_token", "rule": "induced", "where": "token in DIGITS", "agreement": 0.8},
    ],
}
