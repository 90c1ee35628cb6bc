"""Compile and cache every cut-tree kernel: `python -m partwise.cuttree.warm`.

Run by `make` for developers, after `partwise.warm`: it adds graphs in single precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from partwise.cuttree import (
    bottlenecks,
    cut_tree,
    path_sums,
    refresh_cut_tree,
    single_linkage,
    verify_cut_tree,
)
from partwise.graph.unit_graph import UnitGraph

_PATTERNS = ("*.nbi", "*.nbc")


def forget_kernels(folder: Path) -> None:
    """Delete the kernels cached beside the sources in a folder and the folders in it."""
    for pattern in _PATTERNS:
        for file in folder.rglob(f"__pycache__/{pattern}"):
            file.unlink(missing_ok=True)


def compile_kernels(dtypes: Iterable[type] = (np.float64, np.float32)) -> None:
    """Run every kernel once on each type of capacity it is compiled for."""
    for dtype in dtypes:
        graph = _three_clusters(dtype)
        tree = cut_tree(graph, threads=2)
        assert tree.min_cut(0, 4) == 0.5
        assert tree.side(tree.lightest_edge(0, 4)).sum() in (4, 8)
        assert refresh_cut_tree(graph, tree).min_cut(0, 4) == 0.5
        assert verify_cut_tree(graph, tree).ok
        assert len(single_linkage(tree)) == 11
        assert bottlenecks(tree, [0, 4])[0, 1] == 0.5
        assert path_sums(tree, np.ones(12), [0], [1])[0] >= 1


def _three_clusters(dtype: type) -> UnitGraph:
    """Three cliques of four units, joined by two light edges."""
    u, v = np.triu_indices(4, 1)
    sources, targets = np.r_[u, u + 4, u + 8, 0, 4], np.r_[v, v + 4, v + 8, 4, 8]
    capacities = np.r_[np.full(18, 1.1), 0.5, 0.5].astype(dtype)
    return UnitGraph.from_edges(12, sources, targets, capacities)


if __name__ == "__main__":
    compile_kernels()
