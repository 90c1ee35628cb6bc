"""Programs fitted to nonsense: none is found."""

import numpy as np
import pytest
import torch

from partwise.programs.fit import Table, Target, find_program, form, table_of
from partwise.programs.fit.forms import FORMS
from partwise.programs.language import Sequences, Words

TOKENS = ("a", "b", "c", "1", "2", " ")
FAST = [name for name in FORMS if name != "symbolic regression"]


def tables(rng, n):
    token = torch.from_numpy(rng.integers(0, 6, n))
    return {
        "bits": table_of(rng.integers(0, 2, (n, 8))),
        "reals": table_of(rng.normal(size=(n, 4))),
        "whole numbers": table_of(rng.integers(0, 7, (n, 2))),
        "runs": Table(
            {"tokens": Sequences(torch.from_numpy(rng.integers(0, 2, (n, 6))), ("a", "b"))}
        ),
        "tokens": Table({"token": Words(token, TOKENS), "prev": Words(token.roll(1), TOKENS)}),
    }


def nonsense(rng, n, kind):
    if kind == "value":
        return Target(rng.normal(size=n), "value")
    return Target(rng.permutation(np.arange(n) % kind).astype(float))


def found_in(name, kind, trials):
    """Number of trials in which shuffled answers have a program."""
    found = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        n = int(rng.choice([60, 200]))
        table = tables(rng, n)[name]
        found += find_program(table, nonsense(rng, n, kind), forms=FAST) is not None
    return found


NAMES = ["bits", "reals", "whole numbers", "runs", "tokens"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [2, 7])
def test_shuffled_classes_have_no_program(name, kind):
    assert found_in(name, kind, 6) == 0


@pytest.mark.parametrize("name", ["bits", "reals"])
def test_shuffled_values_have_no_program(name):
    assert found_in(name, "value", 2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [2, 7, "value"])
def test_shuffled_answers_have_no_program_in_95_of_100_trials(name, kind):
    assert found_in(name, kind, 100) <= 5


def test_few_samples_and_constant_answers_have_none():
    x = np.random.default_rng(0).normal(size=(100, 3))
    assert find_program(table_of(x), Target(np.ones(100))) is None
    assert find_program(table_of(x[:20]), Target((x[:20, 0] > 0).astype(float))) is None


def test_a_long_program_does_not_pay():
    """Random answers to 64 combinations can be written down, but not for less."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 6)).astype(float)
    answers = rng.integers(0, 2, 64)[(x @ 2 ** np.arange(6)).astype(int)].astype(float)
    assert find_program(table_of(x), Target(answers)) is None
    assert find_program(table_of(x), Target(answers), price=0.1).fidelity > 0.9


def test_a_form_of_ones_own_takes_part():
    @form("every third")
    def every_third(table, target):
        yield "floor(10 * x0) % 3 == 0"
        yield "no program at all"
        yield "x9"

    try:
        x = np.random.default_rng(0).uniform(size=(200, 1))
        target = Target(
            (np.floor(np.float32(10) * x[:, 0].astype(np.float32)) % 3 == 0).astype(float)
        )
        assert find_program(table_of(x), target).form == "every third"
    finally:
        FORMS.pop("every third")
