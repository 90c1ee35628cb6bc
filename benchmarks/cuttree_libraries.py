"""One Gomory-Hu build per library, for `benchmarks.cuttree`: graph in, tree values out."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from partwise.cuttree import cut_tree, refresh_cut_tree
from partwise.graph.unit_graph import UnitGraph

Outcome = tuple[float, float, int | None]
"""Seconds, sum of tree values, non-trivial edges where known."""
Refreshed = tuple[float, float, int | None, float]
"""The same, and seconds of cold builds of the same capacities."""


def partwise(graph: UnitGraph) -> Outcome:
    """Median build; the kernels ran beforehand."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 50):
        begin = time.process_time()
        tree = cut_tree(graph)
        times.append(time.process_time() - begin)
    return statistics.median(times), float(tree.value[tree.order[1:]].sum()), tree.nontrivial_edges


def partwise_warm(graph: UnitGraph) -> Refreshed:
    """Median refresh after 1% noise, beside a cold build of the same noisy graph each time.

    The first refresh, which lays out the rows, is not counted.
    """
    rng = np.random.default_rng(1)
    tree = refresh_cut_tree(graph, cut_tree(graph))
    warm: list[float] = []
    cold: list[float] = []
    while len(warm) < 3 or (sum(warm) < 1 and len(warm) < 50):
        noise = rng.standard_normal(graph.m, dtype=np.float32)
        noise = (graph.capacities * (1 + 0.01 * noise)).astype(graph.capacities.dtype)
        noisy = graph.with_capacities(np.maximum(noise, 0))
        begin = time.process_time()
        tree = refresh_cut_tree(noisy, tree)
        middle = time.process_time()
        cut_tree(noisy)
        warm.append(middle - begin)
        cold.append(time.process_time() - middle)
    total = float(tree.value[tree.order[1:]].sum())
    return statistics.median(warm), total, tree.nontrivial_edges, statistics.median(cold)


def networkx(graph: UnitGraph) -> Outcome:
    import networkx as nx

    whole = nx.Graph()
    whole.add_nodes_from(range(graph.n))
    rows = zip(
        graph.sources.tolist(),
        graph.targets.tolist(),
        graph.capacities.astype(int).tolist(),
        strict=True,
    )
    whole.add_weighted_edges_from(rows, "capacity")
    begin = time.process_time()
    tree = nx.gomory_hu_tree(whole)
    return time.process_time() - begin, float(sum(w for *_, w in tree.edges(data="weight"))), None


def igraph(graph: UnitGraph) -> Outcome:
    import igraph as ig

    whole = ig.Graph(n=graph.n, edges=np.column_stack([graph.sources, graph.targets]))
    begin = time.process_time()
    tree = whole.gomory_hu_tree(capacity=graph.capacities.tolist())
    return time.process_time() - begin, float(sum(tree.es["flow"])), None


def ortools(graph: UnitGraph) -> Outcome:
    from ortools.graph.python.max_flow import SimpleMaxFlow

    flow = SimpleMaxFlow()
    u, v, c = graph.sources, graph.targets, graph.capacities.astype(np.int64)
    begin = time.process_time()
    flow.add_arcs_with_capacity(np.r_[u, v], np.r_[v, u], np.r_[c, c])

    def source_side(s: int, t: int) -> tuple[float, np.ndarray]:
        flow.solve(s, t)
        return flow.optimal_flow(), np.asarray(flow.get_source_side_min_cut())

    total = _gusfield(graph.n, source_side)
    return time.process_time() - begin, total, None


def scipy(graph: UnitGraph) -> Outcome:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    u, v = graph.sources, graph.targets
    c = graph.capacities.astype(np.int32)
    begin = time.process_time()
    matrix = csr_array((np.r_[c, c], (np.r_[u, v], np.r_[v, u])), (graph.n, graph.n))
    matrix.sort_indices()

    def source_side(s: int, t: int) -> tuple[float, np.ndarray]:
        result = maximum_flow(matrix, s, t, method="dinic")
        residual = matrix - result.flow
        residual.eliminate_zeros()
        return result.flow_value, breadth_first_order(residual, s, return_predecessors=False)

    total = _gusfield(graph.n, source_side)
    return time.process_time() - begin, total, None


def _gusfield(n: int, source_side: Callable[[int, int], tuple[float, np.ndarray]]) -> float:
    """Sum of an equivalent-flow tree's values (Gusfield, 1990): n - 1 maximum flows."""
    parent, total = np.zeros(n, int), 0.0
    for s in range(1, n):
        value, side = source_side(s, int(parent[s]))
        total += value
        later = side[side > s]
        parent[later[parent[later] == parent[s]]] = s
    return total


class Unavailable(Exception):
    """What a library needs is not on this machine."""


def lemon(graph: UnitGraph) -> Outcome:
    rows = np.column_stack([graph.sources, graph.targets, graph.capacities]).astype(np.int64)
    data = np.array([graph.n, graph.m], np.int64).tobytes() + rows.tobytes()
    done = subprocess.run([lemon_driver()], input=data, capture_output=True)
    if done.returncode == -signal.SIGXCPU:
        os.kill(os.getpid(), signal.SIGXCPU)
    seconds, total = done.stdout.split()
    return float(seconds), float(total), None


def lemon_driver() -> Path:
    """The compiled driver, compiled when missing."""
    source = Path(__file__).with_name("lemon_driver.cpp")
    driver = Path(tempfile.gettempdir()) / f"partwise-lemon-driver-{os.getuid()}"
    if driver.exists() and driver.stat().st_mtime > source.stat().st_mtime:
        return driver
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise Unavailable("no C++ compiler")
    command = [compiler, "-O3", "-march=native", "-o", driver, source]
    if subprocess.run(command, capture_output=True).returncode:
        raise Unavailable("LEMON does not compile here (apt-get install liblemon-dev)")
    return driver


LIBRARIES: dict[str, Callable[[UnitGraph], Outcome | Refreshed]] = {
    "partwise": partwise,
    "partwise_warm": partwise_warm,
    "networkx": networkx,
    "igraph": igraph,
    "ortools": ortools,
    "scipy": scipy,
    "lemon": lemon,
}
