"""The coverage benchmark, on a few draws."""

import numpy as np

from benchmarks.coverage import SIZES, is_contradicted, one_draw, populations


def test_intervals_hold_and_no_verdict_is_contradicted():
    found = list(populations())
    covered, decided, wrong = [], 0, 0
    for draw in range(7):
        for _, covers, is_decided, is_wrong in one_draw(
            found[draw % 4], SIZES[draw % 3], 500 + draw
        ):
            covered.append(covers)
            decided, wrong = decided + is_decided, wrong + is_wrong
    assert len(covered) >= 36
    assert np.mean(covered) >= 0.93
    assert decided > 0
    assert wrong <= 0.05 * decided


def test_a_verdict_is_contradicted_where_the_population_says_otherwise():
    from types import SimpleNamespace

    def verdict(outcome, direction):
        return SimpleNamespace(outcome=outcome, direction=direction, bound=0.5)

    assert is_contradicted(verdict("supported", "at least"), 0.4)
    assert is_contradicted(verdict("refuted", "at most"), 0.4)
    assert not is_contradicted(verdict("supported", "at most"), 0.4)
    assert not is_contradicted(verdict("undecided", "at least"), 0.4)
