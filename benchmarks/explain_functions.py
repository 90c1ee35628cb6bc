"""Functions planted in the modules of small MLPs, told by programs that are fitted to behaviour.

Each network holds a boolean circuit, a comparator, an adder modulo a number and a piecewise
formula. Modules come from the weights. A program is fitted to what each module's output is, given
the module's inputs; it never sees a weight. It is then tested on rows that it was not fitted to.

- functional: right on 99% of new rows; for values, an error of at most 1% of the variance;
- exact: right on all of them; for values, an error of at most one millionth.
"""

from __future__ import annotations

from statistics import mean

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Record, Row
from partwise.graph import unit_graph
from partwise.modules import search_modules
from partwise.modules.agreement import adjusted_rand
from partwise.programs.fit import Target, find_program, table_of
from partwise.zoo.functions import FAMILIES, Network, network_of, planted

NETWORKS, ROWS = 6, 1000
FUNCTIONAL, EXACT = 0.01, 1e-6
"""Largest share of answers that are wrong, or of variance that is left."""
Array = NDArray[np.float64]


def functions_places(is_quick: bool) -> list[tuple[str, str]]:
    """A row for each family."""
    return [("found modules", family) for family in FAMILIES[: 2 if is_quick else None]]


def functions_row(place: tuple[str, str]) -> Row:
    """How many functions of a family are told."""
    _, family = place
    found = [told(seed, FAMILIES.index(family)) for seed in range(NETWORKS)]
    return {
        "functions": len(found),
        "functional": sum(wrong <= FUNCTIONAL for wrong, *_ in found),
        "exact": sum(wrong <= EXACT for wrong, *_ in found),
        "rand": mean(rand for *_, rand in found),
        "first": [found[0][1], found[0][2]],
    }


def told(seed: int, which: int) -> tuple[float, str, str, float]:
    """How wrong the program of a function is, the function and the program as text, and the Rand
    index of the modules that were found.
    """
    net = network_of([planted(family, seed) for family in FAMILIES], seed)
    found = modules_of(net)
    rng = np.random.default_rng(seed)
    seen, new = net.samples(rng, ROWS), net.samples(rng, ROWS)
    module = found[len(found) - len(net.functions) + which]
    own = np.flatnonzero(found[: len(net.inputs)] == module)
    wrong, text = fitted(net, which, own, seen, new)
    return wrong, net.functions[which].name, text, adjusted_rand(found, net.labels)


def modules_of(net: Network) -> NDArray[np.int64]:
    """(units,) the modules that the weights show, without a test against shuffled networks."""
    return search_modules(unit_graph(net.model), likelihood=True).labels


def fitted(net: Network, output: int, inputs: Array, seen: Array, new: Array) -> tuple[float, str]:
    """How wrong a program is on new rows, and its text; 1 and "" where none is found."""
    is_value = net.functions[output].is_value
    targets = [target_of(net.answers(x)[:, output], is_value) for x in (seen, new)]
    found = find_program(table_of(seen[:, inputs]), targets[0])
    if found is None:
        return 1.0, ""
    given = targets[1].given(found.program, table_of(new[:, inputs]))
    wanted = targets[1].values
    if is_value:
        return float(((given - wanted) ** 2).mean() / wanted.var()), found.program.text
    return float((given != wanted).mean()), found.program.text


def target_of(answers: Array, is_value: bool) -> Target:
    """Values, or the nearest class numbers."""
    return Target(answers, "value") if is_value else Target(np.round(answers), "classes")


def functions_summary(rows: list[Row]) -> Row:
    """Shares over all functions, and by family."""
    count = sum(row["functions"] for row in rows)
    return {
        "functions": count,
        **{f"{key}_frac": sum(row[key] for row in rows) / count for key in ("functional", "exact")},
        "families": {
            row["family"]: {key: row[key] / row["functions"] for key in ("functional", "exact")}
            for row in rows
        },
    }


def functions_table(record: Record) -> str:
    """By family, as a Markdown table."""
    lines = [
        "| family | functions | functional | exact | modules, Rand | the first | its program |",
        "|" + " --- |" * 7,
    ]
    for row in record.rows:
        first, program = row["first"]
        lines.append(
            f"| {row['family']} | {row['functions']} | {row['functional']} | {row['exact']} "
            f"| {row['rand']:.2f} | {first} | `{program or 'none'}` |"
        )
    return "\n".join(lines)


TABLES = {"functions-table": functions_table}
