import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from graphs import layered, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.cuttree import arcs as arcs_module
from partwise.cuttree import (
    bottlenecks,
    certified_units,
    cut_tree,
    from_igraph,
    from_networkx,
    path_sums,
    to_igraph,
    to_networkx,
    whole_capacities,
)
from partwise.errors import GraphError, MissingExtraError, PartwiseError
from partwise.graph.unit_graph import UnitGraph


def two_units(*capacities: float) -> UnitGraph:
    return UnitGraph(2, np.array([0], np.int32), np.array([1], np.int32), np.array(capacities), ())


@pytest.mark.parametrize("capacity", [np.nan, np.inf, -1.0])
def test_capacities_without_meaning_are_refused(capacity):
    with pytest.raises(GraphError, match="finite"):
        cut_tree(two_units(capacity))


def test_a_total_that_overflows_is_refused():
    huge = UnitGraph.from_edges(3, [0, 1], [1, 2], [1.7e308, 1.7e308])
    with pytest.raises(GraphError, match="add up"):
        cut_tree(huge)


def test_more_edges_than_arc_positions_are_refused(monkeypatch):
    monkeypatch.setattr(arcs_module, "MAX_EDGES", 10)
    with pytest.raises(GraphError, match="more than the 10"):
        cut_tree(layered([4, 3]))


def test_a_cheated_edge_count_above_two_to_the_31_is_refused():
    # A view with stride 0: 2^31 edges in eight bytes.
    m = 2**31
    ends = np.broadcast_to(np.zeros(1, np.int32), m)
    graph = UnitGraph(2, ends, ends, np.broadcast_to(np.ones(1), m), ())
    with pytest.raises(GraphError, match="2147483648 edges"):
        cut_tree(graph)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(-1, 6),
    st.lists(
        st.tuples(st.integers(-1, 7), st.integers(-1, 7), st.floats(allow_nan=True)), max_size=12
    ),
)
def test_any_edge_list_gives_a_tree_or_a_clear_error(n, rows):
    u, v, c = zip(*rows, strict=True) if rows else ((), (), ())
    try:
        graph = UnitGraph.from_edges(n, u, v, c)
    except PartwiseError:
        return
    with suppress(GraphError):
        tree = cut_tree(graph)
        assert tree.n == n
        assert (tree.value >= 0).all()


@pytest.mark.parametrize(
    "units", [[0, 0], [0, 9], [-1], [0.5], [[0]], ["a"]], ids=lambda units: str(units)
)
def test_queries_refuse_wrong_units(units):
    with pytest.raises(ValueError, match="unit"):
        bottlenecks(cut_tree(layered([3, 2])), units)


def test_path_sums_refuse_other_lengths():
    with pytest.raises(ValueError, match="needs 5 numbers"):
        path_sums(cut_tree(layered([3, 2])), [1.0], [0], [1])


def test_trees_survive_the_trip_through_networkx_and_igraph():
    rng = np.random.default_rng(0)
    for _ in range(30):
        tree = cut_tree(random_graph(rng))
        cuts = bottlenecks(tree, np.arange(tree.n))
        for there_and_back in (from_networkx(to_networkx(tree)), from_igraph(to_igraph(tree))):
            assert np.array_equal(bottlenecks(there_and_back, np.arange(tree.n)), cuts)


def test_a_graph_with_a_cycle_is_no_tree():
    nx = pytest.importorskip("networkx")
    graph = nx.Graph([(0, 1), (1, 2), (2, 0)])
    graph.add_node(3)
    nx.set_edge_attributes(graph, 1.0, "weight")
    with pytest.raises(GraphError, match="cycle"):
        from_networkx(graph)
    with pytest.raises(GraphError, match="attribute 'capacity'"):
        from_networkx(graph, "capacity")


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(MissingExtraError, match=r"partwise\[bench\]"):
        to_igraph(cut_tree(layered([3, 2])))


def certified_one_by_one(graph: UnitGraph, capacities: np.ndarray) -> np.ndarray:
    dense = np.zeros((graph.n, graph.n), object)
    for u, v, c in zip(graph.sources, graph.targets, capacities, strict=True):
        dense[u, v] = dense[v, u] = int(c)
    order = sorted(range(graph.n), key=lambda u: (-sum(dense[u]), u))
    certified = np.ones(graph.n, bool)
    for i, v in enumerate(order[1:], 1):
        certified[v] = all(
            dense[v, u] <= sum(dense[u, s] for s in order[:i]) for u in order[i + 1 :]
        )
    return certified


def test_certificate_equals_its_definition():
    rng = np.random.default_rng(3)
    for _ in range(200):
        graph = random_graph(rng)
        whole = whole_capacities(torch.as_tensor(graph.capacities))
        found = certified_units(
            graph.n, torch.as_tensor(graph.sources), torch.as_tensor(graph.targets), whole
        )
        assert np.array_equal(found.numpy(), certified_one_by_one(graph, whole.numpy()))


def test_certified_star_is_the_cut_tree():
    graph = layered([64, 32, 32, 10])
    found = certified_units(
        graph.n,
        torch.as_tensor(graph.sources),
        torch.as_tensor(graph.targets),
        whole_capacities(torch.as_tensor(graph.capacities)),
    ).numpy()
    tree = cut_tree(graph)
    assert found.sum() > 120
    assert (tree.parent[np.flatnonzero(found)[:]] == tree.root).sum() == found.sum() - 1


@pytest.mark.gpu
def test_certificate_is_the_same_on_the_gpu():
    graph = layered([64, 32, 32, 10])
    ends = torch.as_tensor(graph.sources), torch.as_tensor(graph.targets)
    whole = whole_capacities(torch.as_tensor(graph.capacities))
    there = certified_units(graph.n, *(t.cuda() for t in (*ends, whole)))
    assert torch.equal(certified_units(graph.n, *ends, whole), there.cpu())


def test_certificate_refuses_floats():
    ends = torch.tensor([0]), torch.tensor([1])
    with pytest.raises(GraphError, match="float32"):
        certified_units(2, *ends, torch.ones(1))
