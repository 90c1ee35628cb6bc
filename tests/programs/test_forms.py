"""Planted functions of every form are found again, exactly, from few samples."""

import numpy as np
import pytest
import torch

from partwise.programs.fit import FORMS, Table, Target, find_program, table_of
from partwise.programs.fit.automata import learned_automaton
from partwise.programs.fit.boolean import EITHER, FALSE, TRUE, cover
from partwise.programs.fit.parity import solved
from partwise.programs.language import Sequences, Words

TOKENS = ("a", "b", "c", "d", "1", "2", " ")
UNSEEN = 1000


def bits(columns):
    return lambda rng, n: rng.integers(0, 2, (n, columns)).astype(float)


def reals(columns):
    return lambda rng, n: rng.normal(size=(n, columns))


def whole(columns, below):
    return lambda rng, n: rng.integers(0, below, (n, columns)).astype(float)


def one_hot(columns, below):
    draw = whole(columns, below)
    return lambda rng, n: np.eye(below)[draw(rng, n).astype(int)].reshape(n, -1)


def place(x, k, below):
    return x[:, k * below : (k + 1) * below].argmax(1)


PLANTED = {
    "boolean": (200, bits(6), lambda x: x[:, 0] * x[:, 1] + (1 - x[:, 2]) * x[:, 3] > 0),
    "boolean of ten": (
        500,
        bits(10),
        lambda x: x[:, 0] * x[:, 1] + (1 - x[:, 2]) * x[:, 7] * x[:, 9] > 0,
    ),
    "boolean of thirty": (
        400,
        bits(30),
        lambda x: x[:, 0] * x[:, 11] + (1 - x[:, 2]) * x[:, 7] > 0,
    ),
    "signs": (200, lambda r, n: 2 * bits(4)(r, n) - 1, lambda x: (x[:, 0] > 0) & (x[:, 3] < 0)),
    "parity": (300, bits(20), lambda x: x[:, [1, 4, 7, 12, 19]].sum(1) % 2),
    "sum of products": (600, bits(20), lambda x: (x[:, 1] + x[:, 4] * x[:, 9] + 1) % 2),
    "majority": (300, bits(7), lambda x: x.sum(1) > 3.5),
    "comparator": (200, reals(5), lambda x: x[:, 0] > x[:, 3]),
    "equal": (200, whole(4, 6), lambda x: x[:, 0] == x[:, 3]),
    "largest": (200, reals(4), lambda x: x.argmax(1)),
    "quadrants": (300, reals(5), lambda x: x[:, 0] * x[:, 1] > 0),
    "sum mod 7": (200, whole(2, 7), lambda x: (x[:, 0] + x[:, 1]) % 7),
    "weighted sum mod 31": (400, whole(2, 31), lambda x: (3 * x[:, 0] + 5 * x[:, 1] + 2) % 31),
    "difference mod 97": (100, whole(2, 97), lambda x: (x[:, 0] - x[:, 1]) % 97),
    "one-hot sum mod 5": (300, one_hot(2, 5), lambda x: (place(x, 0, 5) + place(x, 1, 5)) % 5),
    "product mod 7": (300, whole(2, 7), lambda x: (x[:, 0] * x[:, 1]) % 7),
    "sum of digits": (200, whole(3, 10), lambda x: x.sum(1)),
    "carry": (300, whole(2, 10), lambda x: (x[:, 0] + x[:, 1]) // 10),
    "divisible": (300, whole(3, 10), lambda x: x.sum(1) % 3 == 0),
    "rules": (600, whole(4, 5), lambda x: np.where(x[:, 0] == 3, 2, np.where(x[:, 2] > 2, 1, 0))),
}
VALUES = {
    "linear": (100, lambda x: 1.5 * x[:, 0] - 2 * x[:, 1] + 0.25),
    "hinge": (200, lambda x: 2 * np.maximum(x[:, 0] - 0.3, 0) - x[:, 1]),
    "distance": (200, lambda x: np.abs(x[:, 0] - x[:, 1])),
    "larger": (200, lambda x: np.maximum(x[:, 0], x[:, 1])),
    "polynomial": (200, lambda x: x[:, 0] * x[:, 1] - 0.5 * x[:, 2] ** 2 + 1),
    "wave": (200, lambda x: 2 * np.sin(3 * x[:, 0]) + x[:, 1]),
    "mixed": (300, lambda x: np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]),
}


def right_on_unseen(found, table, target):
    assert found is not None, "no short program found"
    return target.agrees(target.given(found.program, table)).mean()


@pytest.mark.parametrize("name", PLANTED)
def test_planted_classes_are_found_exactly(name):
    samples, draw, function = PLANTED[name]
    rng = np.random.default_rng(0)
    x, unseen = draw(rng, samples), draw(rng, UNSEEN)
    found = find_program(table_of(x), Target(function(x).astype(float)))
    target = Target(function(unseen).astype(float))
    assert right_on_unseen(found, table_of(unseen), target) == 1, found.program.text


@pytest.mark.parametrize("name", VALUES)
def test_planted_values_are_found_exactly(name):
    samples, function = VALUES[name]
    rng = np.random.default_rng(0)
    x, unseen = reals(4)(rng, samples), reals(4)(rng, UNSEEN)
    found = find_program(table_of(x), Target(function(x), "value"))
    given = Target(function(unseen), "value").given(found.program, table_of(unseen))
    assert np.abs(given - function(unseen)).max() < 1e-4, found.program.text


def test_waves_over_whole_numbers_are_found():
    rng = np.random.default_rng(0)
    x, unseen = whole(2, 7)(rng, 300), whole(2, 7)(rng, UNSEEN)

    def function(x):
        return np.cos(2 * np.pi * (x[:, 0] + x[:, 1]) / 7)

    found = find_program(table_of(x), Target(function(x), "value"))
    given = Target(function(unseen), "value").given(found.program, table_of(unseen))
    assert np.abs(given - function(unseen)).max() < 0.01


def runs(rng, n, length=10):
    ids = rng.integers(0, 2, (n, length))
    ids[np.arange(length) >= rng.integers(1, length + 1, n)[:, None]] = -1
    return ids


def depth(run):
    """Whether brackets never close too often, nor nest more than three deep; and close at last."""
    level = 0
    for token in run[run >= 0]:
        level += 1 if token == 0 else -1
        if not 0 <= level <= 3:
            return 0
    return 1


AUTOMATA = {
    "parity": lambda run: (run == 1).sum() % 2,
    "count mod 3": lambda run: (run == 1).sum() % 3,
    "contains ab": lambda run: any((run[:-1] == 0) & (run[1:] == 1)),
    "last": lambda run: run[run >= 0][-1],
    "brackets": depth,
}


@pytest.mark.parametrize("name", AUTOMATA)
@pytest.mark.parametrize("forms", [None, ["automaton"]])
def test_planted_automata_are_found_exactly(name, forms):
    rng = np.random.default_rng(0)
    samples, unseen = runs(rng, 600), runs(rng, UNSEEN)

    def made(ids):
        table = Table({"tokens": Sequences(torch.from_numpy(ids), ("a", "b"))})
        return table, Target(np.array([float(AUTOMATA[name](run)) for run in ids]))

    found = find_program(*made(samples), forms=forms)
    assert right_on_unseen(found, *made(unseen)) == 1, found.program.text


def test_an_automaton_over_columns_is_found():
    rng = np.random.default_rng(0)
    x, unseen = bits(8)(rng, 800), bits(8)(rng, UNSEEN)

    def has_11(x):
        return Target(((x[:, :-1] * x[:, 1:]).sum(1) > 0).astype(float))

    found = find_program(table_of(x), has_11(x), forms=["automaton"])
    assert right_on_unseen(found, table_of(unseen), has_11(unseen)) == 1


LOOKUPS = {
    "table": lambda token, prev: np.array([3, 0, 2, 1, 3, 3, 5])[token],
    "copy": lambda token, prev: prev,
    "choice": lambda token, prev: np.where(token >= 4, prev, 2),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_planted_rules_over_tokens_are_found(name):
    rng = np.random.default_rng(0)

    def made(n):
        token, prev = rng.integers(0, 7, (2, n))
        words = {"token": token, "prev": prev}
        table = Table({k: Words(torch.from_numpy(v), TOKENS) for k, v in words.items()})
        return table, Target(LOOKUPS[name](token, prev).astype(float), words=TOKENS)

    found = find_program(*made(600))
    assert right_on_unseen(found, *made(UNSEEN)) == 1, found.program.text


def test_classes_of_tokens_are_found():
    ids = np.random.default_rng(0).integers(0, 7, 300)
    table = Table({"token": Words(torch.from_numpy(ids), TOKENS)})
    found = find_program(table, Target((ids >= 4).astype(float) * (ids < 6)))
    assert found.program.text == "1 if token in DIGITS else 0"


def test_symbolic_regression_explains_what_no_sum_does():
    pytest.importorskip("pyoperon")
    rng = np.random.default_rng(0)
    x, unseen = reals(2)(rng, 300), reals(2)(rng, UNSEEN)

    def ratio(x):
        return Target(x[:, 0] / (1 + x[:, 1] ** 2), "value")

    found = find_program(table_of(x), ratio(x))
    assert right_on_unseen(found, table_of(unseen), ratio(unseen)) > 0.95


def test_trees_and_scores_are_last_resorts():
    last = {name for name, form in FORMS.items() if form.is_last_resort}
    assert last >= {"tree", "rule list", "scores"}
    rng = np.random.default_rng(0)
    x = reals(6)(rng, 600)
    steps = np.where(x[:, 0] > 0, np.where(x[:, 1] > 0.5, 2, 1), np.where(x[:, 2] > -0.3, 0, 3))
    found = find_program(table_of(x), Target(steps.astype(float)))
    assert found.form == "tree"
    assert found.fidelity > 0.95


def test_scores_follow_logits():
    rng = np.random.default_rng(0)
    x = reals(6)(rng, 2000)
    logits = x @ np.array([[3, 0, -2], [0, 2, 1], [1, -3, 0], [0, 1, 2], [0, 0, 0], [0, 0, 0]])
    target = Target(logits.argmax(1).astype(float), logits=logits)
    found = find_program(table_of(x), target, forms=["tree", "scores"])
    assert found.form == "scores"
    assert found.fidelity > 0.95


def test_minimal_covers_by_hand():
    ones = np.zeros((2, 2, 2), bool)
    ones[1, 1, :] = ones[:, 0, 1] = True  # xy + y'z; xz is prime too, and superfluous
    everything = np.ones_like(ones)
    assert set(cover(ones, everything)) == {(TRUE, TRUE, EITHER), (EITHER, FALSE, TRUE)}
    cares = everything.copy()
    cares[1, 1, 0] = False
    assert cover(cares & ones & (np.indices((2, 2, 2))[0] > 0), cares)  # what never occurs is free


def test_equations_modulo_two_by_hand():
    equations = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)
    assert solved(equations, np.array([1, 1, 0], bool)) is not None
    assert solved(equations, np.array([1, 1, 1], bool)) is None  # the rows sum to nothing


def test_merging_learns_the_smallest_automaton():
    symbols = np.array([[(n >> k) & 1 for k in range(6)] for n in range(64)])
    learned = learned_automaton(symbols, symbols.sum(1) % 2, 2)
    assert learned.next == ((0, 1), (1, 0))
    assert learned.answers == (0, 1)
    contradicted = learned_automaton(np.zeros((2, 3), int), np.array([0, 1]), 2)
    assert contradicted is None
