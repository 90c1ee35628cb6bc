"""Whether modules hang on the seed of the shuffles, what each method finds, what it makes up.

    python -m benchmarks.module_stability --json benchmarks/results/module_stability.jsonl

Four parts: agreement over 20 seeds of the shuffles on trained, untrained, modular and planted
networks; adjusted Rand index on planted blocks of kinds that no choice was made on; structureless
networks that come back as more than one module; and the time of a large untrained network. All
begin at seed 32000; choices were made on seeds 100 and 20000 to 20107, and lognormal structureless
networks at seeds 31000 to 31007 (2 and 15 of 24 split) prompted the turns of the null model.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.detector import mlp, untrained, widths_of
from benchmarks.detectors import leiden
from benchmarks.records import Job, Row, run_all, study_arguments
from partwise.graph import UnitGraph, UnitGroup, unit_graph
from partwise.modules import find_modules
from partwise.modules.agreement import adjusted_rand

KEYS = ("part", "network", "seed")
FIRST_SEED = 32000
METHODS = ("likelihood", "newman_q")
SHUFFLE_SEEDS = 20
DATA = ("digits", "wine", "breast_cancer", "diabetes")
SHAPES: dict[str, dict[str, Any]] = {
    "32": {"hidden": [32]},
    "64-32": {"hidden": [64, 32]},
    "64-32 decayed": {"hidden": [64, 32], "decay": 0.3},
    "64-32 sparse": {"hidden": [64, 32], "l1": 1e-3},
}
UNTRAINED = ("30-20-20-5", "64-64-32-10", "13-32-3", "128-64-64-20")
LARGE = "784-1000-1000-10"


class Blocks(NamedTuple):
    """Planted blocks: layers, share of each layer per block, cross weights, kind of capacities."""

    layers: str
    shares: tuple[int, ...]
    cross: float
    is_thinned: bool = False
    capacities: str = "normal"


PLANTED = {
    "two, scaled by .6": Blocks("40-48-40-12", (1, 1), 0.6),
    "three, scaled by .4": Blocks("40-48-40-12", (1, 1, 1), 0.4),
    "five, scaled by .3": Blocks("60-60-40-20", (1,) * 5, 0.3),
    "six, scaled by .5": Blocks("72-60-48-24", (1,) * 6, 0.5),
    "two of 3:1, scaled by .5": Blocks("40-48-40-12", (3, 1), 0.5),
    "three of 3:2:1, scaled by .4": Blocks("60-48-36-18", (3, 2, 1), 0.4),
    "three, thinned to .5": Blocks("40-48-40-12", (1, 1, 1), 0.5, True),
    "six, thinned to .4": Blocks("72-60-48-24", (1,) * 6, 0.4, True),
    "three, lognormal, scaled by .3": Blocks("40-48-40-12", (1, 1, 1), 0.3, False, "lognormal"),
    "four, lognormal, thinned to .4": Blocks("48-48-48-16", (1,) * 4, 0.4, True, "lognormal"),
    "two, uneven units, scaled by .4": Blocks("40-48-40-12", (1, 1), 0.4, False, "uneven"),
    "four, digits-shaped, scaled by .4": Blocks("64-32-16", (1,) * 4, 0.4),
    "three, wine-shaped, scaled by .3": Blocks("13-64-32-3", (1, 1, 1), 0.3),
    "eight, one hidden layer, thinned to .3": Blocks("64-96-32", (1,) * 8, 0.3, True),
}
STRUCTURELESS = {
    "untrained": ("30-20-20-5", "64-64-32-10", "13-32-3"),
    "normal": ("40-48-40-12", "64-32-16", "20-20-20"),
    "lognormal": ("40-48-40-12", "64-32-16", "20-20-20"),
    "uneven": ("40-48-40-12", "64-32-16", "20-20-20"),
    "thinned": ("40-48-40-12", "64-32-16", "48-48-24"),
}


def row(job: Job) -> Row:
    """One row of a part."""
    part, network, seed = job
    work = {
        "stability": _stability,
        "planted": _planted,
        "structureless": _structureless,
        "large": _large,
    }
    return dict(zip(KEYS, job, strict=True)) | work[part](network, seed)


def _stability(network: str, seed: int) -> Row:
    graph = _network(network, seed)
    row: Row = {"units": graph.n}
    for method in METHODS:
        started = time.perf_counter()
        found = [find_modules(graph, seed=s, method=method) for s in range(SHUFFLE_SEEDS)]
        counts = Counter(each.modules for each in found)
        drawn = [each.significance.samples for each in found if each.significance]
        row |= {
            f"modules_{method}": [each.modules for each in found],
            f"agreement_{method}": max(counts.values()) / SHUFFLE_SEEDS,
            f"draws_{method}": drawn,
            f"seconds_{method}": (time.perf_counter() - started) / SHUFFLE_SEEDS,
        }
    return row


def _network(network: str, seed: int) -> UnitGraph:
    """A network of the stability part by its name."""
    kind, _, rest = network.partition(": ")
    if kind == "untrained":
        return untrained(rest, seed)
    if kind == "planted":
        return planted(PLANTED[rest], seed)[0]
    if kind == "modular":
        return modular(float(rest), seed)
    return unit_graph(trained(kind, seed, **SHAPES[rest]))


def trained(name: str, seed: int, hidden: Sequence[int], decay: float = 0.0, l1: float = 0.0):
    """A plain MLP trained for 600 steps on a data set of scikit-learn."""
    torch.manual_seed(seed)
    x, y, outputs = _data(name)
    model = mlp([x.shape[1], *hidden, outputs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=decay)
    lossy = nn.functional.mse_loss if name == "diabetes" else nn.functional.cross_entropy
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(600):
        at = torch.randint(len(x), (64,), generator=drawn)
        loss = lossy(model(x[at]), y[at])
        loss = loss + l1 * sum(p.abs().sum() for p in model.parameters() if p.ndim == 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _data(name: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    if name == "diabetes":
        y = torch.tensor(bunch.target, dtype=torch.float32)[:, None]
        return x, (y - y.mean()) / y.std(), 1
    return x, torch.tensor(bunch.target), int(bunch.target.max()) + 1


def modular(cross: float, seed: int) -> UnitGraph:
    """Wine and breast cancer, trained apart, in one network with random weights between them.

    Args:
        cross: deviation of the weights between, as a share of those inside.
        seed: of both trainings and of the weights between.
    """
    parts = [trained(name, seed, [24, 16]) for name in ("wine", "breast_cancer")]
    layers = [[layer.weight for layer in model if isinstance(layer, nn.Linear)] for model in parts]
    widths = [sum(w.shape[1] for w in pair) for pair in zip(*layers, strict=True)]
    joined = mlp([*widths, sum(each[-1].shape[0] for each in layers)])
    linear = [layer for layer in joined if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (a, b) in zip(linear, zip(*layers, strict=True), strict=True):
            inside = torch.block_diag(a, b)
            between = torch.block_diag(torch.ones_like(a), torch.ones_like(b)) == 0
            noise = cross * inside[~between].std() * torch.randn_like(inside)
            layer.weight.copy_(torch.where(between, noise, inside))
    return unit_graph(joined)


def planted(blocks: Blocks, seed: int) -> tuple[UnitGraph, np.ndarray]:
    """A layered graph with planted blocks, and the block of each unit."""
    rng, widths = np.random.default_rng(seed), widths_of(blocks.layers)
    ends = np.cumsum(blocks.shares) / sum(blocks.shares)
    labels = [np.searchsorted(ends, (np.arange(w) + 0.5) / w) for w in widths]
    tables = []
    for (a, b), (la, lb) in zip(pairwise(widths), pairwise(labels), strict=True):
        table = _capacities(rng, blocks.capacities, a, b)
        factor = rng.random((a, b)) < blocks.cross if blocks.is_thinned else blocks.cross
        tables.append(np.where(la[:, None] == lb, table, table * factor))
    return _layered(widths, tables), np.concatenate(labels)


def _capacities(rng: np.random.Generator, kind: str, a: int, b: int) -> np.ndarray:
    """(a, b) half-normal or lognormal capacities; with uneven units, times a factor of each."""
    if kind == "lognormal":
        return rng.lognormal(size=(a, b))
    table = np.abs(rng.standard_normal((a, b)))
    if kind == "uneven":
        table *= np.outer(rng.lognormal(0, 0.7, a), rng.lognormal(0, 0.7, b))
    return table


def _layered(widths: Sequence[int], tables: Sequence[np.ndarray]) -> UnitGraph:
    starts, edges = np.r_[0, np.cumsum(widths)], []
    for i, table in enumerate(tables):
        u, v = np.nonzero(table)
        edges.append((u + starts[i], v + starts[i + 1], table[u, v]))
    last = len(widths) - 1
    groups = [
        UnitGroup(str(i), ("input", "hidden", "output")[(i > 0) + (i == last)], *starts[i : i + 2])
        for i in range(len(widths))
    ]
    return UnitGraph.from_edges(
        int(starts[-1]), *(np.concatenate(part) for part in zip(*edges, strict=True)), groups
    )


def _planted(network: str, seed: int) -> Row:
    graph, truth = planted(PLANTED[network], seed)
    row: Row = {"ari_leiden": adjusted_rand(leiden(graph), truth)}
    for method in METHODS:
        found = find_modules(graph, method=method)
        row |= {f"ari_{method}": adjusted_rand(found.labels, truth)}
        row |= {f"modules_{method}": found.modules}
    return row


def _structureless(network: str, seed: int) -> Row:
    kind, layers = network.split(" ")
    if kind == "untrained":
        graph = untrained(layers, seed)
    else:
        capacities = "normal" if kind == "thinned" else kind
        graph, _ = planted(Blocks(layers, (1,), 1.0, capacities=capacities), seed)
        if kind == "thinned":
            graph = graph.keeping(np.random.default_rng(seed).random(graph.m) < 0.3)
    found = {f"modules_{m}": find_modules(graph, method=m).modules for m in METHODS}
    return found | {"modules_leiden": int(leiden(graph).max()) + 1}


def _large(network: str, seed: int) -> Row:
    graph, told = untrained(network, seed), []
    started = time.perf_counter()
    found = find_modules(graph, on_step=lambda done, total: told.append(time.perf_counter()))
    longest = max(b - a for a, b in pairwise([started, *told]))
    row: Row = {"units": graph.n, "edges": graph.m, "modules": found.modules}
    return row | {"seconds": time.perf_counter() - started, "longest_silence_s": longest}


def jobs(seeds: int, parts: Sequence[str]) -> list[Job]:
    """All rows of the record: one network per name in `stability`, `seeds` in the others."""
    stable = [f"{name}: {shape}" for name in DATA for shape in SHAPES]
    stable += [f"untrained: {layers}" for layers in UNTRAINED]
    stable += [f"planted: {name}" for name in list(PLANTED)[::3]]
    stable += ["modular: 0.3", "modular: 0.7"]
    none = [f"{kind} {layers}" for kind, each in STRUCTURELESS.items() for layers in each]
    every = {
        "large": [(LARGE, 2)],
        "structureless": [(name, seeds) for name in none],
        "planted": [(name, seeds) for name in PLANTED],
        "stability": [(name, 1) for name in stable],
    }
    return [
        (part, network, FIRST_SEED + i)
        for part in parts
        for network, count in every[part]
        for i in range(count)
    ]


def summary(rows: Sequence[Row]) -> str:
    """The bars of the record in words."""
    lines, of = [], {part: [r for r in rows if r["part"] == part] for part in PARTS}
    for method in (*METHODS, "leiden"):
        words = []
        if method in METHODS and of["stability"]:
            least = min(of["stability"], key=lambda r: r[f"agreement_{method}"])
            words.append(f"least agreement of {len(of['stability'])} networks "
                         f"{least[f'agreement_{method}']:.3f} ({least['network']})")  # fmt: skip
        if of["planted"]:
            words.append(f"planted ARI {mean(r[f'ari_{method}'] for r in of['planted']):.3f}")
        if of["structureless"]:
            split = sum(r[f"modules_{method}"] > 1 for r in of["structureless"])
            words.append(f"{split} of {len(of['structureless'])} structureless split")
        lines.append(f"{method}: " + "; ".join(words))
    lines += [f"{r['network']}: {r['seconds']:.1f} s" for r in of["large"]]
    return "\n".join(lines)


PARTS = ("large", "structureless", "planted", "stability")


def main() -> None:
    """Parses the arguments and makes the record, or what it lacks of it."""
    parser = study_arguments(__doc__, workers=1)
    parser.add_argument("--seeds", type=int, default=4, help="graphs per kind")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    todo = jobs(given.seeds, given.parts)
    print(summary(run_all(todo, row, given.json, KEYS, given.engine, given.workers)))


if __name__ == "__main__":
    main()
