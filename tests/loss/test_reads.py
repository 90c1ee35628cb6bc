import numpy as np
import pytest
import torch
from torch import nn

from partwise.graph import UnitGraph, unit_map
from partwise.interventions.masks import between_modules, inside_modules
from partwise.loss.reads import carried_over, holds_apart, opened, reads_of, without_idle

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


def readers_graph():
    """Inputs 0-3, hidden 4-9, outputs 10-12; output 12 and hidden 8, 9 read both others."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    units = unit_map(model)
    edges = [(0, 4), (1, 5), (2, 6), (3, 7), (4, 10), (5, 10), (6, 11), (7, 11), (8, 12), (9, 12),
             (4, 12), (6, 12)]  # fmt: skip
    sources, targets = (list(ends) for ends in zip(*edges, strict=True))
    graph = UnitGraph.from_edges(13, sources, targets, [1.0] * len(edges), units.groups)
    return model, units, graph, np.array([0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 0, 1, 2])


def test_modules_without_inputs_are_readers_and_read_on():
    model, units, graph, labels = readers_graph()
    reads = reads_of(units, graph, labels)
    assert reads.tolist() == [[False] * 3, [False] * 3, [True, True, False]]
    keep = inside_modules(model, units, torch.as_tensor(labels), reads=torch.as_tensor(reads))
    assert keep["2.weight"].tolist() == [
        [True, True, False, False, False, False],
        [False, False, True, True, False, False],
        [True] * 6,
    ]
    crossing = between_modules(model, units, torch.as_tensor(labels), keep)
    assert crossing["2.weight"].tolist() == [[False] * 6, [False] * 6, [True] * 4 + [False] * 2]


def test_readers_do_not_read_each_other():
    _, units, graph, labels = readers_graph()
    labels[[9, 12]] = 3  # a hidden unit and the output that both halves feed
    assert reads_of(units, graph, labels)[2:].tolist() == [[True, True, False, False]] * 2


def test_a_cut_between_layers_holds_nothing_apart():
    _, units, graph, labels = readers_graph()
    assert holds_apart(units, graph, labels)
    assert not holds_apart(units, graph, np.where(labels == 1, 0, labels))


def test_modules_without_outputs_are_merged_unless_somebody_reads():
    _, units, graph, labels = readers_graph()
    reading = labels.copy()
    reading[11] = 2  # module 1 has no output any more, but module 2 reads it
    assert without_idle(units, graph, reading).max() == 2
    edges = [(0, 4), (1, 5), (2, 6), (3, 7), (4, 10), (6, 11), (5, 8), (8, 12), (9, 12)]
    sources, targets = (list(ends) for ends in zip(*edges, strict=True))
    alone = UnitGraph.from_edges(13, sources, targets, [1.0] * len(edges), units.groups)
    idle = np.array([0, 1, 0, 2, 0, 1, 0, 2, 1, 1, 0, 0, 1])  # 3 and 7 reach no output
    merged = without_idle(units, alone, idle)
    assert merged.max() == 1
    assert merged[0] == merged[2] != merged[1]
