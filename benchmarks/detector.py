"""The detector alone: planted blocks against Leiden, spectral clustering and single linkage.

    python -m benchmarks.detector --json benchmarks/results/detector.jsonl

Spectral clustering and single linkage are told the number of modules, ours and Leiden are not.
The record also holds how many of 200 structureless networks come back as more than one module.
Choices were made on seeds below 1000; seeds from 1000, 2000 and 3000 on prompted one each
(`modules.md`), so the record's start at 4000.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from benchmarks.detectors import leiden, linkage, spectral
from benchmarks.records import Job, Row, run_all, study_arguments
from partwise.graph import UnitGraph, unit_graph
from partwise.modules import find_modules
from partwise.modules.agreement import adjusted_rand
from partwise.tasks import planted_blocks

KEYS = ("kind", "layers", "modules", "cross", "sparse", "seed")
LAYERS = ("32-32-32-16", "64-64-64-20", "128-64-64-20", "256-128-128-40")
MODULES = (2, 4, 8)
CROSS = (0.1, 0.3, 0.5, 0.7)
STRUCTURELESS = 200
FIRST_SEED = 4000


def row(job: Job) -> Row:
    """Scores every detector on one graph."""
    kind, layers, seed = job[0], job[1], job[-1]
    scores = _planted(job) if kind == "planted" else _structureless(layers, kind, seed)
    return {**dict(zip(KEYS, job, strict=True)), **scores}


def _planted(job: Job) -> Row:
    _, layers, modules, cross, sparse, seed = job
    graph, truth = planted_blocks(widths_of(layers), modules, cross, seed, sparse)
    ours = find_modules(graph, null_samples=0)
    found = {
        "ours": ours.labels,
        "leiden": leiden(graph),
        "spectral": spectral(graph, modules),
        "linkage": linkage(graph, modules),
    }
    scores: Row = {f"ari_{name}": adjusted_rand(labels, truth) for name, labels in found.items()}
    return {**scores, "modules_ours": ours.modules}


def _structureless(layers: str, kind: str, seed: int) -> Row:
    """A network without structure: fresh from initialisation, or half-normal capacities."""
    if kind == "initial":
        graph = untrained(layers, seed)
    else:
        graph, _ = planted_blocks(widths_of(layers), 1, 1.0, seed)
        if kind == "thinned":
            graph = graph.keeping(np.random.default_rng(seed).random(graph.m) < 0.2)
    by_q, weak = (
        find_modules(graph, seed=seed, method=method) for method in ("newman_q", "likelihood")
    )
    row: Row = {"modules_ours": by_q.modules, "modules_weak": weak.modules}
    return row | {"modules_leiden": int(leiden(graph).max()) + 1}


def untrained(layers: str, seed: int) -> UnitGraph:
    """The unit graph of an MLP as it is initialised."""
    torch.manual_seed(seed)
    return unit_graph(mlp(widths_of(layers)))


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """An MLP with ReLU, its weights drawn by torch's own seed."""
    stack = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*stack[:-1])


def widths_of(layers: str) -> list[int]:
    """Units of each layer, from "64-32-10"."""
    return [int(width) for width in layers.split("-")]


def main() -> None:
    """Parses the arguments and runs the grid."""
    parser = study_arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="graphs per cell")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--structureless", type=int, default=STRUCTURELESS)
    given = parser.parse_args()
    jobs: list[Job] = [
        ("planted", layers, modules, cross, sparse, seed)
        for layers in given.layers
        for modules in MODULES
        for cross in CROSS
        for sparse in (False, True)
        for seed in range(FIRST_SEED, FIRST_SEED + given.seeds)
    ]
    kinds = ("initial", "dense", "thinned")
    jobs += [
        (kinds[i % 3], LAYERS[i // 3 % 2], 1, 1.0, False, FIRST_SEED + i)
        for i in range(given.structureless)
    ]
    run_all(jobs, row, given.json, KEYS, given.engine, given.workers)


if __name__ == "__main__":
    main()
