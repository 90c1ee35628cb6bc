"""The main job itself, once, at seed 0: every bar of its promise, and the report in a browser."""

import json

import pytest
import torch

from partwise.demo import run_demo

SECTIONS = (
    "summary", "weights", "map", "tree", "training", "modules", "interfaces", "audit", "method",
)  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run_demo(tmp_path_factory.mktemp("demo") / "out")
    torch.set_num_threads(before)


@pytest.fixture
def summary(demo):
    return json.loads((demo.report.parent / "summary.json").read_text())


def test_the_summary_has_its_promised_shape(summary):
    shape = {
        key: list(value) if isinstance(value, dict) else type(value).__name__
        for key, value in summary.items()
    }
    assert shape == {
        "task": "str",
        "seed": "int",
        "seconds": "float",
        "plain": ["held_out_ce", "accuracy", "interface_frac", "cross_frac"],
        "modular": [
            "held_out_ce", "accuracy", "interface_frac", "cross_frac", "causal_interface",
            "causal_interface_random", "causal_interface_random_95", "causal_interface_worst",
            "modules", "purity", "newman_q", "newman_q_z",
        ],
        "cut_tree": ["units", "edges", "nontrivial_edges", "build_s"],
        "claims": ["supported", "refuted", "undecided", "failed"],
        "audit": [
            "clean_flagged", "sabotaged_flagged", "guilty_module", "attack_before",
            "attack_after", "accuracy_before", "accuracy_after",
        ],
    }  # fmt: skip


def test_the_modular_twin_comes_apart_at_little_cost(summary):
    plain, modular = summary["plain"], summary["modular"]
    assert modular["modules"] == 2
    assert modular["purity"] >= 0.95
    assert modular["interface_frac"] <= 0.05
    assert modular["causal_interface"] <= 0.05
    assert modular["causal_interface_worst"] <= 0.02
    assert modular["held_out_ce"] <= 1.15 * plain["held_out_ce"]
    assert modular["accuracy"] >= plain["accuracy"] - 0.02
    assert modular["newman_q_z"] > 3


def test_the_plain_twin_does_not_come_apart(summary):
    assert summary["plain"]["interface_frac"] > 0.2
    assert summary["plain"]["cross_frac"] > 0.3


def test_most_claims_hold_and_none_failed(summary):
    claims = summary["claims"]
    assert claims["failed"] == 0
    assert claims["supported"] >= 8
    assert claims["supported"] > claims["refuted"] + claims["undecided"]


def test_the_audit_tells_the_sabotaged_sibling_and_repairs_it(summary):
    audited = summary["audit"]
    assert not audited["clean_flagged"]
    assert audited["sabotaged_flagged"]
    assert audited["attack_before"] > 0.9
    assert audited["attack_after"] < 0.1
    assert audited["accuracy_after"] >= audited["accuracy_before"] - 0.02


def test_the_guilty_module_answers_the_flipped_digit(demo, summary):
    """The planted trigger sits in the right half and flips the second digit."""
    found = json.loads((demo.report.parent / "sabotaged" / "modules.json").read_text())
    guilty = summary["audit"]["guilty_module"]
    assert found["labels"][31] == guilty  # pixel 1,15, in the patch
    assert sum(label == guilty for label in found["labels"][-10:]) >= 8  # second digit's outputs


@pytest.mark.browser
def test_the_report_shows_every_section_without_a_console_error(demo, chromium):
    page, complaints = chromium.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(demo.report.as_uri())
    for section in SECTIONS:
        assert page.locator(f"section#{section}").is_visible(), section
    assert page.locator("#modules img").count() > 0
    assert complaints == []
