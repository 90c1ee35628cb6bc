"""Modules replaced by programs, all at once: what is left of a network."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import LABELS, and_or_network, and_or_task
from torch import nn

from partwise.errors import DataError
from partwise.explain import subject_of
from partwise.explain.claims import ProgramClaim
from partwise.explain.composition import answering_module, compose, inputs_behind
from partwise.explain.decompiling import decompile, decompile_text
from partwise.tasks import task_from_arrays


def test_a_network_of_two_conditions_is_two_programs(subject):
    found = compose(subject)
    assert [head.program for head in found.heads] == ["x0 and x1", "x2 or x3"]
    assert [head.module for head in found.heads] == [0, 1]
    assert [head.fidelity for head in found.heads] == [1, 1]
    assert found.recovered == pytest.approx(1, abs=0.05)
    assert "2 of 2 questions have a short program" in found.words


def test_what_another_module_hands_over_may_be_read():
    model = and_or_network()
    with torch.no_grad():
        model[2].weight[0, 1] = -24.0  # 'both' is now: both, and not either
    subject = subject_of(model, LABELS, and_or_task())
    assert inputs_behind(subject, 0).tolist() == [0, 1, 2, 3]
    assert inputs_behind(subject, 1).tolist() == [2, 3]
    assert answering_module(subject, subject.task.heads[0]) == 0
    found = compose(subject).heads[0]
    assert found.fidelity == 1
    assert set(found.program) & set("23")


def test_where_there_is_no_program_the_usual_answer_recovers_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 6)).astype(np.float32)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 1))
    with torch.no_grad():
        model[0].weight.mul_(30)
        model[2].weight.mul_(30)
        y = (model(torch.from_numpy(x))[:, 0] > 0).float().numpy()
        model[2].bias -= model(torch.from_numpy(x)).median()
    subject = subject_of(model, np.zeros(71, int), task_from_arrays("hard", x, y, "binary"))
    found = compose(subject)
    head = found.heads[0]
    if head.program is None:
        assert head.fidelity == pytest.approx(head.chance, abs=0.1)
        assert found.recovered < 0.2


def test_values_are_composed_and_judged_by_their_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 3)).astype(np.float32)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, 1, 2, -2]]))  # |x0| + 2 x1
        model[2].bias.zero_()
    y = np.abs(x[:, 0]) + 2 * x[:, 1]
    subject = subject_of(model, np.zeros(8, int), task_from_arrays("sum", x, y, "value"))
    found = compose(subject)
    assert found.heads[0].fidelity == 1
    assert found.recovered == pytest.approx(1, abs=1e-3)
    assert found.heads[0].program in ("abs(x0) + 2*x1", "2*x1 + abs(x0)")


def test_a_composition_can_be_kept(subject):
    found = compose(subject)
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_a_file_reproduces_the_network(subject, tmp_path):
    text, words = decompile(subject, "and-or")
    (tmp_path / "program.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "program.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("the network's answer on 100.0%") == 2
    assert "# 'both' is 1 when 'input 0' is not 0 and 'input 1' is not 0; else 0." in text
    assert "95% interval" in text
    assert "recover" in words


def test_rules_of_a_language_model_become_a_file(coded, tmp_path):
    text, words = decompile_text(coded, "coded letters")
    (tmp_path / "rules.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "rules.py", "abab"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("->") == 4
    assert "rules say what comes next" in words


def test_a_language_model_is_not_composed(coded):
    with pytest.raises(DataError, match="is text"):
        compose(coded)


def test_long_programs_are_not_shown_as_nested_conditionals(subject):
    program = "x0"
    for k in range(12):
        program = f"({k} if x1 > {k} else {program})"
    words = ProgramClaim(head=0, program=program, agreement=0.5).words(subject.names)
    assert words.startswith("The program '11 when 'input 1' is above 11; and 12 more' gives the")
    short = ProgramClaim(head=0, program="x0 > x1", agreement=0.5).words(subject.names)
    assert short == (
        "The program '1 when 'input 0' is above 'input 1'; else 0' gives the network's answer to "
        "'both' on 50% of samples or more."
    )
