import numpy as np
import torch
from torch import nn

from partwise.graph import UnitGraph, unit_map
from partwise.interventions.masks import between_modules, inside_modules
from partwise.loss.roles import holds_apart, reads_of, without_idle


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
