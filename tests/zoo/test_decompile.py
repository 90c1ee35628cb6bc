"""Compiled networks are decompiled exactly, also in disguise; checks and names by hand."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import partwise.zoo.decompile as package
from partwise.graph import units_of
from partwise.zoo.catalogue import catalogue
from partwise.zoo.compiler import compiled
from partwise.zoo.data import sequence_text
from partwise.zoo.decompile import Undecompilable, decompile, name_task, roles_of
from partwise.zoo.decompile.reading import apart
from partwise.zoo.decompile.roles import function, preference, relation, split_scores
from partwise.zoo.decompile.steps import distinct
from partwise.zoo.disguise import disguised
from partwise.zoo.library import PROGRAMS
from partwise.zoo.made_up import made_up

NAMED = {program.name: program for program in PROGRAMS}
SOME = ["reverse", "most frequent token", "sort ascending", "induction", "balanced", "sum mod 3"]


def read(program, net):
    text = sequence_text(program, net.vocabulary)
    labels = np.array(net.truth.partition)
    return text, decompile(net.model, units_of(net.model), labels, text.batches("train", 200, 0))


def told(net, ids):
    with torch.no_grad():
        return net.model(ids)[:, 1:].argmax(2).numpy()


@pytest.mark.parametrize("program", [*(NAMED[name] for name in SOME), made_up(3), made_up(4)],
                         ids=lambda program: program.name)  # fmt: skip
@pytest.mark.parametrize("seed", [None, 0])
def test_the_steps_answer_as_the_network(program, seed):
    net = compiled(program)
    if seed is not None:
        net = disguised(net, seed)
    text, reading = read(program, net)
    for ids in text.batches("final", 200, 1):
        assert (reading.decompiled.answers(ids.numpy()) == told(net, ids)).all()


def test_a_disguise_changes_no_answer_and_every_weight():
    program = NAMED["sort ascending"]
    plain = compiled(program)
    other = disguised(plain, 0)
    ids = sequence_text(program, plain.vocabulary).batches("claims", 50, 0)[-1]
    torch.testing.assert_close(other.model(ids), plain.model(ids), atol=1e-3, rtol=0)
    assert (other.model.tokens.weight != 0).float().mean() > 0.9
    sizes = [[len(part.units) for part in each.truth.components] for each in (plain, other)]
    assert sizes[0] == sizes[1]


def test_roles_and_interfaces_of_a_known_program():
    program = NAMED["induction"]
    _, reading = read(program, compiled(program))
    roles = roles_of(reading.decompiled, compiled(program).vocabulary)
    heads = [i for i, part in enumerate(reading.components) if part.kind == "head"]
    assert [roles[i] for i in heads] == ["copies from 1 back", "copies from equal & highest"]
    assert [reading.decompiled.steps[i].reads for i in heads] == [(0, 1), (0, 1, heads[0])]


def test_a_soft_head_is_refused_or_wrong_and_never_called_right():
    program = NAMED["reverse"]
    net = compiled(program)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.model.parameters():
            parameter.add_(torch.randn_like(parameter) / 3)
    try:
        text, reading = read(program, net)
    except Undecompilable:
        return
    ids = text.batches("final", 200, 1)[-1]
    assert (reading.decompiled.answers(ids.numpy()) != told(net, ids)).any()


def test_the_decompiler_imports_neither_programs_nor_truth():
    hidden = {"language", "interpreter", "compiler", "library", "truth", "catalogue", "made_up"}
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not hidden & set((node.module or "").split(".")), path


def test_scores_split_into_a_condition_and_a_preference():
    holds = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]])
    found, rest = split_scores(100.0 * holds + np.array([[5.0], [0.0], [7.0]]))
    assert (found == holds).all()
    assert np.ptp(rest) < 1e-9
    found, rest = split_scores(np.tile([0.0, 30.0, 60.0], (2, 1)))
    assert found is None
    assert rest.tolist() == [0, 30, 60]


def test_relations_by_hand():
    places = [0, 1, 2, 3]
    assert relation(np.eye(4, k=-2, dtype=bool), places, places) == "2 back"
    assert relation(np.eye(4, k=1, dtype=bool), places, places) == "1 ahead"
    assert relation(np.eye(4, dtype=bool), places, places) == "equal"
    assert relation(np.tri(4, k=-1, dtype=bool), places, places) == "smaller"
    assert relation(np.eye(2, dtype=bool), ["a", "b"], ["b", "a"]) == "table"
    assert relation(np.eye(2, dtype=bool)[::-1], [None, None], ["b", "a"]) == "equal"
    assert preference(np.array([0.0, 30, 60]), [3, 4, 5]) == "highest"
    assert preference(np.array([0.0, 60, 30]), [3, 4, 5]) == "table"


@pytest.mark.parametrize(
    ("of", "role"),
    [
        (lambda a, b: a + b, "sum"),
        (lambda a, b: a - b, "difference"),
        (lambda a, b: (a + b) % 3, "remainder of sum"),
        (lambda a, b: a == b, "equality"),
        (lambda a, b: a > b, "order"),
        (lambda a, b: 5 * a + b, "pairs"),
        (lambda a, b: a * b, "table"),
    ],
)
def test_functions_of_two_by_hand(of, role):
    values = [[of(a, b) for b in range(4)] for a in range(4)]
    _, table = np.unique(values, return_inverse=True)
    assert function(table.reshape(4, 4), [range(4), range(4)])[0] == role


@pytest.mark.parametrize(
    ("table", "role"),
    [([0, 1, 0, 1], "remainder"), ([0, 0, 1, 1], "threshold"), ([0, 1, 1, 0], "membership"),
     ([3, 1, 0, 2], "relabels"), ([0, 0, 1, 2], "table")],
)  # fmt: skip
def test_functions_of_one_by_hand(table, role):
    assert function(np.array(table), [range(4)])[0] == role


def test_neurons_that_read_nothing_in_common_are_apart():
    reads = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], bool)
    down = np.array([[1.0, 1, 0, 0], [0, 0, 1, 2]])
    assert [group.tolist() for group in apart(reads, down)] == [[0, 1], [2, 3]]


def test_symbols_are_vectors_that_differ():
    vectors, place = distinct(np.array([[1.0, 0], [0, 1], [1.0005, 0], [0, 1]]))
    assert (len(vectors), place.tolist()) == (2, [0, 1, 0, 1])


def test_a_task_is_named_by_its_answers_or_not_at_all():
    entries = catalogue()
    backwards = [(list("abc"), list("cba")), (list("aab"), list("baa"))]
    assert name_task(entries, backwards).name == "reverse"
    assert name_task(entries, [*backwards, (list("ab"), list("ab"))]) is None
