"""Symbolic regression by `pyoperon`, where the extra `symbolic` is installed; else nothing.

Operon (Burlacu, Kronberger and Kommenda, 2020) breeds expressions in C++. Its whole front from
short to long is proposed, with few and with more digits, and the price chooses.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

from partwise.programs.fit.forms import form
from partwise.programs.fit.table import Table, Target
from partwise.programs.simplify import simplified

SYMBOLS = "add,sub,mul,div,sin,exp,tanh,sqrt,abs,constant,variable"
MOST_COLUMNS = 10
EVALUATIONS = 40_000
POPULATION = 300
LONGEST = 25
DIGITS = (1, 2, 4)


@form("symbolic regression", is_last_resort=True)
def propose_expressions(table: Table, target: Target) -> Iterator[str]:
    """Expressions that were bred, from short to long."""
    is_small = 0 < len(table.numbers) <= MOST_COLUMNS
    if not target.is_value or not is_small or find_spec("pyoperon") is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyoperon.sklearn import SymbolicRegressor

        bred = SymbolicRegressor(
            allowed_symbols=SYMBOLS,
            objectives=["mse", "length"],
            population_size=POPULATION,
            pool_size=POPULATION,
            generations=EVALUATIONS // POPULATION,
            max_evaluations=EVALUATIONS,
            max_length=LONGEST,
            optimizer_iterations=5,
            n_threads=1,
            random_state=0,
        )
        bred.fit(table.matrix, target.values)
    names = [column.text for column in table.numbers]
    for each in bred.pareto_front_:
        for digits in DIGITS:
            yield _in_the_language(bred.get_model_string(each["tree"], digits), names)


def _in_the_language(text: str, names: list[str]) -> str:
    """Operon's infix with our names; it counts variables from 1."""
    named = re.sub(r"\bX(\d+)\b", lambda match: names[int(match[1]) - 1], text)
    return simplified(named)
