"""How clear an answer is."""

import pytest
import torch

from partwise.programs.language import parse_program
from partwise.programs.margins import scores_of

VALUES = {"x0": torch.tensor([0.0, 3.0]), "x1": torch.tensor([1.0, 1.0])}


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("argmax(x0, x1, 2)", [[0, 1, 2], [3, 1, 2]]),
        ("x0 > x1", [[0, -1], [0, 2]]),
        ("x0 + 1 <= 2*x1", [[0, 1], [0, -2]]),
        ("x0 == x1", None),
        ("x0 and x1", None),
        ("x0 > 1 > x1", None),
        ("1 if x0 > x1 else 0", None),
    ],
)
def test_scores(text, scores):
    found = scores_of(parse_program(text), VALUES)
    assert (None if found is None else found.tolist()) == scores


@pytest.mark.parametrize("text", ["argmax(x0, x1, 2)", "x0 > x1", "x0 + 1 <= 2*x1"])
def test_the_highest_score_is_the_answer(text):
    program = parse_program(text)
    assert scores_of(program, VALUES).argmax(1).tolist() == program.evaluate(VALUES).tolist()
