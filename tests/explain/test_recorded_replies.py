"""Replies that a real language model wrote, with nothing but the prompt to read."""

import json
from pathlib import Path

import pytest

from partwise.explain.replies import read_description
from partwise.explain.values import Evidence

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "recorded_replies.json"


@pytest.mark.parametrize("row", json.loads(RECORD.read_text()), ids=lambda row: row["subject"])
def test_a_recorded_reply_is_a_description(row):
    description = read_description(row["reply"], Evidence.model_validate(row["evidence"]))
    assert len(description.claims) == len(row["verdicts"])
    outcomes = [verdict["outcome"] for verdict in row["verdicts"]]
    assert outcomes.count("supported") > len(outcomes) / 2
