"""Networks as graphs of units: weights become capacities."""

from partwise.graph.reading import unit_graph, unit_map
from partwise.graph.unit_graph import UnitGraph, UnitGroup
from partwise.graph.unit_map import UnitMap, WeightBlock

__all__ = ["UnitGraph", "UnitGroup", "UnitMap", "WeightBlock", "unit_graph", "unit_map"]
