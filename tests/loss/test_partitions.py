from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from partwise.loss import BudgetSchedule, CutTreePenalty
from partwise.loss.apart import Apart
from partwise.loss.budget_schedule import BudgetState, Limits
from partwise.loss.partitions import PartitionSearch

HALVES = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0, 1])
"""Of the units of `two_halves`: inputs, hidden units, outputs."""


def searching(model, held_out, labels=None, **known):
    """A search, where `find` shows the partition `labels`, if they are given."""
    apart = Apart(CutTreePenalty(model, strength=0.0), held_out)
    limits = Limits(BudgetSchedule(), BudgetState(**known))
    return PartitionSearch(apart, limits, None if labels is None else lambda graph: labels)


def two_halves():
    """|x1 + x2| and |x3 + x4|, each by a half of the network, and held-out samples."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    sums = torch.tensor([[1.0, 1, 0, 0], [-1, -1, 0, 0], [0, 0, 1, 1], [0, 0, -1, -1]])
    model[0].weight.data, model[2].weight.data = sums, sums[::2].abs()
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, :2].sum(1), x[:, 2:].sum(1)], 1).abs()
    return model, lambda run: (run(x) - y).square().mean()


def nest_of(labels):
    """A nest of two modules."""
    return SimpleNamespace(pieces=labels, merges=(), finest=2, labels_at=lambda modules: labels)


def test_of_several_views_the_one_that_masking_costs_least_gives_the_first_partition(monkeypatch):
    """The first view of co-activity has the halves mixed up, the second has them right."""
    mixed = HALVES.copy()
    mixed[[0, 2]] = 1, 0
    nests = [nest_of(mixed), nest_of(HALVES)]
    monkeypatch.setattr(PartitionSearch, "_level", lambda search, levels: 2)
    monkeypatch.setattr(PartitionSearch, "_nest", lambda search, evidence: nests.pop(0))
    search = searching(*two_halves(), loss=0.1, chance=1.0)
    graph = search.apart.graph()
    labels, reads = search.partition(graph)
    assert labels[:4].tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    search.apart.put_in_force(labels, reads)
    nests.append(nest_of(mixed))  # later ones are those of the first view
    labels, _ = search.partition(graph)
    assert labels[:4].tolist() in ([1, 0, 0, 1], [0, 1, 1, 0])


def test_no_more_modules_are_found_than_have_not_been_refused():
    model, loss = two_halves()
    apart = searching(model, loss).apart
    for most, found in ((2, 2), (1, 1)):
        search = searching(model, loss, HALVES, most=most, loss=0.1, chance=1.0)
        assert search.partition(apart.graph())[0].max() + 1 == found


def test_a_cut_between_layers_counts_as_one_module():
    layers = np.repeat([0, 1], [8, 2])
    search = searching(*two_halves(), layers, loss=0.1, chance=1.0)
    assert search.partition(search.apart.graph())[0].max() == 0


def test_what_answers_build_on_may_be_read():
    """Outputs are x1, x1 + x2 and x1 + x2 + x3: each module reads the one before, none the rest."""
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for i in range(3):
            model[0].weight[2 * i, i], model[0].weight[2 * i + 1, i] = 1.0, -1.0
            model[2].weight[i:, 2 * i], model[2].weight[i:, 2 * i + 1] = 1.0, -1.0
    x = torch.randn(500, 3)
    y = x.cumsum(1)

    def loss(run):
        return (run(x) - y).square().mean()

    modules = np.array([0, 1, 2, 0, 0, 1, 1, 2, 2, 0, 1, 2])
    search = searching(model, loss, modules, loss=0.0, chance=1.0)
    apart = search.apart
    apart.put_in_force(*search.partition(apart.graph()))
    labels = apart.labels.tolist()[:3]
    reads = [(labels.index(a), labels.index(b)) for a, b in np.argwhere(apart.reads)]
    assert sorted(reads) == [(1, 0), (2, 0), (2, 1)]
    assert apart.loss() == pytest.approx(0, abs=1e-6)
    worse = replace(search, find=lambda graph: np.roll(modules, 3))
    assert worse.partition(apart.graph())[0].tolist() == apart.labels.tolist()
