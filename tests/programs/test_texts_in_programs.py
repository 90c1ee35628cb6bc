"""Programs about texts: tokens, the stream, and what is missing."""

import pytest
import torch

from partwise.errors import ProgramError
from partwise.programs.language import Words, parse_program

VOCABULARY = ("a", " the", "12", "=", "\n", "é")
VALUES = {
    "token": Words(torch.tensor([0, 1, 2, 3, 4, 5]), VOCABULARY),
    "prev": Words(torch.tensor([-1, 1, 0, 3, 2, -1]), VOCABULARY),
    "stream": Words(torch.tensor([0, 0, 1, 1, 0, 1]), ("letters", "digits")),
    "position": torch.arange(6.0),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token == 'a'", [1, 0, 0, 0, 0, 0]),
        ("'a' == token", [1, 0, 0, 0, 0, 0]),
        ("token != 'a'", [0, 1, 1, 1, 1, 1]),
        ("token == prev", [0, 1, 0, 1, 0, 0]),
        ("token == prev == '='", [0, 0, 0, 1, 0, 0]),
        ("token == 'no such token'", [0, 0, 0, 0, 0, 0]),
        ("'a' == 'a'", [1, 1, 1, 1, 1, 1]),
        ("token in '=12'", [0, 0, 1, 1, 0, 0]),
        ("token not in '=12'", [1, 1, 0, 0, 1, 1]),
        ("token in ('a', '12')", [1, 0, 1, 0, 0, 0]),
        ("token in ['a', '12']", [1, 0, 1, 0, 0, 0]),
        ("token in ('a12',)", [0, 0, 0, 0, 0, 0]),
        ("token in LETTERS", [1, 1, 0, 0, 0, 0]),
        ("token in DIGITS", [0, 0, 1, 0, 0, 0]),
        ("token in PUNCTUATION", [0, 0, 0, 1, 0, 0]),
        ("token in BLANKS", [0, 0, 0, 0, 1, 0]),
        ("token not in LETTERS and position < 4", [0, 0, 1, 1, 0, 0]),
        ("stream == 'digits' or token == 'a'", [1, 0, 1, 1, 0, 1]),
        ("stream == token", [0, 0, 0, 0, 0, 0]),
        ("not token in LETTERS", [0, 0, 1, 1, 1, 1]),
        ("2 * (token in DIGITS) + 1", [1, 1, 3, 1, 1, 1]),
        ("position if token == '12' else -1", [-1, -1, 2, -1, -1, -1]),
    ],
)
def test_conditions_on_texts(text, expected):
    assert parse_program(text).evaluate(VALUES).tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prev == prev", [0, 1, 1, 1, 1, 0]),
        ("prev != prev", [1, 0, 0, 0, 0, 1]),
        ("prev == ''", [0, 0, 0, 0, 0, 0]),
        ("prev != ''", [1, 1, 1, 1, 1, 1]),
        ("prev in LETTERS", [0, 1, 1, 0, 0, 0]),
        ("prev not in LETTERS", [1, 0, 0, 1, 1, 1]),
        ("prev in 'a='", [0, 0, 1, 1, 0, 0]),
        ("prev in ('a', '=')", [0, 0, 1, 1, 0, 0]),
    ],
)
def test_a_missing_token_is_like_no_text_not_even_itself(text, expected):
    assert parse_program(text).evaluate(VALUES).tolist() == expected


def given(text):
    words = parse_program(text).evaluate_text(VALUES)
    return [None if k < 0 else words.vocabulary[k] for k in words.ids.tolist()]


def test_programs_give_texts():
    assert given("'q'") == ["q"] * 6
    assert given("prev") == [None, " the", "a", "=", "12", None]
    assert given("token if position > 2 else prev") == [None, " the", "a", "=", "\n", "é"]
    chosen = "stream if position < 2 else 'x' if token in DIGITS else prev"
    assert given(chosen) == ["letters", "letters", "x", "=", "12", None]


def test_what_a_program_gives_is_found_in_the_vocabulary():
    words = parse_program("'=' if position > 3 else 'none such'").evaluate_text(VALUES)
    assert words.over(VOCABULARY).tolist() == [-1, -1, -1, -1, 3, 3]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("token + 1", "cannot compute with a text: 'token'"),
        ("-token", "cannot compute with a text"),
        ("not token", "cannot compute with a text"),
        ("token and position", "cannot compute with a text"),
        ("position or prev", "cannot compute with a text"),
        ("max(token, 1)", "cannot compute with a text"),
        ("abs('a')", "cannot compute with a text"),
        ("'a' * 2", "cannot compute with a text"),
        ("1 if 'a' else 2", "cannot compute with a text"),
        ("1 if token else 2", "cannot compute with a text"),
        ("token == 1", "compared with a number"),
        ("position == 'a'", "compared with a number"),
        ("token == (prev == 'a')", "compared with a number"),
        ("token < prev", "compare by == and != only"),
        ("position in DIGITS", "'in' asks about a text"),
        ("'a' if position > 1 else 1", "one side of 'if' gives a text, the other a number"),
        ("token", "gives a text, wanted a number"),
        ("'a'", "gives a text, wanted a number"),
        ("LETTERS == token", "reads LETTERS, which has no value here"),
    ],
)
def test_texts_are_no_numbers(text, complaint):
    with pytest.raises(ProgramError, match=complaint):
        parse_program(text).evaluate(VALUES)


def test_numbers_are_no_texts():
    with pytest.raises(ProgramError, match="gives a number, wanted a text"):
        parse_program("position + 1").evaluate_text(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "token in prev",
        "token in ''",
        "token in ()",
        "token in (prev,)",
        "token in (1, 2)",
        "token in (LETTERS, DIGITS)",
        "token in (('a',),)",
        "token in WORDS",
        "token in 'a' in 'b'",
        "token in f'{prev}'",
        "token[0]",
        "token.upper()",
        "b'a' == token",
        "token == 'a' 'b'[0]",
        f"token == {'a' * 401!r}",
        f"token in {('a',) * 401!r}",
    ],
)
def test_other_questions_about_texts_are_refused(text):
    with pytest.raises(ProgramError):
        parse_program(text)
