"""Programs in words."""

import pytest

from partwise.programs.language import parse_program
from partwise.programs.wording import in_words

NAMES = {"x0": "'width'", "x1": "'height'"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x0 > 0.5", "it is 1 when 'width' is above 0.5; else 0"),
        ("x0 <= 1 or not x1 == 2",
         "it is 1 when 'width' is at most 1 or not 'height' is 2; else 0"),
        ("(x0 + x1) % 3 == 0",
         "it is 1 when the remainder of 'width' + 'height' by 3 is 0; else 0"),
        ("2*x0 - x1", "it is 2 * 'width' - 'height'"),
        ("7 if x0 > 1 else 5 if x1 < 0 else 2",
         "it is 7 when 'width' is above 1; else 5 when 'height' is below 0; else 2"),
        ("'b' if token in ('a', 'c') else prev",
         "it is 'b' when token is among ('a', 'c'); else prev"),
        ("(1 or x0) and x1", "it is 1 when (1 is not 0 or 'width' is not 0) and 'height' is not 0; "
         "else 0"),
    ],
)  # fmt: skip
def test_in_words(text, words):
    assert in_words(parse_program(text), NAMES, "it") == words


def test_nested_conditionals_become_a_list():
    nested = "x0"
    for k in range(9):
        nested = f"({k} if x1 > {k} else {nested})" if k % 2 else f"({nested} if x0 > {k} else {k})"
    words = in_words(parse_program(nested), NAMES, "it")
    assert words.count("; else ") == 9
    assert "if" not in words


def test_scores_are_named_by_their_answer():
    words = in_words(parse_program("argmax(x0, 2*x1)"), NAMES, "it")
    assert words == "it is the one with the highest score, of 0: 'width'; 1: 2 * 'height'"
