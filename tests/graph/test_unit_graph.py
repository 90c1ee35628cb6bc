import numpy as np
import pytest

from partwise.errors import GraphError
from partwise.graph import UnitGraph, UnitGroup


def test_edges_are_ordered_and_parallel_ones_added():
    graph = UnitGraph.from_edges(4, [3, 1, 0], [1, 3, 2], [1.0, 2.0, 5.0])
    assert graph.sources.tolist() == [0, 1]
    assert graph.targets.tolist() == [2, 3]
    assert graph.capacities.tolist() == [5.0, 3.0]
    assert graph.degrees().tolist() == [5.0, 3.0, 5.0, 3.0]


def test_a_graph_without_edges_is_a_graph():
    graph = UnitGraph.from_edges(3, [], [], [])
    assert graph.m == 0
    assert graph.degrees().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("n", "u", "v", "c", "message"),
    [
        (0, [], [], [], "n=0"),
        (2, [0], [1], [-1.0], "-1.0"),
        (2, [0], [1], [np.nan], "nan"),
        (2, [0], [1], [np.inf], "inf"),
        (2, [0], [0], [1.0], "itself"),
        (2, [0], [2], [1.0], "unit 2"),
        (2, [-1], [1], [1.0], "unit -1"),
        (2, [0, 1], [1], [1.0], "length"),
        (2, [0.5], [1], [1.0], "integers"),
        (2, [0], [1], ["a"], "numbers"),
    ],
)
def test_bad_edges_are_named(n, u, v, c, message):
    with pytest.raises(GraphError, match=message):
        UnitGraph.from_edges(n, u, v, c)


def test_groups_must_cover_the_units():
    with pytest.raises(GraphError, match="cover"):
        UnitGraph.from_edges(3, [0], [1], [1.0], [UnitGroup("a", "input", 0, 2)])


def test_inflation_scales_the_largest_to_one_and_keeps_the_order():
    graph = UnitGraph.from_edges(3, [0, 0], [1, 2], [2.0, 4.0])
    assert graph.inflated(2).capacities.tolist() == [0.25, 1.0]  # (2/4)^2, (4/4)^2
    assert graph.inflated(1) is graph


def test_new_capacities_are_checked():
    graph = UnitGraph.from_edges(3, [0, 0], [1, 2], [2.0, 4.0])
    assert graph.with_capacities(np.array([1.0, 0.0])).capacities.tolist() == [1.0, 0.0]
    with pytest.raises(GraphError, match="2 edges"):
        graph.with_capacities(np.ones(3))
    with pytest.raises(GraphError, match="nan"):
        graph.with_capacities(np.array([np.nan, 1.0]))
