"""What griffe asks while docstrings are read: doctests become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(^|\n\n)((?:[ ]*>>>[^\n]*(?:\n(?![ ]*\n)[^\n]+)*(?:\n\n(?=[ ]*>>>))?)+)")


class Doctests(griffe.Extension):
    """Fences doctests, which Markdown would take for quotations."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Looks at each object's docstring."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """A docstring with its doctests in fences."""
    return DOCTEST.sub(lambda match: f"{match[1]}```pycon\n{match[2].strip()}\n```", text)
