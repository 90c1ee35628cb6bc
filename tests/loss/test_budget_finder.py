from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from partwise.graph import unit_map
from partwise.loss import BudgetSchedule
from partwise.loss.balanced import Balanced
from partwise.loss.budget_control import Budget, BudgetState
from partwise.loss.budget_finder import BudgetFinder
from partwise.loss.in_force import InForce
from partwise.modules import Partition

HALVES = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0, 1])
"""Of the units of `two_halves`: inputs, hidden units, outputs."""


def searching(model, held_out, labels=None, **known):
    """A search, where `find` shows the partition `labels`, if they are given."""
    in_force = InForce(model, unit_map(model))
    budget = Budget(BudgetSchedule(), BudgetState(**known))
    find = None if labels is None else lambda graph: labels

    def loss_of(run):
        return float(held_out(run).detach())

    return BudgetFinder(in_force, Balanced(in_force), budget, loss_of, find)


def graph_of(search):
    return search.capacity.graph()


def put(search, labels):
    search.in_force.put(Partition.of(labels))


def two_halves():
    """|x1 + x2| and |x3 + x4|, each by a half of the network, and held-out samples."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    sums = torch.tensor([[1.0, 1, 0, 0], [-1, -1, 0, 0], [0, 0, 1, 1], [0, 0, -1, -1]])
    model[0].weight.data, model[2].weight.data = sums, sums[::2].abs()
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, :2].sum(1), x[:, 2:].sum(1)], 1).abs()
    return model, lambda run: (run(x) - y).square().mean()


def nest_of(labels, finest=2):
    """A nest of two modules."""

    def labels_at(modules):
        assert modules <= finest
        return labels

    return SimpleNamespace(pieces=labels, merges=(), finest=finest, labels_at=labels_at)


def test_of_several_views_the_one_that_masking_costs_least_gives_the_first_partition(monkeypatch):
    """The first view of co-activity has the halves mixed up, the second has them right."""
    mixed = HALVES.copy()
    mixed[[0, 2]] = 1, 0
    nests = [nest_of(mixed), nest_of(HALVES)]
    monkeypatch.setattr(BudgetFinder, "_level", lambda search, levels: (2, 0.0))
    monkeypatch.setattr(BudgetFinder, "nest", lambda search, evidence: nests.pop(0))
    search = searching(*two_halves(), loss=0.1, chance=1.0)
    graph = graph_of(search)
    labels = search.partition(graph).partition.labels
    assert labels[:4].tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    put(search, labels)
    nests.append(nest_of(mixed))  # later ones are those of the first view
    labels = search.partition(graph).partition.labels
    assert labels[:4].tolist() in ([1, 0, 0, 1], [0, 1, 1, 0])


def test_views_without_as_many_modules_are_passed_over(monkeypatch):
    nests = [nest_of(HALVES), nest_of(0 * HALVES, finest=1)]
    monkeypatch.setattr(BudgetFinder, "_level", lambda search, levels: (2, 0.0))
    monkeypatch.setattr(BudgetFinder, "nest", lambda search, evidence: nests.pop(0))
    search = searching(*two_halves(), loss=0.1, chance=1.0)
    assert search.partition(graph_of(search)).partition.modules == 2


LAST_SPLIT = BudgetSchedule().release_step - BudgetSchedule().trial_steps


@pytest.mark.parametrize(
    ("step", "masked_loss", "found"),
    [(LAST_SPLIT, 0.3, 3), (LAST_SPLIT + 1, 0.3, 2), (LAST_SPLIT, 0.4, 2)],
)
def test_further_splits_wait_for_those_in_force_and_leave_time_for_a_trial(
    step, masked_loss, found
):
    known = {"step": step, "masked_loss": masked_loss, "before": 0.3, "chance": 1.0, "loss": 0.3}
    search = searching(*two_halves(), **known)
    put(search, HALVES)
    levels = SimpleNamespace(
        clear=lambda clearest: (3, 0.6),
        held=lambda modules: modules,
        with_readers=lambda level, *_: level,
    )
    assert search._level(levels) == (found, 0.6)


@pytest.mark.parametrize(("in_force", "left"), [(HALVES, 2), (np.roll(HALVES, 1), 1)])
def test_modules_that_work_alone_stay_where_the_graph_shows_none(in_force, left):
    search = searching(*two_halves(), 0 * HALVES, loss=0.1, chance=1.0)
    put(search, in_force)
    found = search.partition(graph_of(search))
    assert found.partition.modules == left


def test_a_cut_between_layers_counts_as_one_module():
    layers = np.repeat([0, 1], [8, 2])
    search = searching(*two_halves(), layers, loss=0.1, chance=1.0)
    assert search.partition(graph_of(search)).partition.modules == 1


def test_what_is_not_put_in_force_sets_no_bar(monkeypatch):
    layers = np.repeat([0, 1], [8, 2])
    monkeypatch.setattr(BudgetFinder, "_level", lambda search, levels: (2, 0.9))
    monkeypatch.setattr(BudgetFinder, "nest", lambda search, evidence: nest_of(layers))
    search = searching(*two_halves(), loss=0.1, chance=1.0, clear=0.5)
    found = search.partition(graph_of(search))
    assert found.partition.modules == 1
    assert found.clear == 0.5


def test_what_answers_build_on_may_be_read():
    """Outputs are x1, x1 + x2 and x1 + x2 + x3: each module reads the one before, none the rest."""
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for i in range(3):
            model[0].weight[2 * i, i], model[0].weight[2 * i + 1, i] = 1.0, -1.0
            model[2].weight[i:, 2 * i], model[2].weight[i:, 2 * i + 1] = 1.0, -1.0
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    y = x.cumsum(1)

    def loss(run):
        return (run(x) - y).square().mean()

    modules = np.array([0, 1, 2, 0, 0, 1, 1, 2, 2, 0, 1, 2])
    search = searching(model, loss, modules, loss=0.0, chance=1.0)
    now, found = search.in_force, search.partition(graph_of(search))
    now.put(found.partition, found.reads)
    labels = now.partition.labels.tolist()[:3]
    reads = [(labels.index(a), labels.index(b)) for a, b in np.argwhere(now.reads)]
    assert sorted(reads) == [(1, 0), (2, 0), (2, 1)]
    assert search.loss_of(now.run) == pytest.approx(0, abs=1e-6)
    search.find = lambda graph: np.roll(modules, 3)
    assert search.partition(graph_of(search)).partition == now.partition
