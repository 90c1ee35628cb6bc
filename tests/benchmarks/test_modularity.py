from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import detector, modularity, modularity_methods, modularity_report
from benchmarks.detectors import leiden, linkage, own_spectral, spectral
from benchmarks.modularity_methods import ARMS, SETTINGS, SWEEPS, Setting
from benchmarks.records import read_rows, run_all
from partwise.modules import find_modules
from partwise.modules.agreement import adjusted_rand
from partwise.modules.scores import interface_frac
from partwise.tasks import TASKS, planted_blocks

TINY = Setting((8, 6), 2, steps=12)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SETTINGS, "two-playgrounds", TINY)
    monkeypatch.setattr(modularity_methods, "SCHEDULE", {"start": 2, "ramp": 2, "mask_after": 2})


@pytest.mark.parametrize("method", ARMS)
def test_every_method_trains_and_repeats(tiny, method):
    strength = SWEEPS[method][0]
    a, b = (modularity_methods.train("two-playgrounds", method, strength, 3) for _ in range(2))
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.isfinite(p).all()


def test_top_k_leaves_the_stated_share(tiny):
    model = modularity_methods.train("two-playgrounds", "top-k", 0.25, 0).model
    weight = model[0].weight
    assert (weight != 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_row_has_every_score(tiny, monkeypatch):
    longer = replace(TINY, steps=200)  # a network that has learnt nothing needs none of its inputs
    monkeypatch.setitem(SETTINGS, "two-playgrounds", longer)
    row = modularity.row(("two-playgrounds", "true-blocks", 0.05, 0))
    assert row["modules"] >= 1
    for name in ("held_out_loss", "accuracy", "interface_frac", "interface_frac_w2",
                 "causal_interface", "causal_interface_random", "causal_interface_random_95",
                 "causal_interface_worst", "causal_mean", "purity", "ami", "purity_leiden",
                 "ami_spectral", "n_cut_z", "nontrivial_frac", "cross_frac"):  # fmt: skip
        assert np.isfinite(row[name])


def test_channels_are_units_of_the_convolutional_network():
    task = modularity_methods.study_task("digits-channels")
    model = modularity_methods.network("digits-channels", task, 0)
    units = modularity_methods.unit_map(model, len(task.inputs))
    assert [len(group) for group in units.groups] == [2, 16, 32, 20]
    assert model(task.batch("train", 3, 0).x).shape == (3, 20)


def test_settings_and_sweeps_cover_tasks_and_methods():
    assert set(SETTINGS) <= set(TASKS)
    assert set(SWEEPS) == set(ARMS)


def count(job, path):
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    return {"a": job[0], "value": 2.0 * job[0]}


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows"])
def test_studies_resume(tmp_path, name):
    record, tally = tmp_path / name, tmp_path / "tally"
    work = partial(count, path=tally)
    run_all([(1,), (2,)], work, record, ("a",), workers=1)
    rows = run_all([(1,), (2,), (3,)], work, record, ("a",), workers=1)
    assert tally.read_text() == "xxx"
    assert [row["value"] for row in rows] == [2, 4, 6]
    assert read_rows(record) == rows


def test_detectors_find_clear_modules():
    graph, truth = planted_blocks([24, 24, 12], 3, 0.1)
    for found in (leiden(graph), spectral(graph, 3), own_spectral(graph, 3)):
        assert adjusted_rand(found, truth) == pytest.approx(1)
    assert linkage(graph, 3).max() == 2


def test_detector_rows():
    row = detector.row(("planted", "32-32-32-16", 2, 0.1, False, 0))
    assert row["ari_ours"] == pytest.approx(1)
    assert detector.row(("initial", "32-32-32-16", 1, 1.0, False, 0))["modules_ours"] == 1


ROWS = [
    {"task": "digits-pair", "method": m, "strength": strength, "seed": s, "held_out_loss": loss,
     "interface_frac": share, "causal_interface": 0.0, "modules": 2, "purity": 1.0}
    for s in (0, 1, 2)
    for m, strength, loss, share in (
        ("ours", 0.05, 0.4, 0.01), ("l1", 1.0, 0.39, 0.2), ("bimt", 1.0, 0.41, 0.1),
    )
]  # fmt: skip


def test_pages_say_which_commits_made_their_rows():
    rows = [{"commit": commit * 40} for commit in "abb"]
    assert modularity_report.made_from("y.jsonl", rows) == (
        "Made by `python -m benchmarks.modularity_report` from `y.jsonl` "
        "(rows: 2 at bbbbbbb, 1 at aaaaaaa).\n\n"
    )


def test_tables_mark_the_front():
    text = modularity_report.table(ROWS)
    front = {line.split(" | ")[0].strip("| "): line.split(" | ")[3] for line in text.splitlines()
             if line.startswith(("| ours", "| l1", "| bimt"))}  # fmt: skip
    assert front == {"ours": "yes", "l1": "yes", "bimt": "no"}


def test_bars_compare_with_the_best_l1():
    line = modularity_report.bars(ROWS).splitlines()[-1]
    # 0.4 / 0.39 = 1.03 and 0.01 / 0.2 = 0.05; there is no plain twin
    assert line == "| digits-pair | 3 | 3 of 3 | 1.03 |  | 0.05 | 0±0 |  |  |  |"


def test_bars_that_are_missed_are_bold():
    late = {**ROWS[0], "held_out_loss": 4.0, "modules": 3, "causal_interface": 0.6}
    line = modularity_report.bars([late, *ROWS[1:]]).splitlines()[-1]
    _, seeds, right, loss, _, share, causal, *_ = line.strip("| ").split(" | ")
    # (4 + 0.4 + 0.4) / (3 * 0.39) = 4.10, and at most seeds 0.4 / 0.39
    assert (seeds, right, loss) == ("3", "**2 of 3**", "**4.10 (median 1.03)**")
    assert (share, causal) == ("0.05", "**0.20±0.39**")


def test_the_worst_part_of_an_interface_stands_beside_all_of_it():
    def causal(worst):
        ours = [{**row, "causal_interface_worst": worst} for row in ROWS if row["method"] == "ours"]
        table = modularity_report.table(ours)
        return modularity_report.bars(ours).splitlines()[-1].split(" | ")[6], table

    cell, table = causal(0.01)
    assert (cell, "| causal, worst |" in table) == ("0±0 / 0.01±0", True)
    assert causal(0.03)[0] == "0±0 / **0.03±0**"
    assert "causal, worst" not in modularity_report.table(ROWS)


def test_what_does_not_apply_is_left_blank():
    row = {**ROWS[0], "causal_interface_worst": 0.0, "modules": 1, "q_z": -3e7, "n_cut_z": 2.0}
    names = ("causal_interface", "causal_interface_worst", "q_z", "n_cut_z")
    assert [modularity_report._known(row, name) for name in names] == [None, None, None, 2.0]


def test_bars_count_significant_lesions_among_those_tested():
    lesions = [{"lesion_p": 0.02, "lesion_information_p": 0.001}, {}, {}]
    ours = [row for row in ROWS if row["method"] == "ours"]
    rows = [{**row, **own} for row, own in zip(ours, lesions, strict=True)]
    line = modularity_report.bars(rows).splitlines()[-1]
    assert line.endswith("| **0 of 1** | 1 of 1 |  |")


def test_fronts_say_who_dominates_whom():
    head, _, line, _, words = modularity_report.fronts(ROWS).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["bimt"] == "ours"  # 0.41 against 0.4, 0.1 against 0.01
    assert cells["l1"] == "0.97 / 20"  # 0.39 / 0.4 and 0.2 / 0.01: each better in one
    assert words == (
        "Of 2 cells ours dominates in 1 (shown in 1), the peer in 0 (shown in 0), "
        "neither in the other 1, in 0 of which no lower loss is shown."
    )


def test_a_lower_loss_must_be_lower_at_the_same_seeds():
    scattered = [
        {
            **row,
            "held_out_loss": row["held_out_loss"]
            + (0.3 * row["seed"] if row["method"] == "l1" else 0),
        }
        for row in ROWS
    ]
    ours = [row for row in ROWS if row["method"] == "ours"]
    # at seed 0 l1 has 0.39 in both; at seed 1 0.39 in one and 0.69 in the other, against 0.4
    loss = modularity_report.held_out_loss
    for rows, is_lower in ((ROWS, True), (scattered, False)):
        theirs = [row for row in rows if row["method"] == "l1"]
        assert modularity_report._is_lower(theirs, ours, loss) == is_lower
    assert not modularity_report._is_lower(ROWS[1:2], ours[:1], loss)  # one seed shows nothing


@pytest.mark.parametrize(("spread", "cell"), [(0.0, "peer"), (0.9, "~peer")])
def test_fronts_say_where_a_peer_is_ahead(spread, cell):
    rows = [
        {**row, "held_out_loss": 0.2 + spread * (row["seed"] == 0), "interface_frac": 0.01}
        if row["method"] == "bimt"
        else {**row, "held_out_loss": 0.6}
        for row in ROWS
        if row["method"] != "l1"
    ]
    head, _, line, _, words = modularity_report.fronts(rows).splitlines()
    assert dict(zip(head.split(" | "), line.split(" | "), strict=True))["bimt"] == cell
    assert f"the peer in 1 (shown in {int(cell == 'peer')})" in words


def test_a_front_that_no_interval_shows_is_marked():
    one_fails = [
        {**row, "held_out_loss": 0.8, "interface_frac": 0.9}
        if (row["method"], row["seed"]) == ("bimt", 0)
        else {**row, "held_out_loss": 0.4, "interface_frac": 0.01}
        for row in ROWS
        if row["method"] != "l1"
    ]
    head, _, line, _, words = modularity_report.fronts(one_fails).splitlines()
    assert dict(zip(head.split(" | "), line.split(" | "), strict=True))["bimt"] == "~ours"
    assert words.startswith("Of 1 cells ours dominates in 1 (shown in 0)")


def test_methods_with_few_seeds_are_not_compared():
    head, _, line, *_ = modularity_report.fronts(ROWS[:-1]).splitlines()  # bimt at two of three
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["l1"]
    assert not cells["bimt"].strip()


def test_fronts_compare_at_the_same_seeds():
    hard = {**ROWS[0], "seed": 3, "held_out_loss": 4.0}
    rows = [*(row for row in ROWS if row["method"] != "l1"), hard]
    head, _, line = modularity_report.fronts(rows).splitlines()[:3]
    assert dict(zip(head.split(" | "), line.split(" | "), strict=True))["bimt"] == "ours"


def test_seeds_agree_where_both_have_live_units():
    rows = [{"end_labels": labels} for labels in ("0011-", "11000", "01011")]
    same, *other = modularity_report.agreements([*rows, {}])
    assert same == 1
    assert max(other) < 0.5


def test_a_network_without_modules_has_no_small_interface():
    row = {**ROWS[0], "modules": 1, "interface_frac": 0.0}
    assert modularity_report.interface(row) == 1
    assert modularity_report.interface({**row, "interface_at_truth": 0.3}) == 0.3
    assert modularity_report.interface({**row, "task": "digit-one"}) == 0


def test_interface_at_the_true_number_looks_at_every_level():
    graph, truth = planted_blocks([24, 24, 12], 3, 0.1)
    found = find_modules(graph, null_samples=0)
    at_truth = modularity.interface_at(graph, found, 3)
    assert at_truth == pytest.approx(interface_frac(graph, truth))
    assert modularity.interface_at(graph, found, 2) < at_truth


def test_pareto_plot_has_a_point_per_setting():
    svg = modularity_report.pareto(ROWS)
    assert svg.count("<title>") == 3
    assert svg.rstrip().endswith("</svg>")


def test_end_labels_come_back_from_their_text():
    labels = [0, 9, -1, 40]
    text = modularity_report.end_labels_as_text(labels)
    assert (text[:3], len(text)) == ("09-", 4)
    assert modularity_report.end_labels(text).tolist() == labels
