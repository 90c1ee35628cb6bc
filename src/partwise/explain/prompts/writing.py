"""Text that is safe and short: what evidence is rendered with."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_NAMES = 48


def line(text: str, length: int = 80) -> str:
    """A text on one line, without invisible characters, cut."""
    return cut(visible(" ".join(text.split())), length)


def cut(text: str, length: int) -> str:
    """The beginning of a text, marked where it was cut."""
    return text if len(text) <= length else text[:length] + "…"


def visible(text: str) -> str:
    r"""The text with what no reader sees, such as marks of direction, written as escapes.

    >>> visible("a\u202eb\n")
    'a\\u202eb\\n'
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def quoted(token: str, length: int = 40) -> str:
    """A token as a quoted text of the small language."""
    return cut(visible(repr(token)), length)


def joined(items: Iterable[str], most: int = MOST_NAMES, separator: str = ", ") -> str:
    """The first items, and how many more there are."""
    shown = list(items)
    more = [f"… and {len(shown) - most} more"] if len(shown) > most else []
    return separator.join(shown[:most] + more)


def numbers(values: Iterable[float]) -> str:
    """Numbers with three digits."""
    return joined(f"{value:.3g}" for value in values)


def fence(tag: str, text: str) -> str:
    """A text between tags that nothing inside it can close or open."""
    inside = re.sub(rf"<(?=\s*/?\s*{tag})", "‹", text, flags=re.IGNORECASE)
    return f"<{tag}>\n{inside}\n</{tag}>"
