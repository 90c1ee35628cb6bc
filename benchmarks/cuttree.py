"""Cut trees against every library we know: time, memory, and the same sum of values.

    python -m benchmarks.cuttree --graphs i,ii,iii,iv,v,iii_mod,iii_p99,iii_w6,hier4096,ba5000 \
        --against networkx,igraph,ortools,scipy,lemon --limit-s 60 --json FILE
    python -m benchmarks.cuttree --sweep --json FILE
    python -m benchmarks.cuttree --graph gpt2 --json FILE

Every build runs in a process of its own on one thread. Seconds are processor seconds, which on
a quiet machine are wall seconds and on a shared one still compare; so is the limit. The
memory is the peak above what the graph itself takes. Warm means a refresh after 1% noise.

Graphs (seed 0 throughout):

    i, ii, iii   MLPs 64-32-32-10, 256-128-128-10 and 784-256-256-10, weights |N(0, 1)|
    iv, iii_mod  ii and iii with four planted modules, weights between them at 1%
    v            sparse planted partition, 5,000 units in 10 parts, 50,000 edges
    iii_p99      iii, the lightest 99% of the edges pruned
    iii_w6       iii, weights to the 6th power
    hier4096     planted hierarchy of four levels of 4 parts or more, 4,096 units, 12,600 edges
    ba5000       Barabasi-Albert, 5,000 units, 5 links each
    gpt2         random GPT-2 small: 37,776 units, 85M weights on 28.4M edges; and to the power 4
    dense85m     four dense layers, 85M edges: GPT-2's weights were they all apart
    --sweep      four dense layers, 50k to 15M edges, with the fitted exponent
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Freed memory stays with the worker: pages are slow at first use on a virtual machine."""


def main() -> None:
    args = _arguments()
    if args.worker:
        print(json.dumps(measured(*args.worker)))
        return
    from benchmarks.records import write_record

    graphs, libraries = _plan(args)
    rows: list[dict[str, Any]] = []
    for graph in graphs:
        ours = None
        for library in libraries:
            row = in_process(graph, library, args.limit_s)
            ours = row if library == "partwise" else ours
            row["ratio_to_partwise"] = _ratio(row, ours)
            rows.append(row)
            print(json.dumps(row), flush=True)
            if args.json:
                write_record(args.json, rows, **conditions(rows, args))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut trees against every library we know.")
    parser.add_argument("--graphs", default="i,ii,iii,iv,v,iii_mod,iii_p99,iii_w6,hier4096,ba5000")
    parser.add_argument("--against", default="networkx,igraph,ortools,scipy,lemon")
    parser.add_argument(
        "--graph", choices=["gpt2", "dense85m"], help="a large graph, cold and warm"
    )
    parser.add_argument("--sweep", action="store_true", help="dense nets from 50k to 15M edges")
    parser.add_argument("--limit-s", type=float, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _plan(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    from benchmarks.cuttree_graphs import SWEEP

    if args.graph:
        return ["gpt2", "gpt2_p4"] if args.graph == "gpt2" else [args.graph], [
            "partwise",
            "partwise_warm",
        ]
    if args.sweep:
        return [f"dense{3 * width**2}" for width in SWEEP], ["partwise", "partwise_warm"]
    against = [name for name in args.against.split(",") if name]
    return args.graphs.split(","), ["partwise", "partwise_warm", *against]


def in_process(graph: str, library: str, limit_s: float) -> dict[str, Any]:
    """One row, measured in a process of its own that ends after `limit_s` processor seconds."""
    from benchmarks.cuttree_libraries import Unavailable, lemon_driver

    command = [sys.executable, "-m", "benchmarks.cuttree", "--worker", graph, library]
    if library == "lemon":
        with suppress(Unavailable):
            lemon_driver()
    row = {"graph": graph, "units": None, "edges": None, "library": library, "seconds": None}
    row |= {"peak_mb": None, "nontrivial_edges": None, "sum_of_values": None}
    try:
        done = subprocess.run(
            [*command, str(limit_s)],
            env=os.environ | THREADS | KEPT_MEMORY,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        return row | {"timed_out": False, "error": str(error)}
    if done.returncode == -signal.SIGXCPU or "SIGXCPU" in done.stderr:
        return row | {"seconds": limit_s, "timed_out": True}
    if done.returncode:
        return row | {"timed_out": False, "error": done.stderr.strip().splitlines()[-1]}
    return row | json.loads(done.stdout.splitlines()[-1]) | {"timed_out": False}


def measured(graph_name: str, library: str, limit_s: str) -> dict[str, Any]:
    """Build the graph, then the tree; called in the worker process."""
    from benchmarks.cuttree_graphs import GRAPHS
    from benchmarks.cuttree_libraries import LIBRARIES, Unavailable
    from partwise.cuttree.warm import compile_kernels

    graph = GRAPHS[graph_name]()
    if library.startswith("partwise"):
        compile_kernels()
    else:
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime + float(limit_s)) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (end, end + 5))
    before = _peak_mb()
    row = {"graph": graph_name, "units": graph.n, "edges": graph.m, "library": library}
    try:
        seconds, total, nontrivial, *cold = LIBRARIES[library](graph)
    except Unavailable as missing:
        return row | {"error": str(missing)}
    return row | {
        "seconds": seconds,
        "peak_mb": _peak_mb() - before,
        "nontrivial_edges": nontrivial,
        "sum_of_values": int(total) if float(total).is_integer() else total,
        **({"cold_seconds": cold[0]} if cold else {}),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ratio(row: dict[str, Any], ours: dict[str, Any] | None) -> float | None:
    if row.get("cold_seconds"):
        return float(row["seconds"] / row["cold_seconds"])
    if ours is None or not row.get("seconds") or not ours.get("seconds"):
        return None
    return float(row["seconds"] / ours["seconds"])


def conditions(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """The load of the machine, the limit, and the sweep's fitted exponent."""
    found: dict[str, Any] = {"load_average": os.getloadavg(), "limit_s": args.limit_s}
    ours = [row for row in rows if row["library"] == "partwise"]
    if args.sweep and len(ours) > 1:
        edges, seconds = (np.log([row[name] for row in ours]) for name in ("edges", "seconds"))
        found["exponent"] = float(np.polyfit(edges, seconds, 1)[0])
    return found


if __name__ == "__main__":
    main()
