"""Detectors that ours is compared with; each takes a unit graph and gives labels (n,)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers import spectral_blocks
from partwise.cuttree import cut_tree
from partwise.graph import UnitGraph


def leiden(graph: UnitGraph, seed: int = 0) -> NDArray[np.int64]:
    """Leiden's partition for Newman's Q; Traag, Waltman and van Eck (2019)."""
    import igraph
    import leidenalg

    edges = np.c_[graph.sources, graph.targets]
    other = igraph.Graph(n=graph.n, edges=edges.tolist())
    found = leidenalg.find_partition(
        other,
        leidenalg.ModularityVertexPartition,
        weights=graph.capacities.tolist(),
        n_iterations=5,
        seed=seed,
    )
    return np.array(found.membership)


def spectral(graph: UnitGraph, modules: int) -> NDArray[np.int64]:
    """Normalised spectral clustering, told the number of modules; scikit-learn's."""
    from sklearn.cluster import SpectralClustering

    clusters = SpectralClustering(modules, affinity="precomputed", random_state=0)
    return clusters.fit_predict(dense(graph).numpy() + 1e-9).astype(np.int64)


def own_spectral(graph: UnitGraph, modules: int) -> NDArray[np.int64]:
    """The same by our own k-means: faster, and quiet on graphs that fall apart."""
    return spectral_blocks(dense(graph), modules).numpy()


def linkage(graph: UnitGraph, modules: int) -> NDArray[np.int64]:
    """Single linkage, told the number of modules: cuts the lightest edges of the cut tree."""
    tree = cut_tree(graph)
    lightest = np.argsort(tree.value[tree.order[1:]], kind="stable")[: modules - 1]
    removed = set(tree.order[1:][lightest].tolist())
    labels = np.zeros(graph.n, np.int64)
    for v in tree.order[1:].tolist():
        labels[v] = v if v in removed else labels[tree.parent[v]]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def dense(graph: UnitGraph) -> torch.Tensor:
    """(n, n) symmetric capacities."""
    table = torch.zeros(graph.n, graph.n, dtype=torch.float64)
    capacities = torch.as_tensor(np.asarray(graph.capacities, np.float64))
    table[graph.sources.astype(np.int64), graph.targets.astype(np.int64)] = capacities
    return table + table.T
