"""Compile and cache every cut-tree kernel: `python -m partwise.cuttree.warm`.

Run by `make` after installing, and by hand after a kernel was edited: numba notices a change
in a kernel's own file, not in the files of the kernels that it calls.
"""

from __future__ import annotations

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


def forget_kernels() -> None:
    """Delete the kernels cached beside this package's sources."""
    cache = Path(__file__).parent / "__pycache__"
    for pattern in _PATTERNS:
        for file in cache.glob(pattern):
            file.unlink(missing_ok=True)


def compile_kernels() -> None:
    """Run every kernel once on each type of capacity it is compiled for."""
    for dtype in (np.float64, np.float32):
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
    forget_kernels()
    compile_kernels()
