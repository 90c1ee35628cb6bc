import pytest
import torch

from partwise.errors import ProgramError
from partwise.programs.language import parse_program

VALUES = {"x0": torch.tensor([0.0, 1.0, 2.0]), "x1": torch.tensor([2.0, -1.0, 0.5])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [1, 1, 1]),
        ("x0 + 2*x1", [4, -1, 3]),
        ("-x0 ** 2", [0, -1, -4]),
        ("x0 / 2", [0, 0.5, 1]),
        ("x0 > 0.5", [0, 1, 1]),
        ("0 < x0 <= 1", [0, 1, 0]),
        ("x0 and x1", [0, 1, 1]),
        ("x0 or x1 > 1", [1, 1, 1]),
        ("not x0", [1, 0, 0]),
        ("3 if x0 == 1 else x1", [2, 3, 0.5]),
        ("max(x0, x1, 1)", [2, 1, 2]),
        ("min(x0, x1)", [0, -1, 0.5]),
        ("abs(x1) + relu(-x1)", [2, 2, 0.5]),
        ("x0 % 2", [0, 1, 0]),
        ("x1 % 2", [0, 1, 0.5]),
        ("x1 // 2", [1, -1, 0]),
        ("floor(x1) + round(x1)", [4, -2, 0]),
        ("sum(x0, x1, 1)", [3, 1, 3.5]),
        ("argmax(x0, x1, 1)", [1, 0, 0]),
        ("automaton((x0, x1), (1, 2), (1, 2), (0, 2), (2, 2))", [2, 1, 2]),
    ],
)
def test_programs_evaluate(text, expected):
    assert parse_program(text).evaluate(VALUES).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "x0.__class__",
        "[x0]",
        "lambda: 1",
        "x0[0]",
        "f(x0)",
        "abs(x0, x1)",
        "max(x0)",
        "x0 @ x1",
        "x0 in x1",
        "(y := 1)",
        "1; 2",
        "x0 = 1",
        "",
        "x0 is x1",
        "1j",
        "1e400",
        "9" * 400,
        "abs(x=1)",
        "None",
        "(" * 3000 + ")" * 3000,
        "+".join(["x0"] * 900),
        "-" * 100 + "x0",
        "x0" * 5000,
        "exec('1')",
        "x0 << 2",
        "max(*x0)",
        "f'{x0}'",
        "\x00",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(ProgramError):
        parse_program(text)


def test_a_variable_without_a_value_is_named():
    with pytest.raises(ProgramError, match="x9"):
        parse_program("x9").evaluate(VALUES)
