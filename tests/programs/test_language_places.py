"""Where a program is refused, runs of texts, and how much it may compute."""

import pytest
import torch

from partwise.errors import ProgramError
from partwise.programs import language
from partwise.programs.language import Sequences, parse_program

RUNS = {"tokens": Sequences(torch.tensor([[0, 1, 1], [1, -1, -1], [0, 0, 2]]), ("a", "b", "c"))}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x0 + (x1 @ x2)", "column 7: not in the language: 'BinOp'"),
        ("  x0 + f(x1)", "column 6: not in the language: 'f(...)'"),
        ("'é' == x0.y", "column 8: not in the language: 'y'"),
        ("x0 +", "column 5: not an expression"),
        ("(x0 +\n x1[0])", "line 2, column 2: not in the language: 'Subscript'"),
        ("-" * 41 + "x0", "column 41: program is nested more than 40 deep"),
        ("(" + "-" * 3000 + "x0) @ x1", "not an expression"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text, place):
    with pytest.raises(ProgramError) as refused:
        parse_program(text)
    assert place in str(refused.value)


def test_what_cannot_be_computed_is_named_with_its_place():
    words = {"token": RUNS["tokens"], "x0": torch.ones(3)}
    with pytest.raises(ProgramError, match="column 6: token is a run of texts"):
        parse_program("x0 + token").evaluate(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count(tokens, 'b')", [2, 1, 0]),
        ("count(tokens, ('a', 'c')) % 2", [1, 0, 1]),
        ("count(tokens, LETTERS)", [3, 1, 3]),
        ("automaton(tokens, ('b',), (1,), (0,))", [0, 1, 0]),
        ("automaton(tokens, ('a', 'b'), (1, 0), (1, 2), (0, 2)) == 2", [1, 0, 0]),
    ],
)
def test_programs_read_runs_of_texts(text, expected):
    assert parse_program(text).evaluate(RUNS).tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "count(tokens)",
        "count(tokens, x0)",
        "count('ab', 'a')",
        "automaton(tokens, ('a',))",
        "automaton(tokens, ('a',), (1,))",
        "automaton(tokens, ('a',), (-1,))",
        "automaton(tokens, ('a',), (0, 0))",
        "automaton(tokens, ('a', 1), (0, 0))",
        "automaton(tokens, ('a', 'a'), (0, 0))",
        "automaton(tokens, (), ())",
        "automaton((x0, 1), (1,), (0,))",
        "automaton((), (1,), (0,))",
        "automaton(tokens, (f(1),), (0,))",
        "automaton(tokens, (True,), (0,))",
        "automaton(tokens, ('a',), (True,))",
    ],
)
def test_other_runs_and_automata_are_refused(text):
    with pytest.raises(ProgramError):
        parse_program(text)


def test_numbers_are_no_runs():
    for text in ("count(x0, 'a')", "automaton(x0, ('a',), (0,))"):
        with pytest.raises(ProgramError, match="run of texts"):
            parse_program(text).evaluate({"x0": torch.ones(2)})


def test_too_much_work_is_refused(monkeypatch):
    monkeypatch.setattr(language, "MOST_WORK", 100)
    assert parse_program("x0 + 1").evaluate({"x0": torch.ones(30)}).sum() == 60
    with pytest.raises(ProgramError, match="3 parts on 40 samples is too much work"):
        parse_program("x0 + 1").evaluate({"x0": torch.ones(40)})
