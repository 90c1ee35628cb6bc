"""Regular expressions of simple programs, for grammars that weak models are held to.

Every text that fits is a program, but not every program fits: servers are not sent these.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from partwise.explain.attention import PATTERNS
from partwise.explain.values import Evidence
from partwise.tasks.text import VARIABLES
from partwise.tasks.words import CLASSES

MOST_NAMED = 64
"""Where there are more inputs, simple programs read answers only."""
NUMBER = r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?"
QUOTED = r"'[^'\\\x00-\x1f]{1,16}'"


def simple_programs(evidence: Evidence) -> dict[str, str]:
    """Field of a claim or a description -> the texts that it may hold."""
    clause = _table_clause(evidence) if evidence.text is None else _text_clause()
    condition = f"({clause})( (and|or) ({clause})){{0,2}}"
    texts = _one_of([name for name in VARIABLES if name != "position"])
    return {
        "where": f"({condition})?",
        "condition": condition,
        "program": condition,
        "rule": f"{texts}|{QUOTED}",
        "pattern": f"{_one_of(list(PATTERNS))}|back [1-9]|token in {_one_of(list(CLASSES))}",
    }


def _table_clause(evidence: Evidence) -> str:
    inputs, heads = len(evidence.inputs), len(evidence.heads)
    names = [f"answer{k}" for k in range(heads)]
    if inputs <= MOST_NAMED:
        names += [f"x{k}" for k in range(inputs)]
    return f"{_one_of(names)} (<|<=|>|>=|==|!=) {NUMBER}"


def _text_clause() -> str:
    texts = _one_of([name for name in VARIABLES if name != "position"])
    member = f"{texts} in {_one_of(list(CLASSES))}"
    return f"{texts} (==|!=) {QUOTED}|{member}|position (<|>=) [1-9][0-9]{{0,3}}"


def _one_of(names: Sequence[str]) -> str:
    return f"({'|'.join(map(re.escape, names))})"
