from itertools import combinations

import numpy as np
import pytest
from graphs import as_networkx, assert_is_cut_tree, layered, random_graph, tree_edges

from partwise.cuttree import (
    CutTree,
    bottlenecks,
    cut_tree,
    pairs_decided,
    pairs_separated,
    path_sums,
    refresh_cut_tree,
    single_linkage,
    sparsified_cut_tree,
    verify_cut_tree,
)
from partwise.errors import GraphError
from partwise.graph.unit_graph import UnitGraph


def all_cuts(tree: CutTree) -> np.ndarray:
    return bottlenecks(tree, np.arange(tree.n))


def random_graphs(seed: int, count: int, most_units: int = 14):
    rng = np.random.default_rng(seed)
    return (random_graph(rng, most_units) for _ in range(count))


def test_relabelling_units_relabels_cuts():
    rng = np.random.default_rng(1)
    for graph in random_graphs(1, 100):
        p = rng.permutation(graph.n)
        other = UnitGraph.from_edges(graph.n, p[graph.sources], p[graph.targets], graph.capacities)
        assert np.allclose(
            all_cuts(cut_tree(graph)), all_cuts(cut_tree(other))[np.ix_(p, p)], rtol=1e-11
        )


@pytest.mark.parametrize("factor", [2.0**-900, 0.3, 2.0**40])
def test_scaling_capacities_scales_cuts(factor):
    for graph in random_graphs(2, 60):
        scaled = graph.with_capacities(graph.capacities.astype(np.float64) * factor)
        assert np.allclose(
            all_cuts(cut_tree(graph)) * factor, all_cuts(cut_tree(scaled)), rtol=1e-11, atol=0
        )


def test_adding_an_edge_never_lowers_a_cut():
    rng = np.random.default_rng(3)
    for graph in random_graphs(3, 100):
        if graph.n < 2:
            continue
        u, v = rng.choice(graph.n, 2, replace=False)
        more = UnitGraph.from_edges(
            graph.n,
            np.r_[graph.sources, u],
            np.r_[graph.targets, v],
            np.r_[graph.capacities, 1.0],
        )
        assert (all_cuts(cut_tree(more)) >= all_cuts(cut_tree(graph)) * (1 - 1e-12)).all()


def test_disjoint_union_keeps_both_trees_cuts():
    for a, b in zip(random_graphs(4, 50), random_graphs(5, 50), strict=True):
        union = UnitGraph.from_edges(
            a.n + b.n,
            np.r_[a.sources, b.sources + a.n],
            np.r_[a.targets, b.targets + a.n],
            np.r_[a.capacities, b.capacities].astype(np.float64),
        )
        cuts = all_cuts(cut_tree(union))
        assert np.allclose(cuts[: a.n, : a.n], all_cuts(cut_tree(a)), rtol=1e-11)
        assert np.allclose(cuts[a.n :, a.n :], all_cuts(cut_tree(b)), rtol=1e-11)
        assert (cuts[: a.n, a.n :] == 0).all()


def path(n, c):
    return UnitGraph.from_edges(n, np.arange(n - 1), np.arange(1, n), np.resize(c, n - 1))


def star(n):
    return UnitGraph.from_edges(n, np.zeros(n - 1, int), np.arange(1, n), np.arange(1.0, n))


def complete(n, c):
    u, v = np.triu_indices(n, 1)
    return UnitGraph.from_edges(n, u, v, np.resize(c, len(u)))


def bipartite(a, b):
    u, v = np.indices((a, b)).reshape(2, -1)
    return UnitGraph.from_edges(a + b, u, v + a, np.ones(a * b))


def near_ties(seed):
    rng = np.random.default_rng(seed)
    u, v = np.triu_indices(12, 1)
    weak = (u < 6) != (v < 6)
    return UnitGraph.from_edges(
        12, u, v, np.where(weak, 1 / 6, 1.0) + rng.integers(-1, 2, len(u)) * 2.0**-40
    )


ADVERSARIAL = {
    "long path": path(60, [1.0, 2.0, 1.0]),
    "equal path": path(60, [1.0]),
    "star": star(25),
    "equal complete": complete(12, [1.0]),
    "powers of two": complete(10, 2.0 ** np.arange(45)),
    "bipartite": bipartite(7, 9),
    "near ties": near_ties(0),
    "total near the int64 limit": complete(8, [2.0**57]),
    "faint ties between parts": path(9, [1.0, 1e-30, 1.0, 1e-25]),
    "twelve orders": complete(10, 10.0 ** np.linspace(-6, 6, 45)),
}


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_adversarial_families(family):
    assert_is_cut_tree(ADVERSARIAL[family], cut_tree(ADVERSARIAL[family]))


def test_capacities_far_below_the_resolution_still_sum_exactly():
    tree = cut_tree(path(5, [1.0, 1e-30, 1e-60, 1e-200]))
    assert sorted(value for _, _, value in tree_edges(tree)) == [1e-200, 1e-60, 1e-30, 1.0]


@pytest.mark.parametrize("power", [1, 4, 9])
def test_threads_do_not_change_the_tree(power):
    graph = layered([40, 30, 30, 10], 7, power)
    trees = [cut_tree(graph, threads=k) for k in (1, 2, 5)]
    for tree in trees[1:]:
        assert np.array_equal(tree.parent, trees[0].parent)
        assert np.array_equal(tree.value, trees[0].value)


def test_no_threads_is_refused():
    with pytest.raises(ValueError, match="threads=0"):
        cut_tree(star(3), threads=0)


@pytest.mark.parametrize("power", [1, 5])
def test_refresh_equals_a_cold_build(power):
    rng = np.random.default_rng(0)
    graph = layered([30, 20, 20, 8], 2, power)
    tree = cut_tree(graph)
    for _ in range(4):
        noisy = graph.capacities * rng.uniform(0.8, 1.2, graph.m) * (rng.random(graph.m) > 0.1)
        graph = graph.with_capacities(noisy)
        tree, cold = refresh_cut_tree(graph, tree), cut_tree(graph)
        assert np.array_equal(np.sort(tree.value), np.sort(cold.value))
        assert verify_cut_tree(graph, tree).ok


def test_refresh_of_other_units_is_refused():
    with pytest.raises(GraphError, match="3 units and the graph 4"):
        refresh_cut_tree(star(4), cut_tree(star(3)))


@pytest.mark.parametrize("quantile", [0.0, 0.2, 0.7])
def test_sparsified_tree_bounds_its_error(quantile):
    for graph in random_graphs(8, 60):
        threshold = float(np.quantile(graph.capacities, quantile)) if graph.m else 0.0
        bounded, exact = sparsified_cut_tree(graph, threshold), cut_tree(graph)
        tree = bounded.tree
        for v, p, value in tree_edges(tree):
            best = exact.min_cut(v, p)
            assert value - bounded.error[v] <= best * (1 + 1e-11) + 1e-15
            assert best <= value * (1 + 1e-11)


def test_nothing_dropped_is_exact():
    assert sparsified_cut_tree(star(5), 0).is_exact
    with pytest.raises(GraphError, match="got nan"):
        sparsified_cut_tree(star(5), float("nan"))


def test_queries_agree_with_walks():
    rng = np.random.default_rng(9)
    for graph in random_graphs(10, 60):
        tree = cut_tree(graph)
        x = rng.random(tree.n)
        pairs = np.array(list(combinations(range(tree.n), 2)), int).reshape(-1, 2)
        sums = path_sums(tree, x, pairs[:, 0], pairs[:, 1])
        cuts = all_cuts(tree)
        decided = np.zeros(tree.n, int)
        separated = np.zeros(tree.n, int)
        for (u, v), total in zip(pairs, sums, strict=True):
            apart = [w for w, _, _ in tree_edges(tree) if tree.side(w)[u] != tree.side(w)[v]]
            assert np.isclose(total, x[apart].sum())
            assert cuts[u, v] == tree.min_cut(u, v) == tree.value[apart].min()
            separated[apart] += 1
            decided[tree.lightest_edge(u, v)] += 1
        assert np.array_equal(pairs_separated(tree), separated)
        assert pairs_decided(tree).sum() == len(pairs)
        if len(set(tree.value)) == tree.n:
            assert np.array_equal(pairs_decided(tree), decided)


def test_single_linkage_merges_strongest_first():
    for graph in random_graphs(11, 40):
        merges = single_linkage(cut_tree(graph))
        assert merges.shape == (graph.n - 1, 4)
        assert (np.diff(merges[:, 2]) <= 0).all()
        assert graph.n == 1 or merges[-1, 3] == graph.n


def test_verification_finds_wrong_values_and_wrong_cuts():
    graph = layered([8, 6, 4], 0, 3)
    tree = cut_tree(graph)
    assert verify_cut_tree(graph, tree).ok
    assert verify_cut_tree(graph, tree, sample=3).edges_checked == 3
    value = tree.value.copy()
    value[tree.order[3]] *= 1 + 1e-9
    assert len(verify_cut_tree(graph, CutTree(tree.parent, value, tree.order)).failures) == 1
    swapped = np.random.default_rng(0).permutation(graph.n)
    wrong = CutTree(
        np.where(tree.parent[swapped] < 0, -1, np.argsort(swapped)[tree.parent[swapped]]),
        tree.value[swapped],
        np.argsort(swapped)[tree.order],
    )
    assert not verify_cut_tree(graph, wrong).ok


def test_verification_refuses_what_is_no_tree():
    chain = CutTree(np.array([-1, 0, 1]), np.array([np.inf, 1, 1]), np.array([0, 2, 1]))
    with pytest.raises(ValueError, match="parents before"):
        verify_cut_tree(path(3, [1.0]), chain)
    with pytest.raises(ValueError, match="has 4 units"):
        verify_cut_tree(star(4), chain)


def test_equivalent_flow_trees_are_told_apart():
    rng = np.random.default_rng(12)
    import networkx as nx

    from partwise.cuttree import from_networkx

    for _ in range(20):
        graph = random_graph(rng, 10)
        G = as_networkx(graph)
        if graph.n < 2 or not nx.is_connected(G):
            continue
        theirs = from_networkx(nx.gomory_hu_tree(G))
        assert np.allclose(all_cuts(theirs), all_cuts(cut_tree(graph)), rtol=1e-9)
