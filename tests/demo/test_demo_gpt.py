"""The demo of a language model goes through, with few steps; how good it is, it says itself."""

import json
from functools import partial

import pytest

from partwise import demo_gpt
from partwise.cli import main

FEW = ("steps=6", "context=8", "width=16", "layers=1", "batch=8")
SOON = {"start": 2, "ramp": 2, "refresh_every": 2, "mask_after": 1, "probes": 100}


@pytest.fixture
def little_text(monkeypatch):
    monkeypatch.setattr(demo_gpt, "SUMS", 1000)
    monkeypatch.setattr("pydoc_data.topics.topics", {"x": "it was the best of times. " * 300})


def test_the_demo_of_a_gpt_writes_its_summary_and_report(
    little_text, tmp_path, monkeypatch, capsys
):
    run = partial(demo_gpt.run_gpt_demo, settings=FEW)
    monkeypatch.setattr(demo_gpt, "run_gpt_demo", run)
    monkeypatch.setitem(demo_gpt.TWINS, "modular", {"kind": "share", **SOON})
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["partwise", "demo", "--gpt", "--out", str(out)])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0, capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["plain"].keys() == summary["modular"].keys() == {"letters", "digits"}
    assert summary["modules"] >= 1
    assert summary["audit"] == "cannot be judged"  # a context of 8, and hardly trained
    assert summary["claims"].keys() == {"supported", "refuted", "undecided", "failed"}
    assert "Letters and sums, one GPT" in (out / "report.html").read_text()
    assert {path.name for path in (out / "modular").iterdir()} >= {
        "modules.json", "descriptions.jsonl", "audit.json",
    }  # fmt: skip
