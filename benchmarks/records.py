"""Records of a study: rows in one JSON file, made on all cores, resumed where they stopped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from partwise.files import write_json

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Has glibc keep what a step frees for the next one: giving it back to the system and asking for it
anew took half of the time of a study on two cores."""

Row = dict[str, Any]
Job = tuple[Any, ...]


def run_all(
    jobs: Sequence[Job],
    work: Callable[[Job], Row],
    path: Path,
    keys: Sequence[str],
    engine: str = "processes",
    workers: int | None = None,
) -> list[Row]:
    """Runs the jobs whose rows are not in `path` yet, and adds each row as soon as it is made.

    Args:
        jobs: one tuple per row, its fields named by `keys`.
        work: makes a row from a job; importable, so that other processes can.
        path: the record, written after every row.
        keys: names of a job's fields; a row is found again by them.
        engine: `processes` on this machine, or `ray` over a cluster.
        workers: processes at once; all cores when left out.
    """
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {tuple(row[key] for key in keys) for row in rows}
    todo = [job for job in jobs if job not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    results = _over_ray if engine == "ray" else _over_processes
    commit = machine()["commit"]
    for row in results(work, todo, workers or os.cpu_count() or 1):
        rows.append({**row, "commit": commit})
        write_json(path, {"machine": machine(), "rows": rows})
        print(" ".join(f"{k}={_short(v)}" for k, v in row.items()), flush=True)
    return rows


def machine() -> Row:
    """What the rows were made on: commit, cores, versions."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {"commit": commit, "cores": os.cpu_count(), "torch": torch.__version__}


def _single_threaded() -> None:
    torch.set_num_threads(1)


def _over_processes(work: Callable[[Job], Row], jobs: Sequence[Job], workers: int) -> Iterator[Row]:
    if workers == 1:
        _single_threaded()
        yield from map(work, jobs)
        return
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    with ProcessPoolExecutor(workers, get_context("spawn"), _single_threaded) as pool:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield future.result()


def _over_ray(work: Callable[[Job], Row], jobs: Sequence[Job], workers: int) -> Iterator[Row]:
    import ray

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cluster = "RAY_ADDRESS" in os.environ
        ray.init(**({} if cluster else {"num_cpus": workers, "include_dashboard": False}))

    @ray.remote(num_cpus=1)
    def remote(job: Job) -> Row:
        _single_threaded()
        return work(job)

    waiting = [remote.remote(job) for job in jobs]
    while waiting:
        ready, waiting = ray.wait(waiting)
        yield from ray.get(ready)


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
