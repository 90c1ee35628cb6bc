import numpy as np
import pytest

from partwise.loss.levels import Levels
from partwise.modules.nest import merge_order


def levels_of(mass, masked=None):
    """Levels of modules with these masses; masking costs what `masked` says of each level."""
    mass = np.asarray(mass, float) / np.sum(mass)
    costs = masked or {}
    return Levels(mass, merge_order(mass), costs.__getitem__, 0.45)


def two_by_two(near, far, masked=None):
    """Four modules, two by two near each other."""
    mass = np.full((4, 4), far)
    mass[:2, :2] = mass[2:, 2:] = near
    np.fill_diagonal(mass, 1.0)
    return levels_of(mass, masked)


READER = [[1.0, 0.02, 0.5], [0.02, 1.0, 0.5], [0.5, 0.5, 3.0]]
"""Modules 0 and 1 are far apart; the third reads both, and is near either."""


def test_first_splits_are_judged_by_the_clearest_of_them():
    levels = two_by_two(near=0.25, far=0.2)
    coarse, *fine = levels.apart
    assert coarse > 0.45 > min(fine) > 0.55 * coarse
    assert two_by_two(0.3, 0.3).clear(0.0) == (1, 0.0)
    assert levels.clear(0.0) == (4, pytest.approx(coarse))


def test_later_splits_are_judged_by_what_the_first_were():
    levels = two_by_two(near=0.3, far=0.05)
    coarse, fine, _ = levels.apart
    assert coarse > 0.8 > 0.15 > fine > 0.1
    assert levels.clear(0.6) == (2, 0.6)  # the bar is 0.55 * 0.6 = 0.33
    assert levels.clear(0.15) == (4, 0.15)  # and now 0.08


def test_modules_in_force_are_held_longer_than_new_ones_are_made():
    levels = two_by_two(near=0.2, far=0.06)
    coarse, *fine = levels.apart
    assert 0.45 * coarse < min(fine) < 0.55 * coarse
    assert levels.clear(coarse)[0] == 2
    assert [levels.held(modules) for modules in (1, 2, 4)] == [1, 2, 4]


@pytest.mark.parametrize(("masked", "found"), [(0.07, 3), (0.2, 1)])
def test_a_reader_does_not_hide_what_it_reads_where_masking_is_free(masked, found):
    levels = levels_of(READER, {3: masked})
    coarse, clear = levels.apart
    assert clear > 0.8 > 0.45 > coarse
    assert levels.clear(0.0) == (1, 0.0)
    level, clearest = levels.clear_beneath(most=0.1)
    assert level == found
    assert clearest == pytest.approx(coarse if found == 3 else 0)


def test_nothing_is_clear_beneath_where_no_split_is():
    assert two_by_two(0.9, 0.9).clear_beneath(most=1.0) == (1, 0.0)


@pytest.mark.parametrize(("finer", "found"), [(0.5, 3), (0.69, 3), (0.71, 2)])
def test_a_part_that_reads_must_account_for_half_of_what_masking_costs_too_much(finer, found):
    levels = two_by_two(0.25, 0.2, {2: 1.0, 3: finer, 4: finer})
    assert levels.with_readers(2, clearest=0.5, most=0.4) == found
    assert levels.with_readers(1, clearest=0.5, most=0.4) == 1


def test_parts_that_read_need_half_the_separation_of_others():
    levels = two_by_two(0.25, 0.2, {2: 1.0, 3: 0.5, 4: 0.5})
    fine = min(levels.apart)
    assert levels.with_readers(2, clearest=fine / 0.3, most=0.4) == 3
    assert levels.with_readers(2, clearest=fine / 0.25, most=0.4) == 2


def test_nothing_reads_where_masking_is_cheap_enough():
    levels = two_by_two(0.25, 0.2, {2: 0.4, 3: 0.1, 4: 0.1})
    assert levels.with_readers(2, clearest=0.5, most=0.4) == 2


def test_masking_is_measured_once_for_each_level():
    asked = []

    def masked(level):
        asked.append(level)
        return 1.0

    mass = np.full((3, 3), 0.1) + np.eye(3)
    levels = Levels(mass / mass.sum(), merge_order(mass / mass.sum()), masked, 0.45)
    levels.with_readers(2, 0.5, 0.5)
    levels.with_readers(2, 0.5, 0.5)
    assert sorted(asked) == [2, 3]
