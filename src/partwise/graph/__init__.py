"""Networks as graphs of units: weights become capacities."""

from partwise.graph.reading import register, unit_graph, unit_map, units_of
from partwise.graph.unit_graph import UnitGraph, UnitGroup
from partwise.graph.unit_map import UnitMap, WeightBlock

__all__ = [
    "UnitGraph",
    "UnitGroup",
    "UnitMap",
    "WeightBlock",
    "register",
    "unit_graph",
    "unit_map",
    "units_of",
]
