import numpy as np
import pytest

from partwise.graph import UnitGraph
from partwise.modules import find_modules, search_modules
from partwise.modules import likelihood as likely
from partwise.modules.agreement import adjusted_rand
from partwise.modules.hierarchy import _are_modules
from partwise.modules.likelihood import fitted, layer_tables, levels_of, likelihood_fits, refitted
from partwise.modules.views import weighty
from partwise.tasks import planted_blocks


def best(graph):
    return max(likelihood_fits(graph), key=lambda fit: fit.saved)


@pytest.mark.parametrize(("modules", "sparse"), [(2, False), (2, True), (4, True), (8, True)])
def test_the_likeliest_number_of_modules_is_the_planted_one(modules, sparse):
    graph, truth = planted_blocks([64, 64, 64, 20], modules, 0.3, sparse=sparse)
    fit = best(graph)
    assert fit.labels.max() + 1 == modules
    assert adjusted_rand(fit.labels, truth) > 0.95


def test_weak_modules_that_q_does_not_see_are_found_and_significant():
    graph, truth = planted_blocks([64, 64, 64, 20], 4, 0.5, sparse=True)
    found = find_modules(graph, null_samples=19)
    assert adjusted_rand(found.labels, truth) > 0.95
    assert found.significance.p_value == 1 / 20
    assert found.significance.beyond > 10


def test_a_layer_with_flipped_labels_is_no_likelier():
    graph, truth = planted_blocks([32, 32, 32, 16], 2, 0.3, seed=2002, sparse=True)
    levels, flipped = levels_of(graph), truth.copy()
    flipped[32:64] = 1 - truth[32:64]
    assert fitted(levels, flipped, 2).saved < fitted(levels, truth, 2).saved
    assert adjusted_rand(best(graph).labels, truth) == 1


def test_structureless_graphs_save_next_to_nothing():
    graph, _ = planted_blocks([40, 40, 20], 1, 1.0)
    assert best(graph).saved < 0.3 * graph.n
    assert find_modules(graph, null_samples=19).modules == 1


def test_levels_by_hand():
    # two layers of two units, joined by 1, 0; 1, 2: row sums 1, 3 and column sums 2, 2 of total 4
    # expect 0.5, 0.5; 1.5, 1.5: multiples 2, 0; 2/3, 4/3. The median is 4/3, and half of what is
    # above it is split off twice: at 5/3 and 11/6
    groups = planted_blocks([2, 2], 1, 1.0)[0].groups
    graph = UnitGraph.from_edges(4, [0, 1, 1], [2, 2, 3], [1.0, 1.0, 2.0], groups)
    level, ranges, pairs = levels_of(graph)
    assert (ranges, pairs) == (4, 1)
    assert level[:2, 2:].tolist() == [[4, 0], [1, 1]]
    assert (level == level.T).all()
    assert (level[:2, :2] == -1).all()


def test_a_layer_pair_on_another_scale_has_the_same_levels():
    graph, _ = planted_blocks([20, 20, 10], 2, 0.3)
    scaled = graph.with_capacities(graph.capacities * np.where(graph.sources < 20, 8.0, 1.0))
    assert (levels_of(graph).level == levels_of(scaled).level).all()


def test_only_joined_layers_count():
    graph, _ = planted_blocks([10, 8, 6], 1, 1.0)
    assert [table.shape for _, _, table in layer_tables(graph)] == [(10, 8), (8, 6)]


def test_likelihood_by_hand():
    # 8 pairs of units in one pair of layers: the 4 inside all joined, the 4 between not at all
    groups = planted_blocks([4, 2], 1, 1.0)[0].groups
    edges = [0, 1, 2, 3], [4, 4, 5, 5]
    graph = UnitGraph.from_edges(6, *edges, [1.0] * 4, groups)
    _, gained = likely._learn(*levels_of(graph), np.array([0, 0, 1, 1, 0, 1]))
    # with half a count added: 4.5 of 5 are edges inside, 0.5 of 5 between, 5 of 10 in all
    joined = 2 * (4.5 * np.log(0.9 / 0.5) + 0.5 * np.log(0.1 / 0.5))
    # the four edges are equal multiples, all in one of four ranges: with half a count added it has
    # 4.5 of 6 inside, 0.5 of 2 between and 5 of 8 in all, the others 0.5 of 6, 0.5 of 2 and 1 of 8
    inside, between = np.array([4.5, 0.5, 0.5, 0.5]) / 6, np.full(4, 0.5) / 2
    every = np.array([5, 1, 1, 1]) / 8
    told = 6 * (inside * np.log(inside / every)).sum()
    told += 2 * (between * np.log(between / every)).sum()
    assert gained == pytest.approx(joined + told)


def test_another_start_is_followed_only_where_it_leads_further():
    graph, truth = planted_blocks([64, 64, 64, 20], 8, 0.5, seed=100)
    fits = likelihood_fits(graph)
    again = {fit.labels.max() + 1: fit.saved for fit in refitted(graph, fits, [truth])}
    for fit in fits:
        assert again[fit.labels.max() + 1] >= fit.saved
    assert again[8] >= fitted(levels_of(graph), truth, 8).saved


def test_live_and_idle_units_are_not_modules():
    # a core whose units are joined to each other and to everything, and a rim joined to the core
    graph, _ = planted_blocks([40, 40], 1, 1.0)
    kind = np.tile(np.r_[np.zeros(20), np.ones(20)], 2).astype(np.int64)
    a, b = kind[graph.sources], kind[graph.targets]
    rim = graph.with_capacities(graph.capacities * np.where(a + b == 1, 1.0, 0.1))
    assert not _are_modules(rim, kind, is_clear=False)
    assert _are_modules(planted_blocks([40, 40], 2, 0.2)[0], kind, is_clear=True)


def test_faint_edges_are_left_out_and_strong_ones_stay():
    graph, _ = planted_blocks([30, 30], 2, 0.3)
    inflated = graph.inflated(8.0)
    kept = weighty(inflated)
    assert kept.m < 0.5 * graph.m
    np.testing.assert_allclose(kept.degrees(), inflated.degrees(), rtol=0.1)


def test_the_quick_search_agrees_where_modules_are_clear():
    graph, truth = planted_blocks([40, 40, 20], 2, 0.1)
    quick = search_modules(graph, inflations=(2.0, 4.0, 8.0), expand=False)
    assert adjusted_rand(quick.labels, truth) == 1
    assert quick.saved is None
