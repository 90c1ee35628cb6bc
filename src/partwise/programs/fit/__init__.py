"""Fitting short programs to samples: one form a file, one choice among all of them.

A form is registered with `form`; it proposes programs for a `Table` and a `Target`. `find_program`
tries every form and keeps the program that makes the description shortest, or none.
"""

from partwise.programs.fit import (  # each registers its form
    automata,
    boolean,
    comparators,
    fourier,
    hinges,
    linear,
    links,
    lookup,
    modular,
    parity,
    polynomials,
    rules,
    scores,
    symbolic,
    thresholds,
    trees,
)
from partwise.programs.fit.choose import Found, find_program
from partwise.programs.fit.forms import FORMS, Form, form
from partwise.programs.fit.table import Column, Table, Target, table_of

__all__ = [
    "FORMS",
    "Column",
    "Form",
    "Found",
    "Table",
    "Target",
    "automata",
    "boolean",
    "comparators",
    "find_program",
    "form",
    "fourier",
    "hinges",
    "linear",
    "links",
    "lookup",
    "modular",
    "parity",
    "polynomials",
    "rules",
    "scores",
    "symbolic",
    "table_of",
    "thresholds",
    "trees",
]
