import importlib
import json
import sys

import numpy as np
import pytest

from benchmarks import gpt_words
from benchmarks.records import RESULTS, Record, read_record
from benchmarks.tables import ROOT
from partwise.explain.claims import ActivationClaim, AttendsClaim, EffectClaim
from partwise.explain.explain import subject_of
from partwise.explain.subject import Part
from partwise.graph.transformer import transformer_map
from partwise.tasks import Text
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

SETTINGS = (
    "context=8 width=16 layers=1 batch=8 start=2 ramp=2 refresh_every=2 mask_after=1 probes=100"
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("partwise.explain.explain"), "COST", 1.0)
    monkeypatch.setattr(
        gpt_words.pydoc_data.topics, "topics", {"x": "it was the best of times. " * 200}
    )

    def run(kinds):
        arguments = ["--seeds", "1", "--first-seed", "5", "--steps", "6", "--kinds", kinds]
        where = ["--json", str(tmp_path / "rows.json"), "--set", *SETTINGS.split()]
        monkeypatch.setattr(sys, "argv", ["study", *arguments, *where])
        gpt_words.main()
        return json.loads((tmp_path / "rows.json").read_text())["rows"]

    return run


@pytest.fixture(scope="module")
def subject():
    corpus = known_streams(("letters", "digits"), "it was the best of times. " * 200)
    model = GPT(GPTConfig(len(corpus.vocabulary), 8, 16, 4, 1), 3)
    halves = [np.arange(len(group)) % 2 for group in transformer_map(model).groups]
    return subject_of(model, np.concatenate(halves), Text(corpus, 8), samples=800)


def test_rows_have_their_fields_and_are_made_once(study):
    (first,) = study("modular")
    rows = study("modular,plain")
    assert rows[0] == first
    assert [(row["kind"], row["seed"], row["steps"]) for row in rows] == [
        ("modular", 5, 6),
        ("plain", 5, 6),
    ]
    assert rows[1]["modules"] == max(2, first["modules"])
    for row in rows:
        claims = [row[f"claims_{outcome}"] for outcome in gpt_words.OUTCOMES]
        assert sum(claims) == sum(n for kind in row["by_kind"].values() for n in kind.values())
        assert len(row["failed"]) == sum(claims) - row["claims_supported"]
        assert 0 <= row["interface_claims_supported"] <= row["interface_claims"]
        assert row["slice_effect_own"] >= row["slice_effect_other"]
        assert len(row["serves"]) == len(row["effects"]) == row["modules"]
        assert row["seconds"] >= row["explain_seconds"] > 0
        swapped = sum(row["controls"]["swapped"][outcome] for outcome in gpt_words.OUTCOMES)
        assert swapped <= sum(claims) - row["interface_claims"]
    assert set(first["controls"]) == {"swapped", "random"}
    assert set(rows[1]["controls"]) == {"swapped"}


@pytest.mark.parametrize("kind", ["head", "neuron"])
def test_a_claim_moves_to_the_unit_of_the_same_rank(subject, kind):
    group = next(g for g in subject.units.groups if g.kind == kind)
    degree = subject.graph.degrees()
    order = {
        m: sorted(
            (u for u in range(group.start, group.stop) if subject.labels[u] == m),
            key=lambda u: -degree[u],
        )
        for m in (0, 1)
    }
    a, b = Part("module", (0,)), Part("module", (1,))
    for unit, wanted in zip(order[0], order[1], strict=True):
        if kind == "head":
            claim = AttendsClaim(unit=unit, pattern="previous token", minimum=0.5)
        else:
            values = subject.activity_of("train", unit)
            claim = ActivationClaim(unit=unit, threshold=float(values.median()), condition="1")
        moved = gpt_words.moved_claim(subject, subject, a, b, claim)
        assert moved.unit == wanted
        if kind == "neuron":
            often = (subject.activity_of("train", wanted) > moved.threshold).float().mean()
            assert often == pytest.approx(0.5, abs=0.02)
        assert gpt_words.moved_claim(subject, subject, a, a, claim).unit != unit
    claim = EffectClaim(minimum=0.1)
    assert gpt_words.moved_claim(subject, subject, a, b, claim) is claim


def test_what_a_claim_says_of_one_module_is_refuted_of_another(subject):
    """No unit of module 0 is in module 1, so unmoved claims would fail for a trivial reason."""
    head = next(g for g in subject.units.groups if g.kind == "head")
    unit = next(u for u in range(head.start, head.stop) if subject.labels[u] == 0)
    claim = AttendsClaim(unit=unit, pattern="token in LETTERS", minimum=0.01)
    verdict = gpt_words.decide([gpt_words.try_on(subject, Part("module", (0,)), claim)])[0]
    (moved,) = gpt_words.swapped(subject, [gpt_words.Said(Part("module", (0,)), verdict)])
    assert moved.part.modules == (1,)
    assert "not in this module" not in moved.verdict.reason
    assert moved.verdict.samples > 0


def test_tables_say_what_rows_say():
    row = {
        "streams": "letters,digits", "kind": "modular", "seed": 7, "loss": 1.25, "modules": 2,
        "claims_supported": 8, "claims_refuted": 1, "claims_undecided": 1,
        "slice_effect_own": 2.0, "slice_effect_other": 0.05,
        "controls": {"swapped": {"supported": 1, "refuted": 3, "undecided": 0}},
    }  # fmt: skip
    table = gpt_words.words_table(Record({}, [row]))
    assert "| modular | 7 | 1.250 | 2 | 8 / 1 / 1 | 80% | 2.00 | 0.050 | 1 of 4 |  |" in table
    assert "1 of 1 reach 80%" in table
    direction = {"reader": 1, "writer": 0, "where": "stream == 'problems'", "amount": 0.5}
    three = {
        "streams": "letters,digits,problems", "kind": "modular", "seed": 7,
        "serves": ["letters", "problems"],
        "directions": [
            direction | {"relation": "at least", "outcome": "supported"},
            direction | {"relation": "at most", "outcome": "undecided", "where": "next in DIGITS"},
        ],
    }  # fmt: skip
    table = gpt_words.interfaces_table(Record({}, [three]))
    assert (
        "| 7 | problems (1) reads letters (0) | problems ≥ 0.5 |  | next: DIGITS ≤ 0.5 |" in table
    )


def test_the_page_shows_the_record():
    page = ROOT / "docs/design/gpt-words.md"
    text = page.read_text(encoding="utf-8")
    assert gpt_words.with_tables(text, read_record(RESULTS / "gpt_words.jsonl")) == text
