"""Conditions on tokens in words."""

import pytest

from partwise.explain.slice_words import clause_in_words, slice_in_words, token_among
from partwise.programs.language import parse_program


@pytest.mark.parametrize(
    ("where", "words", "clause"),
    [
        ("next == 'q'", "that are 'q'", "the next token is 'q'"),
        ("next in LETTERS", "that are letters", "the next token is a letter"),
        ("token in BLANKS", "after blanks", "the last token is a blank"),
        ('token == "\'"', 'after "\'"', 'the last token is "\'"'),
        ("token == '\\n'", "after '\\n'", "the last token is '\\n'"),
        ("prev == 'a'", "two after 'a'", "the token before the last is 'a'"),
        ("prev2 in DIGITS", "three after digits", "the third last token is a digit"),
        ("prev3 in PUNCTUATION", "four after punctuation", "the fourth last token is punctuation"),
        ("stream == 'digits'", "in stream 'digits'", "the stream is 'digits'"),
    ],
)
def test_simple_conditions(where, words, clause):
    parse_program(where)
    assert slice_in_words(where) == words
    assert clause_in_words(where) == clause


def test_positions_and_induction():
    assert slice_in_words("position < 4") == "among the first 4"
    assert slice_in_words("position >= 8") == "beyond the first 8"
    followed = "where the last such token was followed by 'a'"
    assert slice_in_words("induced == 'a'") == followed


@pytest.mark.parametrize(
    "where",
    [
        "token == 'a' and next == 'b'",
        "token in ('a', 'b')",
        "token != 'a'",
        "token == prev",
        "position > 3",
        "answer0 == 5",
        "token in WORDS",
        "elsewhere == 'a'",
        repr("a'\"").join(["token == ", ""]),
    ],
)
def test_other_conditions_stand_for_themselves(where):
    assert slice_in_words(where) == f"where {where}"
    assert clause_in_words(where) == where


@pytest.mark.parametrize("tokens", [("a",), ("a", "'", '"', "\n", "\\"), (" the",)])
def test_a_condition_on_tokens_can_be_read(tokens):
    from partwise.programs.evaluate import texts_of  # what stands to the right of `in`

    program = parse_program(token_among("next", tokens))
    assert texts_of(program.tree.comparators[0]) == tokens
