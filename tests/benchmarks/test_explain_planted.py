"""Scores of decompiled networks: what is right counts, what is wrong does not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import explain_planted
from benchmarks.explain import PARTS, fill, summarise, work
from benchmarks.explain_functions import FAMILIES, told
from benchmarks.explain_planted import MAIN, compare, score, scored, summed
from benchmarks.records import write_record
from partwise.graph import units_of
from partwise.zoo.compiler import compiled
from partwise.zoo.data import sequence_text
from partwise.zoo.decompile import decompile, roles_of
from partwise.zoo.library import PROGRAMS

SORT = next(each for each in PROGRAMS if each.name == "sort ascending")
COPY = next(each for each in PROGRAMS if each.name == "copy 1 back")


def test_true_modules_give_the_program_back():
    found = scored(SORT, "disguised, true modules")
    assert found.is_exact
    assert found.is_task_right
    assert (found.roles, found.rand) == (6, 1)


def test_random_modules_do_not():
    found = scored(SORT, "random modules")
    assert not found.is_functional
    assert found.roles_right < found.roles
    assert found.agreement < 0.5


def test_a_wrong_role_and_a_wrong_interface_count_against():
    net = compiled(COPY)
    text = sequence_text(COPY, net.vocabulary)
    labels = np.array(net.truth.partition)
    reading = decompile(net.model, units_of(net.model), labels, text.batches("train", 100, 0))
    roles = roles_of(reading.decompiled, net.vocabulary)
    assert compare(net.truth, reading, roles) == (1, 1, 2, 2)
    assert compare(net.truth, reading, ["table"] * len(roles)) == (1, 0, 2, 2)
    head = net.truth.components[-1]
    fewer = replace(net.truth, components=(*net.truth.components[:-1], replace(head, reads=(0,))))
    assert compare(fewer, reading, roles) == (1, 1, 2, 1)


def test_another_programs_name_is_wrong():
    net = compiled(COPY)
    other = replace(COPY, name="copy 2 back")
    found = score(other, net, np.array(net.truth.partition))
    assert (found.is_task_right, found.is_named) == (False, True)


def test_random_programs_and_pairs_have_rows():
    row = explain_planted.made_up_row(2)
    assert (row["networks"], row["functional"]) == (2, 2)
    pair = explain_planted.pairs_of_programs(1)[0]
    found = explain_planted.paired(pair, "two programs, by program")
    assert found.is_functional
    assert found.rand == 1


@pytest.mark.slow
def test_a_planted_adder_is_told():
    wrong, name, program, rand = told(0, FAMILIES.index("adder"))
    assert (wrong, program, rand) == (0, name, 1)


def test_rows_make_a_summary_and_tables(tmp_path):
    row = summed([("a", scored(COPY, "true modules"))])
    rows = [{"part": "planted", "setting": MAIN, "family": "moving", **row}]
    rows.append({"part": "planted", "setting": "true modules", "family": "all", **row})
    summary = PARTS["planted"].summary(rows)
    assert summary["families"] == {"moving": {"functional": 1, "exact": 1}}
    record = tmp_path / "rows.jsonl"
    write_record(record, rows)
    page = tmp_path / "page.md"
    marks = [f"<!-- {name} -->\n<!-- /{name} -->\n" for name in PARTS["planted"].tables]
    page.write_text("".join(marks))
    fill(page, record)
    assert page.read_text().count("| true modules | 1 | 1 | 1 of 1 | 2 of 2 |") == 1


def test_a_caller_gets_an_object_with_a_summary(tmp_path):
    job = ("planted", MAIN, "logic")
    one = [work(job)]
    path = tmp_path / "rows.json"
    write_record(path, one)
    summarise(path)
    found = json.loads(path.read_text())
    assert found["planted"]["exact_frac"] == 1
    assert found["rows"] == one
