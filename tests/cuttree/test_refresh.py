import numpy as np
import pytest
from graphs import assert_is_cut_tree, layered, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from test_laws import ADVERSARIAL, all_cuts

from partwise.cuttree import cut_tree, refresh, refresh_cut_tree, verify_cut_tree
from partwise.graph.unit_graph import UnitGraph

NOISES = (0.001, 0.01, 1.0, 10.0)


@pytest.fixture(autouse=True)
def always_warm(monkeypatch):
    # Small random graphs split so often that a refresh would build them anew.
    monkeypatch.setattr(refresh, "MANY_SPLITS", 0)


def perturbed(graph: UnitGraph, rng: np.random.Generator, noise: float) -> UnitGraph:
    factor = np.abs(1 + noise * rng.standard_normal(graph.m))
    zeroed = rng.random(graph.m) < (0.1 if noise >= 1 else 0)
    return graph.with_capacities(np.where(zeroed, 0, graph.capacities * factor))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(NOISES), min_size=1, max_size=5))
def test_chained_refreshes_are_cut_trees(seed, noises):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, most_units=20)
    tree = cut_tree(graph)
    for noise in noises:
        graph = perturbed(graph, rng, noise)
        tree = refresh_cut_tree(graph, tree)
        assert np.allclose(np.sort(tree.value), np.sort(cut_tree(graph).value), rtol=1e-12, atol=0)
    assert_is_cut_tree(graph, tree)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.data())
def test_any_new_capacities_give_their_own_cut_tree(seed, data):
    graph = random_graph(np.random.default_rng(seed), most_units=9)
    tree = refresh_cut_tree(graph, cut_tree(graph))
    numbers = st.sampled_from([st.integers(0, 3).map(float), st.floats(0, 1), st.just(0.0)])
    for _ in range(3):
        drawn = data.draw(st.lists(data.draw(numbers), min_size=graph.m, max_size=graph.m))
        other = graph.with_capacities(np.array(drawn))
        tree = refresh_cut_tree(other, tree)
        assert_is_cut_tree(other, tree)


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_adversarial_families_after_perturbation(family):
    rng, graph = np.random.default_rng(0), ADVERSARIAL[family]
    tree = cut_tree(graph)
    for noise in (*NOISES, 0.01, 0.01):
        other = perturbed(graph, rng, noise)
        tree = refresh_cut_tree(other, tree)
        assert np.allclose(all_cuts(tree), all_cuts(cut_tree(other)), rtol=1e-11, atol=0)


@pytest.mark.parametrize("modules", [0.0, 0.02])
@pytest.mark.parametrize("power", [1, 3, 6])
def test_routes_of_layered_networks_are_followed_exactly(power, modules):
    rng = np.random.default_rng(1)
    graph = layered([60, 40, 40, 10], 3, power)
    if modules:
        apart = graph.sources % 2 != graph.targets % 2
        graph = graph.with_capacities(np.where(apart, modules, 1) * graph.capacities)
    tree = cut_tree(graph)
    for noise in (0, 0.001, 0.01, 0.01, 0.1, 1.0, 0.01):
        other = perturbed(graph, rng, noise)
        tree, cold = refresh_cut_tree(other, tree), cut_tree(other)
        assert np.array_equal(np.sort(tree.value), np.sort(cold.value))
        assert verify_cut_tree(other, tree).ok


def test_routes_are_forgotten_when_space_runs_out(monkeypatch):
    small = refresh.make_routes
    monkeypatch.setattr(refresh, "make_routes", lambda sources, arcs: small(sources, 40))
    rng, graph = np.random.default_rng(2), layered([40, 20, 20], 5, 3)
    tree = cut_tree(graph)
    for _ in range(5):
        other = perturbed(graph, rng, 0.05)
        tree = refresh_cut_tree(other, tree)
        assert verify_cut_tree(other, tree).ok


def test_a_tree_of_many_splits_is_built_anew(monkeypatch):
    monkeypatch.setattr(refresh, "MANY_SPLITS", 128)
    graph = ADVERSARIAL["long path"]
    refreshed = refresh_cut_tree(graph, cut_tree(graph))
    assert np.array_equal(refreshed.parent, cut_tree(graph).parent)
    assert refreshed not in refresh._TOPOLOGY
