"""Replies that a real language model wrote, with nothing but the prompt to read."""

import json

import pytest

from benchmarks.records import RESULTS, read_rows
from partwise.explain.replies import BadReplyError, read_description
from partwise.explain.values import Evidence

ROWS = read_rows(RESULTS / "recorded_replies.jsonl")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["subject"])
def test_a_recorded_reply_keeps_every_parameter_of_its_tests(row):
    description = read_description(row["reply"], Evidence.model_validate(row["evidence"]))
    for claim, said in zip(description.claims, json.loads(row["reply"])["claims"], strict=True):
        kept = claim.model_dump(mode="json")
        said = {"amount" if name == "nats" else name: value for name, value in said.items()}
        assert {name: kept[name] for name in said} == said


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["subject"])
def test_the_same_reply_about_other_evidence_is_refused(row):
    """A control that must fail: without its heads, every claim is about nothing."""
    evidence = Evidence.model_validate({**row["evidence"], "heads": (), "profiles": ()})
    with pytest.raises(BadReplyError, match="not in the evidence"):
        read_description(row["reply"], evidence)
