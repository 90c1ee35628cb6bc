import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

from partwise.errors import GraphError
from partwise.graph import UnitGraph, unit_graph
from partwise.modules import (
    find_modules,
    given_modules,
    module_masses,
    newman_q,
    search_modules,
)
from partwise.modules.hierarchy import INFLATIONS, MAX_PIECES, finer_nest
from partwise.modules.nest import merge_order, separations, splits_kept
from partwise.modules.null import shuffled_graph
from partwise.modules.scores import interface_frac, purity
from partwise.modules.significance import null_q
from partwise.modules.splitting import neighbours_of, settled, split_inside
from partwise.modules.views import expanded
from partwise.tasks import planted_blocks


def same_partition(a, b):
    return (np.equal.outer(a, a) == np.equal.outer(b, b)).all()


@pytest.mark.parametrize(("modules", "cross"), [(2, 0.3), (2, 0.5), (4, 0.3)])
def test_planted_blocks_are_found(modules, cross):
    graph, truth = planted_blocks([64, 64, 64, 20], modules, cross)
    found = find_modules(graph, min_gain=0.03)
    assert same_partition(found.labels, truth)
    assert found.significance.p_value <= 0.05


def test_a_given_partition_stays_and_is_tested():
    graph, truth = planted_blocks([32, 32, 16], 2, 0.2)
    given = given_modules(graph, 5 - truth)
    assert same_partition(given.labels, truth)
    assert same_partition(given.labels_at(2), truth)
    assert given.significance.is_significant
    other = given_modules(graph, np.arange(graph.n) % 3)
    assert other.modules == 3
    assert not other.significance.is_significant
    assert given_modules(graph, truth, null_samples=0).significance is None
    with pytest.raises(GraphError, match="one for each of 80 units"):
        given_modules(graph, truth[1:])


def test_a_random_network_is_one_module():
    flagged = 0
    for seed in range(20):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 5)
        )
        flagged += find_modules(unit_graph(model), min_gain=0, null_samples=19).modules > 1
    assert flagged <= 3  # 5% of 20 is 1; 3 or fewer has probability 0.98


def read_by_a_third(seed):
    """Two parts that nothing joins but a third, with an input of its own, which reads both."""
    part = np.repeat([0, 1, 2, 0, 1, 2, 2, 2], [4, 4, 1, 6, 6, 5, 2, 1])
    layer = np.repeat([0, 1, 2, 3], [9, 17, 2, 1])
    may_read = (part[:, None] == part) | (layer == 2)
    sources, targets = np.nonzero((layer[:, None] + 1 == layer) & may_read)
    capacities = np.abs(np.random.default_rng(seed).standard_normal(len(sources)))
    capacities *= np.where(layer[targets] == 1, 1.0, 2.0)
    return UnitGraph.from_edges(len(part), sources, targets, capacities), part


def test_parts_that_only_a_reader_joins_are_split():
    for seed in range(10):
        graph, part = read_by_a_third(seed)
        lumped = np.where(part == 2, 1, 0)
        finer = split_inside(graph, lumped, 16.0, 64, neighbours_of(graph))
        assert not set(finer[:4]) & set(finer[4:8])
        assert newman_q(graph, finer) > newman_q(graph, lumped)
    assert same_partition(search_modules(read_by_a_third(6)[0]).labels[:9], part[:9])


def test_shuffles_are_searched_as_hard_as_the_network():
    for seed in range(30):
        graph = shuffled_graph(read_by_a_third(seed)[0], np.random.default_rng(seed))
        found = search_modules(graph)
        reached = null_q(graph, [found.finest], INFLATIONS, MAX_PIECES)
        assert reached[0] >= newman_q(graph, found.pieces) - 1e-12


@pytest.mark.parametrize("max_modules", [3, 64])
def test_pieces_keep_their_least_size_and_greatest_number(max_modules):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sources, targets = np.triu_indices(rng.integers(10, 60), 1)
        drawn = np.flatnonzero(rng.random(len(sources)) < 0.08)
        graph = UnitGraph.from_edges(
            60, sources[drawn], targets[drawn], rng.exponential(size=len(drawn))
        )
        found = search_modules(graph, max_modules=max_modules)
        assert found.finest <= max_modules
        assert np.bincount(found.pieces).min() >= 3


def test_what_is_whole_inside_is_not_split():
    graph, truth = planted_blocks([32, 32, 16], 2, 0.2)
    assert split_inside(graph, truth, 16.0, 64, neighbours_of(graph)) is truth


def test_equal_weights_are_one_module():
    graph, _ = planted_blocks([20, 20, 20], 1, 1.0)
    assert find_modules(graph.with_capacities(np.ones(graph.m))).modules == 1


def test_relabelling_units_relabels_modules():
    graph, _ = planted_blocks([20, 20, 10], 2, 0.2)
    order = np.random.default_rng(0).permutation(graph.n)
    moved = UnitGraph.from_edges(
        graph.n, order[graph.sources], order[graph.targets], graph.capacities
    )
    a, b = search_modules(graph), search_modules(moved)
    assert same_partition(a.labels, b.labels[order])


def test_scaling_capacities_changes_nothing():
    graph, _ = planted_blocks([20, 20, 10], 2, 0.2)
    scaled = graph.with_capacities(graph.capacities * 1e-6)
    assert (search_modules(graph).labels == search_modules(scaled).labels).all()


def test_newman_q_agrees_with_networkx():
    graph, truth = planted_blocks([8, 8, 4], 2, 0.5)
    other = nx.Graph()
    for u, v, c in zip(
        graph.sources.tolist(), graph.targets.tolist(), graph.capacities, strict=True
    ):
        other.add_edge(u, v, weight=c)
    parts = [set(np.flatnonzero(truth == k).tolist()) for k in (0, 1)]
    assert newman_q(graph, truth) == pytest.approx(nx.community.modularity(other, parts))


def test_masses_by_hand():
    graph = UnitGraph.from_edges(4, [0, 2, 1], [1, 3, 2], [3.0, 4.0, 1.0])
    mass = module_masses(graph, np.array([0, 0, 1, 1]))
    # both directions: 2*3 inside 0, 2*4 inside 1, 1 each way between; total 16
    assert mass.tolist() == [[6 / 16, 1 / 16], [1 / 16, 8 / 16]]
    assert interface_frac(graph, np.array([0, 0, 1, 1])) == pytest.approx(2 / 16)


def test_merging_starts_with_the_cheapest_pair():
    mass = np.array([[0.3, 0.09, 0.0], [0.09, 0.1, 0.01], [0.0, 0.01, 0.4]])
    merges = merge_order(mass)
    assert merges[0][:2] == (0, 1)  # 2*(0.39*0.2 - 0.09) < 0, a gain
    assert merges[0][2] == pytest.approx(2 * (0.39 * 0.2 - 0.09))
    assert set(merges[1][:2]) == {2, 3}  # the merger (id 3) with the last piece


def test_the_nest_has_every_level():
    graph, _ = planted_blocks([32, 32, 32], 4, 0.1)
    found = search_modules(graph, min_gain=0.03)
    for k in range(1, found.pieces.max() + 2):
        assert found.labels_at(k).max() + 1 == k
    with pytest.raises(GraphError, match="levels"):
        found.labels_at(found.pieces.max() + 2)


def test_shuffles_keep_layers_and_degrees_and_lose_modules():
    graph, truth = planted_blocks([40, 40, 20], 2, 0.05)
    shuffled = shuffled_graph(graph, np.random.default_rng(0))
    np.testing.assert_allclose(shuffled.degrees(), graph.degrees(), rtol=0.02)
    assert newman_q(graph, truth) > 0.4
    assert newman_q(shuffled, truth) < 0.05


def test_sparse_shuffles_keep_the_number_of_edges_of_each_unit():
    graph, _ = planted_blocks([40, 40, 20], 2, 0.05, sparse=True)
    keep = np.random.default_rng(0).random(graph.m) < 0.2
    sparse = UnitGraph.from_edges(
        graph.n, graph.sources[keep], graph.targets[keep], graph.capacities[keep], graph.groups
    )
    shuffled = shuffled_graph(sparse, np.random.default_rng(0))

    def counts(g):
        return np.bincount(np.r_[g.sources, g.targets], minlength=g.n)

    assert (counts(shuffled) == counts(sparse)).all()
    moved = set(zip(shuffled.sources.tolist(), shuffled.targets.tolist(), strict=True))
    kept = moved & set(zip(sparse.sources.tolist(), sparse.targets.tolist(), strict=True))
    assert len(kept) < 0.5 * sparse.m


def test_networks_with_a_few_edges_left_are_shuffled():
    graph, _ = planted_blocks([20, 20], 2, 0.5)
    for seed in range(200):  # a set of edges that some leave again once hung here, at the fifth
        rng = np.random.default_rng(seed)
        left = rng.permutation(graph.m)[: rng.integers(2, 40)]
        pruned = UnitGraph.from_edges(
            graph.n, graph.sources[left], graph.targets[left], graph.capacities[left], graph.groups
        )
        assert shuffled_graph(pruned, rng).m == pruned.m


def test_purity_weighs_by_degree():
    graph = UnitGraph.from_edges(3, [0, 1], [2, 2], [1.0, 3.0])
    labels, units, truth = np.array([0, 0, 0]), np.array([0, 1]), np.array([0, 1])
    assert purity(graph, labels, units, truth) == pytest.approx(3 / 4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_graphs_are_one_module(n):
    graph = UnitGraph.from_edges(n, list(range(n - 1)), list(range(1, n)), [1.0] * (n - 1))
    assert find_modules(graph).modules == 1


def test_a_graph_without_capacity_is_one_module():
    assert find_modules(UnitGraph.from_edges(5, [], [], [])).modules == 1
    assert find_modules(UnitGraph.from_edges(5, [0, 2], [1, 3], [0.0, 0.0])).modules == 1


@pytest.mark.parametrize(
    ("modules", "sparse"), [(2, False), (4, False), (8, False), (2, True), (4, True)]
)
def test_one_default_finds_any_number_of_modules(modules, sparse):
    graph, truth = planted_blocks([96, 96, 96, 48], modules, 0.1, sparse=sparse)
    assert same_partition(search_modules(graph).labels, truth)


def test_settling_mends_stray_units():
    graph, truth = planted_blocks([20, 20, 10], 2, 0.2)
    stray = truth.copy()
    stray[[0, 25, 45]] ^= 1
    assert same_partition(settled(graph, stray), truth)


def test_settling_keeps_the_least_size():
    graph = UnitGraph.from_edges(4, [0, 0, 1], [1, 2, 3], [1.0, 1.0, 1.0])
    labels = settled(graph, np.array([0, 0, 1, 1]), min_units=2)
    assert np.bincount(labels).min() >= 2


def test_separations_by_hand():
    mass = np.array([[0.3, 0.09, 0.0], [0.09, 0.1, 0.01], [0.0, 0.01, 0.4]])
    merges = merge_order(mass)
    # first 0 + 1: 1 - 0.09 / (0.39 * 0.2); then their union (0.59) + 2: 1 - 0.01 / (0.59 * 0.41)
    expected = [1 - 0.09 / 0.078, 1 - 0.01 / 0.2419]
    np.testing.assert_allclose(separations(mass, merges), expected)
    assert splits_kept(mass, merges, 0.01, 0.7) == 1
    assert splits_kept(mass, merges, 0.9, 0.7) == 0


def test_weak_splits_inside_clear_modules_are_not_kept():
    # inside a module 1 - 0.04 / 0.25^2 = 0.36 apart; the modules 1 - 4 * 0.005 / 0.5^2 = 0.92
    block = np.array([[0.2, 0.04], [0.04, 0.2]])
    mass = np.block([[block, np.full((2, 2), 0.005)], [np.full((2, 2), 0.005), block]])
    assert splits_kept(mass, merge_order(mass), 0.0, 0.7) == 1
    assert splits_kept(mass, merge_order(mass), 0.0, 0.1) == 3


def test_expansion_by_hand():
    # a path 0 - 1 - 2 with capacity 1: degrees 1, 2, 1; one step weighs 1/sqrt(2) both ways, and of
    # the three-step walks 0-1-0-1 and 0-1-2-1 each weighs 2^(-3/2)
    graph = UnitGraph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    np.testing.assert_allclose(expanded(graph).capacities, [2 * 2**-1.5] * 2)


def test_expansion_shows_modules_that_thin_edges_join():
    graph, truth = planted_blocks([40, 40, 20], 2, 0.1, sparse=True)
    inside = truth[graph.sources] == truth[graph.targets]
    seen = expanded(graph).capacities
    assert seen[inside].mean() / seen[~inside].mean() > 2
    assert graph.capacities[inside].mean() / graph.capacities[~inside].mean() < 1.5


def test_modules_are_searched_for_parts_of_their_own():
    graph, truth = planted_blocks([64, 64, 64, 20], 4, 0.2)
    halves = truth // 2
    parts, merges = finer_nest(graph, halves)
    assert same_partition(parts, truth)
    assert len(merges) == 3
    whole = search_modules(graph)
    assert same_partition(finer_nest(graph, np.zeros_like(truth))[0], whole.pieces)
    odd = np.arange(graph.n) % 2  # parts never lie in two modules, whatever these are
    parts, _ = finer_nest(graph, odd)
    assert all(len(np.unique(odd[parts == part])) == 1 for part in np.unique(parts))
