import numpy as np
import pytest

from partwise.loss.reads import carried_over, opened

NONE = np.zeros((3, 3), bool)
CHAIN = {(1, 0): 0.4, (2, 1): 0.6}


def loss_of_chain(reads):
    """1 without any readings; each of the chain's saves its share."""
    return 1.0 - sum(saved for pair, saved in CHAIN.items() if reads[pair])


def pairs(reads):
    return [tuple(pair) for pair in np.argwhere(reads)]


def test_readings_are_opened_if_few_account_for_all():
    assert pairs(opened(NONE, loss_of_chain, most=0.1)) == [(1, 0), (2, 1)]
    assert not opened(NONE, loss_of_chain, most=1.0).any()  # masking is free already
    assert not opened(NONE, lambda reads: loss_of_chain(reads) + 0.3, most=0.1).any()


def test_of_two_modules_none_reads_the_other():
    assert not opened(NONE[:2, :2], lambda reads: float(not reads.any()), most=0.1).any()


def test_where_all_reach_each_other_nothing_more_is_opened():
    ring = NONE.copy()
    ring[[1, 2, 0], [0, 1, 2]] = True
    wide = np.zeros((4, 4), bool)
    wide[:3, :3] = ring
    wide[3, 0] = wide[0, 3] = True
    assert not opened(ring, lambda reads: 1.0, most=0.1)[0, 1]
    assert pairs(opened(wide, lambda reads: 1.0, most=0.1)) == pairs(wide)


def test_nothing_reads_what_reads_it():
    """All but the last reading round the ring are found, and they are not enough."""
    ring = [(1, 0), (2, 1), (0, 2)]
    seen = []

    def loss_of(reads):
        seen.append(reads)
        return 1.0 - sum(reads[pair] for pair in ring) / 3

    assert not opened(NONE, loss_of, most=0.1).any()
    assert max(sum(reads[pair] for pair in ring) for reads in seen) == 2


def test_the_search_ends_where_readings_save_next_to_nothing():
    asked = []
    opened(NONE, lambda reads: asked.append(reads) or 1.0 - 0.01 * reads.sum(), most=0.1)
    assert len(asked) == 1 + 6


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_readings_follow_their_modules_to_new_numbers(order):
    reads = NONE.copy()
    reads[1, 0] = True
    before, degrees = np.array([0, 0, 1, 1, 2, 2]), np.ones(6)
    after = np.array(order)[before]
    assert pairs(carried_over(reads, before, after, degrees)) == [(order[1], order[0])]
    assert carried_over(reads, before, np.array([0, 0, 1, 1, 1, 1]), degrees).shape == (2, 2)
    assert not carried_over(reads, before, np.array([0, 0, 0, 0, 1, 2]), degrees).any()
