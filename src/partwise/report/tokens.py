"""Tokens as people can see them: chips, shaded texts, and slices in words.

Tokens come from data. Whatever would hide, break a line or turn the reading direction is shown by
a sign or by its code; escaping is left to the templates.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from partwise.explain.slice_words import clause_in_words, slice_in_words
from partwise.explain.values import Context
from partwise.report.palette import SHADES
from partwise.report.words import HIDDEN_CATEGORIES, fixed

SIGNS = {"\n": "⏎", "\t": "⇥", "\r": "␍", "": "∅"}
BLANK = "␣"
CODED = HIDDEN_CATEGORIES | {"Zl", "Zp", "Zs"}
FULL = 0.98
"""Quantile of the marks' sizes that is drawn at full strength."""
FAINT = 0.04
"""Smaller marks, as shares of the full one, are not shaded."""
QUOTED = re.compile(r"""(?s)(?P<before>.*?)(?P<token>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


def shown_token(token: str, blank: str = BLANK) -> str:
    r"""A token in characters that can be seen.

    Args:
        token: its text.
        blank: what a blank is shown as.

    >>> shown_token(" the"), shown_token("\n"), shown_token("a" + chr(0x202E))
    ('␣the', '⏎', 'a⟨U+202E⟩')
    """
    if token in SIGNS:
        return SIGNS[token]
    text = "".join(_shown_character(c, blank) for c in token)
    return "◌" + text if unicodedata.combining(text[0]) else text


def _shown_character(c: str, blank: str) -> str:
    if c == " ":
        return blank
    if c in SIGNS:
        return SIGNS[c]
    return f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in CODED else c


class Phrase(NamedTuple):
    """Words, and the token that they end in, if they do."""

    words: str
    token: str | None = None


def phrase_of(text: str) -> Phrase:
    r"""Words that may end in a quoted token, apart.

    >>> phrase_of("after '\\n'"), phrase_of("that are digits")
    (Phrase(words='after', token='⏎'), Phrase(words='that are digits', token=None))
    """
    match = QUOTED.fullmatch(text)
    token = None if match is None else _unquoted(match["token"])
    if match is None or token is None:
        return Phrase(text)
    return Phrase(match["before"].rstrip(), shown_token(token))


def slice_phrase(where: str) -> Phrase:
    """A slice of the tokens, in words.

    >>> slice_phrase("stream == 'letters'"), slice_phrase("")
    (Phrase(words='in stream letters', token=None), Phrase(words='all tokens', token=None))
    """
    return _named_plainly(where, slice_in_words(where)) if where else Phrase("all tokens")


def clause_phrase(where: str) -> Phrase:
    """A condition as what follows the word when.

    >>> clause_phrase("token == 'q'").token, clause_phrase("stream == 'letters'").words
    ('q', 'the stream is letters')
    """
    return _named_plainly(where, clause_in_words(where))


def _named_plainly(where: str, words: str) -> Phrase:
    """A phrase in which the name of a stream is no token."""
    phrase = phrase_of(words)
    if where.startswith("stream ") and phrase.token is not None:
        return Phrase(f"{phrase.words} {phrase.token.replace(BLANK, ' ')}")
    return phrase


def _unquoted(text: str) -> str | None:
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None
    return value if isinstance(value, str) else None


class Wire(NamedTuple):
    """An edge's ends, by name."""

    sender: Phrase
    receiver: Phrase


def wire_of(name: str) -> Wire:
    """An edge as evidence names it, taken apart; a token's name may hold an arrow itself.

    >>> wire_of("'a' -> channel 5")
    Wire(sender=Phrase(words='', token='a'), receiver=Phrase(words='channel 5', token=None))
    """
    arrow = " -> "
    match = QUOTED.match(name)
    quoted = match is not None and not match["before"] and name[match.end() :].startswith(arrow)
    cut = match.end() if match is not None and quoted else max(name.find(arrow), 0)
    return Wire(phrase_of(name[:cut]), phrase_of(name[cut:].removeprefix(arrow)))


class Mark(NamedTuple):
    """A token of a shaded text: what is seen, its shade's class, its number in words."""

    text: str
    shade: str
    title: str
    is_peak: bool = False


@dataclass(frozen=True)
class Marked:
    """A shaded text.

    Attributes:
        stream: where it is from.
        marks: its tokens.
        before, after: whether there is more of it on either side.
        mean: mean of all its marks.
        most: the token with the largest mark.
        peak: that mark.
    """

    stream: str
    marks: tuple[Mark, ...]
    before: bool
    after: bool
    mean: float
    most: str
    peak: float


@dataclass(frozen=True)
class Scale:
    """What shades stand for: marks of `top` and beyond are drawn at full strength."""

    top: float

    @classmethod
    def of(cls, contexts: Sequence[Context]) -> Scale:
        """The scale of some texts that are to be compared."""
        sizes = np.abs([mark for context in contexts for mark in context.marks] or [0.0])
        return cls(float(np.quantile(sizes, FULL)) or float(sizes.max()) or 1.0)

    def shade(self, mark: float) -> str:
        """Class of a mark's shade: `a1` to `a8` above 0, `b1` to `b8` below, or none.

        >>> [Scale(2.0).shade(x) for x in (2.5, 1.0, 0.01, -0.3)]
        ['a8', 'a4', '', 'b2']
        """
        strength = min(abs(mark) / self.top, 1.0)
        if not strength > FAINT:
            return ""
        return f"{'a' if mark > 0 else 'b'}{int(np.ceil(SHADES * strength))}"


def nats(mark: float) -> str:
    """What a token loses or gains, in words.

    >>> nats(1.234), nats(-0.5)
    ('loses 1.23 nats', 'gains 0.50 nats')
    """
    return f"{'gains' if mark < 0 else 'loses'} {fixed(abs(mark), 2)} nats"


def activation(mark: float) -> str:
    """An activation, in words."""
    return f"active at {fixed(mark, 2)}"


def marked(
    context: Context, scale: Scale, most: int, words: Callable[[float], str], peak: bool = False
) -> Marked:
    """A text, shaded.

    Args:
        context: the text.
        scale: what shades stand for.
        most: tokens to show at most; the part that has most to show is chosen.
        words: says a mark.
        peak: whether to outline the token with the largest mark.
    """
    values = np.array(context.marks, float)
    start = _telling_part(np.abs(values), most)
    top = int(values.argmax()) if len(values) else 0
    marks = [
        _mark(context.tokens[k], values[k], scale, words, peak and k == top)
        for k in range(start, min(start + most, len(values)))
    ]
    return Marked(
        stream=context.stream,
        marks=tuple(marks),
        before=start > 0,
        after=start + most < len(values),
        mean=float(values.mean()) if len(values) else 0.0,
        most=shown_token(context.tokens[top]) if len(values) else "",
        peak=float(values[top]) if len(values) else 0.0,
    )


def _mark(
    token: str, value: float, scale: Scale, words: Callable[[float], str], is_peak: bool
) -> Mark:
    seen = shown_token(token)
    text = shown_token(token, " ")
    return Mark(text, scale.shade(value), f"{seen} {words(value)}", is_peak)


def _telling_part(sizes: np.ndarray, most: int) -> int:
    """Where the run of `most` neighbours with the largest sum begins."""
    if len(sizes) <= most:
        return 0
    return int(np.convolve(sizes, np.ones(most), "valid").argmax())
