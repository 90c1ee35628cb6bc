"""Scores of decompiled networks: what is right counts, what is wrong does not."""

import json
from dataclasses import replace

import numpy as np

from benchmarks.explain import write
from benchmarks.explain_planted import (
    SETTINGS,
    compare,
    families_table,
    made_up_row,
    planted_summary,
    score,
    scored,
    settings_table,
    summed,
)
from benchmarks.records import Record
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


def test_rows_make_a_summary_and_tables(tmp_path):
    row = summed([("a", scored(COPY, "true modules"))])
    rows = [{"setting": name, "family": "moving", **row} for name in list(SETTINGS)[:2]]
    rows.append(made_up_row(1))
    assert planted_summary(rows)["families"] == {"moving": {"functional": 1, "exact": 1}}
    record = Record({}, rows)
    assert settings_table(record).count("\n") == 3
    assert "| made up | 1 |" in families_table(record)
    write(tmp_path / "rows.json", {"planted": rows})
    assert json.loads((tmp_path / "rows.json").read_text())["planted"]["exact_frac"] == 1
