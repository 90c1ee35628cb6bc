"""Conditions on tokens, and what sentences call them."""

from __future__ import annotations

import re
from collections.abc import Sequence

TOKENS = {
    "next": "that are {}",
    "token": "after {}",
    "prev": "two after {}",
    "prev2": "three after {}",
    "prev3": "four after {}",
    "induced": "where the last such token was followed by {}",
}
"""Variable -> where a token is, if the variable has a value."""
CLAUSES = {
    "next": "the next token is {}",
    "token": "the last token is {}",
    "prev": "the token before the last is {}",
    "prev2": "the third last token is {}",
    "prev3": "the fourth last token is {}",
    "stream": "the stream is {}",
}
KINDS = {
    "LETTERS": "letters",
    "DIGITS": "digits",
    "PUNCTUATION": "punctuation",
    "BLANKS": "blanks",
}
ONE_OF = {
    "LETTERS": "a letter",
    "DIGITS": "a digit",
    "PUNCTUATION": "punctuation",
    "BLANKS": "a blank",
}
CONDITION = re.compile(
    r"""(?P<name>\w+) (?:== (?P<text>'[^']*'|"[^"]*")|in (?P<kind>[A-Z]+)"""
    r"""|(?P<side><|>=) (?P<n>\d+))"""
)


def token_among(name: str, tokens: Sequence[str]) -> str:
    """The condition that `token`, `next` or another is one of some tokens."""
    return f"{name} in ({', '.join(map(repr, tokens))},)"


def slice_in_words(where: str) -> str:
    """Where the tokens of a slice are; the condition itself where it is no simple one.

    >>> slice_in_words("next in DIGITS"), slice_in_words("token == 'q'")
    ('that are digits', "after 'q'")
    >>> slice_in_words("stream == 'letters'"), slice_in_words("position < 4")
    ("in stream 'letters'", 'among the first 4')
    """
    match = CONDITION.fullmatch(where)
    if match is None:
        return f"where {where}"
    name, text, kind, side, n = match.group("name", "text", "kind", "side", "n")
    if name == "position" and side:
        return f"among the first {n}" if side == "<" else f"beyond the first {n}"
    if name == "stream" and text:
        return f"in stream {text}"
    if name in TOKENS and (text or kind in KINDS):
        return TOKENS[name].format(text or KINDS[kind])
    return f"where {where}"


def clause_in_words(where: str) -> str:
    """A condition as what follows the word when.

    >>> clause_in_words("token == 'q'")
    "the last token is 'q'"
    """
    match = CONDITION.fullmatch(where)
    name, text, kind = match.group("name", "text", "kind") if match else ("", None, "")
    if name in CLAUSES and (text or kind in ONE_OF):
        return CLAUSES[name].format(text or ONE_OF[kind or ""])
    return where
