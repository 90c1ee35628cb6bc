"""Numbers and hostile text, made fit for a page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any, TypeGuard

from markupsafe import Markup

from partwise.errors import ProgramError
from partwise.programs.language import parse_program
from partwise.programs.wording import in_words

NOTHING = "–"
HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn"}


def visible(value: Any) -> Any:
    """A string without characters that hide, reorder or cannot be written; all else as it is.

    Control, format (including direction overrides) and surrogate characters become U+FFFD;
    line breaks and tabs stay. Markup is the templates' own and is left alone.

    >>> visible("a" + chr(0x202E) + "b")
    'a�b'
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isascii():
        return value if not isinstance(value, str) or value.isprintable() else _shown(value)
    return _shown(value)


def _shown(text: str) -> str:
    if isinstance(text, Markup):
        return text
    return "".join(
        "\ufffd" if unicodedata.category(c) in HIDDEN_CATEGORIES and c not in "\n\t" else c
        for c in text
    )


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal.

    >>> [percent(x) for x in (0.0, 0.0004, 0.0107, 0.5, 1.0, None)]
    ['0%', '<0.1%', '1.1%', '50%', '100%', '–']
    """
    if not _is_number(share):
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def number(value: float | None) -> str:
    """Three significant digits, with a true minus sign; whole numbers in full.

    >>> [number(x) for x in (3.4221, -0.00213, 276, 0.0, None)]
    ['3.42', '−0.00213', '276', '0', '–']
    """
    if not _is_number(value):
        return NOTHING
    if float(value).is_integer() and abs(value) < 1e6:
        return _minus(f"{int(value):,}")
    return _minus(f"{value:.3g}")


def fixed(value: float | None, digits: int = 3) -> str:
    """A fixed number of decimals, for columns that are compared."""
    return _minus(f"{value:.{digits}f}") if _is_number(value) else NOTHING


def counted(count: int, noun: str) -> str:
    """A count and its noun.

    >>> counted(1, "module"), counted(2, "module")
    ('1 module', '2 modules')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    >>> listed(["pixel 0,1", "pixel 0,2", "pixel 0,3"])
    'pixel 0,1; pixel 0,2 and pixel 0,3'
    """
    if len(names) < 2:
        return "".join(names)
    comma = "; " if any("," in name for name in names) else ", "
    return f"{comma.join(names[:-1])} and {names[-1]}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def named_program(text: str, inputs: Sequence[str]) -> str:
    """A program for people: one rule a line, with inputs by name; as it is if it is no program.

    >>> print(named_program("1 if x1 > 0.5 else x12", ["age", "pixel 3,9"]))
    1 when [pixel 3,9] is above 0.5;
    else x12
    """
    called = {f"x{k}": f"[{name}]" for k, name in enumerate(inputs)}
    try:
        words = in_words(parse_program(text), called, "it")
    except ProgramError:
        return text
    return words.removeprefix("it is ").replace("; ", ";\n")
