"""Programs do their tasks, and compiled networks do what the programs do."""

import numpy as np
import pytest
import torch

from partwise.errors import DataError
from partwise.graph import units_of
from partwise.graph.attention import attention
from partwise.zoo.catalogue import catalogue
from partwise.zoo.compiler import CONFIDENT, START, compiled
from partwise.zoo.data import sequence_text
from partwise.zoo.interpreter import answers, run
from partwise.zoo.language import Fetch, Positions, Program, Tokens, where
from partwise.zoo.library import PROGRAMS
from partwise.zoo.relations import back

SPECS = {entry.name: entry for entry in catalogue()}
each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)


def drawn(program, count=40):
    rng = np.random.default_rng(1)
    for length in range(program.shortest, program.longest + 1):
        random = rng.integers(0, len(program.texts), (count, length))
        yield random if program.draw is None else program.draw(rng, count, length)


def test_there_are_many_programs_and_each_has_a_name_of_its_own():
    names = [program.name for program in PROGRAMS]
    assert len(names) == len(set(names)) >= 40
    assert len(SPECS) == len(catalogue())


@each_program
def test_a_program_does_its_task(program):
    texts = np.array(program.texts)
    for tokens in drawn(program, 15):
        want = [SPECS[program.name].answer(row.tolist()) for row in texts[tokens]]
        assert answers(program, tokens).tolist() == want


@each_program
def test_a_compiled_network_does_what_its_program_does(program):
    net = compiled(program)
    code = np.array([net.vocabulary.index(text) for text in program.texts])
    for tokens in drawn(program):
        ids = torch.from_numpy(np.hstack([np.zeros((len(tokens), 1), np.int64), code[tokens]]))
        logits = net.model(ids)
        assert (logits[:, 0].argmax(1) == 0).all()
        logits = logits[:, 1:]
        assert (np.array(net.vocabulary)[logits.argmax(2)] == answers(program, tokens)).all()
        right, next_best = logits.topk(2, 2).values.unbind(2)
        assert (right - CONFIDENT).abs().max() < 1e-3
        assert next_best.abs().max() < 1e-3


@each_program
def test_the_truth_covers_every_weight(program):
    net = compiled(program)
    units = units_of(net.model)
    truth = net.truth
    labels = truth.partition
    assert len(labels) == units.n
    operations = len(truth.components)
    assert labels.modules in (operations, operations + 1)  # one more for what does nothing
    owner = np.full(units.n, operations)
    for i, component in enumerate(truth.components):
        owner[[*component.units, *component.channels]] = i
    graph = units.graph(net.model)
    start = next(group.start for group in units.groups if group.kind == "residual")
    for u, v in zip(graph.sources, graph.targets, strict=True):
        a, b = sorted((owner[u], owner[v]))
        if a != b and start not in (u, v):  # every operation may ask whether this is the start
            assert a in truth.components[b].reads or {a, b} == {0, truth.output}
    assert (owner[graph.sources] < operations).all()


def previous(default):
    tokens, positions = Tokens(("a", "b")), Positions(tuple(range(4)))
    output = Fetch(where((positions, back(1), positions)), tokens, default)
    return Program("copy 1 back", "moving", output, tokens, 4, True)


def test_a_head_without_default_must_select_something():
    with pytest.raises(DataError, match="selects nothing"):
        answers(previous(None), np.zeros((1, 3), np.int64))


def test_what_is_fetched_by_hand():
    program = previous("-")
    tokens = np.array([[0, 1, 1]])  # a b b: before them nothing, a, b
    assert answers(program, tokens).tolist() == [["-", "a", "b"]]
    assert run(program, tokens)[id(program.output)].tolist() == [[2, 0, 1]]


def test_a_compiled_head_looks_where_its_program_says():
    net = compiled(previous("-"))
    (seen,) = attention(net.model, units_of(net.model), torch.tensor([[0, 1, 2, 2]]))
    want = torch.eye(4).roll(1, 0)  # each looks one back; the start token at itself
    want[0], want[1] = torch.eye(4)[0], torch.eye(4)[0]
    torch.testing.assert_close(seen[0, 0], want)


def test_no_sequence_is_in_two_splits_and_answers_are_the_programs():
    program = next(each for each in PROGRAMS if each.name == "copy 1 back")
    text = sequence_text(program, compiled(program).vocabulary)
    found = {
        split: {tuple(row) for ids in text.batches(split, 400, 0) for row in ids.tolist()}
        for split in ("train", "claims", "final")
    }
    assert all(len(each) > 100 for each in found.values())
    assert not found["train"] & found["final"]
    assert not found["claims"] & (found["train"] | found["final"])
    rows = text.rows("claims", 200, 0)
    words = np.array(text.corpus.vocabulary)
    assert words[rows.x[0, 0]] == START
    answers_ = rows.y.reshape(rows.x.shape).long()
    assert (answers_[:, 2:] == rows.x[:, 1:-1]).all()
