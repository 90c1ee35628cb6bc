"""`modules.json`: a network's modules, their hierarchy and its cut tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree import CutTree
from partwise.errors import DataError
from partwise.files import read_json, write_json
from partwise.graph import UnitGraph
from partwise.graph.unit_graph import UnitGroup
from partwise.modules import Hierarchy, Significance, module_masses

FORMAT = "partwise.modules/2"
KNOWN = (None, FORMAT)
"""Formats that can be read; files of the first named none."""


def write_modules(path: Path, graph: UnitGraph, found: Hierarchy) -> None:
    """Writes `modules.json`."""
    write_json(
        path,
        {
            "format": FORMAT,
            "modules": found.modules,
            "labels": found.labels.tolist(),
            "pieces": found.pieces.tolist(),
            "merges": [list(merge) for merge in found.merges],
            "inflation": found.inflation,
            "newman_q": found.q,
            "significance": None if found.significance is None else vars(found.significance),
            "masses": module_masses(graph, found.labels).tolist(),
            "tree": {
                "parent": found.tree.parent.tolist(),
                "value": [float(v) if np.isfinite(v) else None for v in found.tree.value],
                "order": found.tree.order.tolist(),
            },
            "groups": [vars(group) for group in graph.groups],
        },
    )


def read_modules(path: Path, units: int, groups: Sequence[UnitGroup] = ()) -> Hierarchy:
    """Reads `modules.json`.

    Args:
        path: the file.
        units: how many the network has.
        groups: its groups of units, where they shall be compared as well.

    Raises:
        DataError: if it is missing, damaged, of an unknown format, or of another network.
    """
    saved = read_json(path)
    if saved.get("format") not in KNOWN:
        raise DataError(
            f"{path} has format {saved['format']!r}, this version reads {FORMAT}; run 'partwise "
            "cut' again"
        )
    try:
        found = _hierarchy(saved)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({error!r}); run 'partwise cut' again") from error
    if not len(found.labels) == len(found.pieces) == len(found.tree.parent) == units:
        raise DataError(f"{path} describes {len(found.labels)} units, the network has {units}")
    if groups and saved.get("groups") not in (None, [vars(group) for group in groups]):
        raise DataError(
            f"{path} describes the modules of another network; run 'partwise cut' again"
        )
    if not (_numbers_modules(found.labels) and _numbers_modules(found.pieces) and _is_tree(found)):
        raise DataError(f"{path} is damaged (no partition and tree); run 'partwise cut' again")
    return found


def _numbers_modules(labels: NDArray[np.int64]) -> bool:
    """Whether labels are 0, 1, ... without a gap."""
    return bool(np.array_equal(np.unique(labels), np.arange(labels.max() + 1)))


def _is_tree(found: Hierarchy) -> bool:
    """Whether every unit but the first in order has a parent that comes before it."""
    parent, order = found.tree.parent, found.tree.order
    if not np.array_equal(np.sort(order), np.arange(len(parent))) or parent[order[0]] != -1:
        return False
    place = np.argsort(order)
    rest = order[1:]
    inside = (parent[rest] >= 0) & (parent[rest] < len(parent))
    return bool(inside.all() and (place[parent[rest]] < place[rest]).all())


def _hierarchy(saved: dict[str, Any]) -> Hierarchy:
    tree, tested = saved["tree"], saved["significance"]
    value = [np.inf if v is None else v for v in tree["value"]]
    return Hierarchy(
        labels=np.array(saved["labels"], np.int64),
        pieces=np.array(saved["pieces"], np.int64),
        merges=tuple((int(a), int(b), float(cost)) for a, b, cost in saved["merges"]),
        tree=CutTree(
            np.array(tree["parent"], np.int64),
            np.array(value, np.float64),
            np.array(tree["order"], np.int64),
        ),
        inflation=saved["inflation"],
        q=saved["newman_q"],
        significance=None if tested is None else Significance(**tested).without_false_z(),
    )
