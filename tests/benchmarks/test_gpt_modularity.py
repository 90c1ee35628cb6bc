import json
import sys

import numpy as np
import pytest

from benchmarks import gpt_modularity
from partwise.graph.transformer import transformer_map
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

SETTINGS = (
    "context=8 width=16 layers=1 steps=6 batch=8 start=2 ramp=2 refresh_every=2 mask_after=1 "
    "probes=100"
)
MET = {
    "modules": 2,
    "token_purity": 0.95,
    "interface_frac": 0.05,
    "loss_gap_nats": 0.05,
    "causal_interface_nats": 0.2,
    "spill_frac": 0.1,
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    english = tmp_path / "english.txt"
    english.write_text("it was the best of times. " * 100)

    def run(methods, seeds, *settings):
        arguments = ["--methods", methods, "--seeds", str(seeds), "--first-seed", "5"]
        where = ["--json", str(tmp_path / "rows.json"), "--english", str(english)]
        monkeypatch.setattr(
            sys, "argv", ["study", *arguments, *where, "--set", *SETTINGS.split(), *settings]
        )
        gpt_modularity.main()
        return json.loads((tmp_path / "rows.json").read_text())["rows"]

    return run


def test_a_stopped_study_makes_only_the_rows_that_are_missing(study, monkeypatch):
    first = study("cut-tree", 1)
    assert [(row["method"], row["seed"]) for row in first] == [("plain", 5), ("cut-tree", 5)]
    made = []
    trained = gpt_modularity.trained
    monkeypatch.setattr(
        gpt_modularity,
        "trained",
        lambda method, recipe, corpus: (
            made.append((method, recipe.seed)) or trained(method, recipe, corpus)
        ),
    )
    rows = study("cut-tree,blocks", 1)
    assert made == [("blocks", 5)]
    assert rows[:2] == first
    row = rows[1]
    assert row["loss_gap_nats"] == pytest.approx(row["loss"] - rows[0]["loss"], abs=1e-5)
    assert len(row["found_labels"]) == len(row["trained_labels"])
    assert 0 <= row["interface_frac_by_matrix"]["tokens.weight"] <= 1
    assert row["recipe"]["training"]["steps"] == 6
    with pytest.raises(SystemExit, match=r"of another study \(recipe\)"):
        study("cut-tree", 1, "steps=7")


def test_every_bar_counts():
    assert gpt_modularity.bars_met(MET)
    for name, worse in (
        ("modules", 1), ("modules", 3), ("token_purity", 0.94), ("interface_frac", 0.06),
        ("loss_gap_nats", 0.06), ("loss_gap_nats", float("nan")), ("causal_interface_nats", 0.3),
        ("spill_frac", 0.11),
    ):  # fmt: skip
        assert not gpt_modularity.bars_met(MET | {name: worse})


def test_strays_are_named():
    corpus = known_streams(("letters", "digits"), "the best of times")
    units = transformer_map(GPT(GPTConfig(len(corpus.vocabulary), 8, 8, 2, 1)))
    trained = np.arange(units.n) % 2
    found = 1 - trained
    assert gpt_modularity.strays(units, corpus, found, trained) == []
    found[[1, len(corpus.vocabulary) + 3]] ^= 1
    assert gpt_modularity.strays(units, corpus, found, trained) == [
        f"tokens {corpus.vocabulary[1]}",
        "residual 3",
    ]
