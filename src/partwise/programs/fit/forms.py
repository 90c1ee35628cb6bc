"""The forms that programs can have, each registered by the file that fits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from partwise.programs.fit.table import Table, Target

Propose = Callable[[Table, Target], Iterable[str]]
"""Programs of one form that may give the target; what does not fit the form gets none."""
FORMS: dict[str, Form] = {}


@dataclass(frozen=True)
class Form:
    """A form of programs.

    Attributes:
        name: what it is called.
        propose: gives candidates.
        is_last_resort: whether it is tried only where no other form gives every answer.
    """

    name: str
    propose: Propose
    is_last_resort: bool = False


def form(name: str, is_last_resort: bool = False) -> Callable[[Propose], Propose]:
    """Registers what proposes programs of a form.

    >>> @form("always one")
    ... def always_one(table, target):
    ...     yield "1"
    >>> FORMS.pop("always one").name
    'always one'
    """

    def register(propose: Propose) -> Propose:
        FORMS[name] = Form(name, propose, is_last_resort)
        return propose

    return register
