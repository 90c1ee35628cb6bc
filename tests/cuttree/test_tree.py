from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from graphs import as_networkx, assert_is_cut_tree, cut_capacity, layered, random_graph, tree_edges
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.cuttree import cut_tree, refresh_cut_tree, verify_cut_tree
from partwise.graph.unit_graph import UnitGraph


def graph_of(n: int, edges: list[tuple[int, int, float]]) -> UnitGraph:
    u, v, c = zip(*edges, strict=True) if edges else ((), (), ())
    return UnitGraph.from_edges(n, u, v, c)


@st.composite
def unit_graphs(draw: st.DrawFn, most_units: int = 9) -> UnitGraph:
    n = draw(st.integers(1, most_units))
    pairs = list(combinations(range(n), 2))
    kept = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    numbers = draw(
        st.sampled_from(
            [
                st.integers(0, 3).map(float),
                st.floats(0, 1),
                st.integers(0, 2**40).map(float),
                st.just(1.0),
            ]
        )
    )
    capacities = draw(st.lists(numbers, min_size=len(kept), max_size=len(kept)))
    return graph_of(n, [(u, v, c) for (u, v), c in zip(kept, capacities, strict=True)])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(unit_graphs())
def test_every_tree_edge_is_a_minimum_cut(graph):
    assert_is_cut_tree(graph, cut_tree(graph))


@pytest.mark.parametrize("seed", range(4))
def test_every_tree_edge_is_a_minimum_cut_on_random_graphs(seed):
    rng = np.random.default_rng(seed)
    for _ in range(400):
        graph = random_graph(rng)
        assert_is_cut_tree(graph, cut_tree(graph))


@pytest.mark.slow
def test_every_tree_edge_is_a_minimum_cut_on_10000_random_graphs():
    rng = np.random.default_rng(99)
    for _ in range(10_000):
        graph = random_graph(rng, most_units=24)
        assert_is_cut_tree(graph, cut_tree(graph))


def test_pairs_match_brute_force_up_to_eight_units():
    rng = np.random.default_rng(5)
    for _ in range(60):
        graph = random_graph(rng, most_units=8)
        tree = cut_tree(graph)
        sides = [
            np.array([bits >> u & 1 for u in range(graph.n)], bool) for bits in range(2**graph.n)
        ]
        cuts = [(side, cut_capacity(graph, side)) for side in sides]
        for u, v in combinations(range(graph.n), 2):
            best = min(capacity for side, capacity in cuts if side[u] != side[v])
            assert np.isclose(tree.min_cut(u, v), best, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("power", [1, 3, 8])
def test_layered_nets_up_to_32_units_match_networkx(power):
    for seed in range(4):
        graph = layered([12, 8, 8, 4], seed, power)
        assert_is_cut_tree(graph, cut_tree(graph))


@pytest.mark.parametrize("power", [2, 6, 12])
def test_splits_and_compaction_on_larger_nets(power):
    graph = layered([40, 30, 30, 10], 1, power)
    tree = cut_tree(graph)
    G = as_networkx(graph)
    for v, p, value in list(tree_edges(tree))[::5]:
        assert np.isclose(cut_capacity(graph, tree.side(v)), value, rtol=1e-12, atol=0)
        assert np.isclose(nx.minimum_cut_value(G, v, p), value, rtol=1e-9, atol=1e-15)


def test_hand_computed_tree():
    # A triangle of 3s (0, 1, 2) tied by 1 to the pair 3-4 of 5: the pair costs 1 to cut off,
    # 4 costs its degree 5, corners of the triangle without a tie cost 3 + 3.
    tree = cut_tree(graph_of(5, [(0, 1, 3), (1, 2, 3), (0, 2, 3), (2, 3, 1), (3, 4, 5)]))
    assert tree.min_cut(0, 3) == 1
    assert tree.min_cut(3, 4) == 5
    assert tree.min_cut(0, 1) == 6
    assert tree.nontrivial_edges == 1
    assert sorted(np.flatnonzero(tree.side(int(tree.lightest_edge(0, 4))))) in ([3, 4], [0, 1, 2])


def test_cut_tree_is_no_equivalent_flow_tree():
    # Gusfield's equivalent-flow variant returns a star whose edges do not induce the cuts
    # on this net; a cut tree must contain the non-trivial cut {3, 4}.
    graph = graph_of(5, [(0, 1, 3), (1, 2, 3), (0, 2, 3), (2, 3, 1), (3, 4, 5)])
    for v, _, value in tree_edges(cut_tree(graph)):
        assert cut_capacity(graph, cut_tree(graph).side(v)) == value


def test_one_unit_is_its_own_root():
    tree = cut_tree(graph_of(1, []))
    assert tree.parent.tolist() == [-1]
    assert tree.value.tolist() == [np.inf]
    assert tree.nontrivial_edges == 0


def test_two_units():
    assert cut_tree(graph_of(2, [(0, 1, 2.5)])).min_cut(0, 1) == 2.5
    assert cut_tree(graph_of(2, [])).min_cut(0, 1) == 0


def test_disconnected_and_isolated_units_have_cuts_of_zero():
    tree = cut_tree(graph_of(6, [(0, 1, 1), (2, 3, 2)]))
    assert tree.min_cut(0, 2) == 0
    assert tree.min_cut(4, 5) == 0
    assert tree.min_cut(0, 1) == 1
    assert tree.min_cut(2, 3) == 2


def test_zero_capacities_everywhere():
    tree = cut_tree(graph_of(4, [(0, 1, 0), (1, 2, 0), (2, 3, 0)]))
    assert tree.value[tree.order[1:]].tolist() == [0, 0, 0]


def test_whole_numbers_stay_exact_up_to_twelve_orders_of_magnitude():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = 8
        u, v = np.triu_indices(n, 1)
        c = np.floor(10.0 ** rng.uniform(0, 12, len(u)))
        graph = UnitGraph.from_edges(n, u, v, c)
        for v_, p, value in tree_edges(cut_tree(graph)):
            exact = nx.maximum_flow_value(as_networkx_ints(graph), v_, p)
            assert value == exact


def as_networkx_ints(graph: UnitGraph) -> nx.Graph:
    G = nx.Graph()
    for u, v, c in zip(graph.sources, graph.targets, graph.capacities, strict=True):
        G.add_edge(int(u), int(v), capacity=int(c))
    return G


def test_same_graph_same_tree():
    first, second = cut_tree(layered([20, 15, 10], 3, 5)), cut_tree(layered([20, 15, 10], 3, 5))
    assert np.array_equal(first.parent, second.parent)
    assert np.array_equal(first.value, second.value)


def test_edge_order_does_not_change_values():
    graph = layered([20, 15, 10], 3, 5)
    shuffled = np.random.default_rng(0).permutation(graph.m)
    again = UnitGraph(
        graph.n,
        graph.sources[shuffled],
        graph.targets[shuffled],
        graph.capacities[shuffled],
        graph.groups,
    )
    assert np.array_equal(np.sort(cut_tree(graph).value), np.sort(cut_tree(again).value))


def test_no_cut_separates_a_unit_from_itself():
    tree = cut_tree(graph_of(2, [(0, 1, 1)]))
    with pytest.raises(ValueError, match="unit 1 from itself"):
        tree.min_cut(1, 1)


@pytest.mark.parametrize("unit", [-1, 2, 10**12])
def test_units_out_of_range_are_named(unit):
    tree = cut_tree(graph_of(2, [(0, 1, 1)]))
    with pytest.raises(ValueError, match=f"unit {unit} is not in the tree"):
        tree.side(unit)
    with pytest.raises(ValueError, match="units run from 0 to 1"):
        tree.min_cut(0, unit)


@pytest.mark.parametrize("power", [1, 8])
def test_wide_networks_where_flows_go_through_windows_first(power):
    rng = np.random.default_rng(power)
    width = 400
    u, v = np.divmod(np.arange(width**2), width)
    sources, targets = np.r_[u, u + width, u + 2 * width], np.r_[v, v + width, v + 2 * width]
    capacities = np.abs(rng.standard_normal(len(sources))) ** power
    graph = UnitGraph.from_edges(4 * width, sources, targets + width, capacities)
    tree = cut_tree(graph)
    assert verify_cut_tree(graph, tree, sample=12).ok
    assert np.array_equal(refresh_cut_tree(graph, tree).value, tree.value)
