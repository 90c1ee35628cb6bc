"""Records: what was run and the rows it made, in one file; studies that add rows and resume.

A kept record is a `.jsonl` file in `results/`: the first line says what made it, each further line
is a row. A study with too many rows for one file has a folder instead, with a file for each value
of its rows' first field. Any other file is for a caller: one JSON object, with the rows in `rows`
and what made them beside. Numbers have six significant digits in all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from partwise.files import write_json, write_text

RESULTS = Path(__file__).parent / "results"
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Has glibc keep what a step frees for the next one: giving it back to the system and asking for it
anew took half of the time of a study on two cores."""

Row = dict[str, Any]
Job = tuple[Any, ...]


class Record(NamedTuple):
    """What made a record (command, date, machine, settings), and its rows."""

    head: Row
    rows: list[Row]


def read_record(path: Path) -> Record:
    """The record in a file or folder; empty where there is none."""
    if path.is_dir():
        parts = [read_record(part) for part in sorted(path.iterdir())]
        return Record(parts[0].head, [row for part in parts for row in part.rows])
    if not path.exists():
        return Record({}, [])
    text = path.read_text(encoding="utf-8")
    if not is_kept(path):
        head = json.loads(text)
        return Record(head, head.pop("rows"))
    rows = [json.loads(line) for line in text.splitlines()]
    return Record(rows.pop(0) if rows and "command" in rows[0] else {}, rows)


def read_rows(path: Path) -> list[Row]:
    """The rows of a record; none where there is no record."""
    return read_record(path).rows


def write_record(path: Path, rows: Iterable[Row], **study: Any) -> None:
    """Writes a record anew, atomically; `study` goes beside what made it."""
    _write(path, Record(rounded(made_by() | study), [rounded(row) for row in rows]))


def append_row(path: Path, row: Row, left_out: Sequence[str] = (), **study: Any) -> Row:
    """Adds a row to a record, atomically: whole or not at all. Begins the record if there is none.

    Args:
        path: the record.
        row: its first field says which file it goes to, where the record is a folder.
        left_out: fields that are too long for a record that is kept, or that nothing reads.
        study: fields to begin the record with.

    Returns:
        The row as it is in the record.
    """
    file = path if path.suffix else path / f"{next(iter(row.values()))}.jsonl"
    head, rows = read_record(file)
    row = {k: v for k, v in rounded(row).items() if k not in left_out or not is_kept(file)}
    _write(file, Record(head or rounded(made_by() | study), [*rows, row]))
    return row


def write_result(path: Path, result: Row) -> None:
    """Writes the single result of a benchmark: the row of a record, or the object for a caller."""
    if is_kept(path):
        write_record(path, [result])
    else:
        write_json(path, rounded(result))


def is_kept(path: Path) -> bool:
    """Whether a path is that of a record to keep, and not of a file for a caller."""
    return path.suffix in (".jsonl", "")


def _write(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_kept(path):
        write_json(path, {**record.head, "rows": record.rows})
        return
    lines = [_line(each) for each in (record.head, *record.rows) if each]
    write_text(path, "".join(lines))


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def rounded(value: Any) -> Any:
    """A row, or what is in it, with numbers of six significant digits.

    >>> rounded({"loss": 0.12345678, "each": [1234567.8, 7654321]})
    {'loss': 0.123457, 'each': [1234570.0, 7654321]}
    """
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def made_by() -> Row:
    """The command that runs, the day, and the machine."""
    main = sys.modules["__main__"].__spec__
    name = ["-m", main.name] if main else [Path(sys.argv[0]).name]
    command = shlex.join(["python", *name, *sys.argv[1:]])
    return {"command": command, "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()}


def machine() -> Row:
    """What rows are made on: commit, processor, cores, threads of torch, versions."""
    return {
        "commit": _commit(),
        "processor": f"{platform.machine()}, {_processor()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _commit() -> str:
    git = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def study_arguments(about: str, workers: int | None = None) -> argparse.ArgumentParser:
    """What every study that `run_all` runs can be told: where the record is, and on what to run."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="the record, or a caller's file")
    parser.add_argument("--engine", choices=("processes", "ray"), default="processes")
    parser.add_argument("--workers", type=int, default=workers, help="processes at once; all cores")
    return parser


def run_all(
    jobs: Sequence[Job],
    work: Callable[[Job], Row],
    path: Path,
    keys: Sequence[str],
    engine: str = "processes",
    workers: int | None = None,
    left_out: Sequence[str] = (),
) -> list[Row]:
    """Runs the jobs whose rows are not in `path` yet, and adds each row as soon as it is made.

    Args:
        jobs: one tuple per row, its fields named by `keys`.
        work: makes a row from a job; importable, so that other processes can.
        path: the record, written after every row.
        keys: names of a job's fields; a row is found again by them.
        engine: `processes` or `threads` on this machine, or `ray` over a cluster.
        workers: jobs at once; all cores when left out.
        left_out: fields that a record to keep does without.
    """
    rows = read_rows(path)
    done = {tuple(row[key] for key in keys) for row in rows}
    todo = [job for job in jobs if job not in done]
    commit = _commit()
    for row in ENGINES[engine](work, todo, workers or os.cpu_count() or 1):
        rows.append(append_row(path, {**row, "commit": commit}, left_out))
        print(told(rows[-1]), flush=True)
    return rows


def told(row: Row) -> str:
    """A row in one line, without what is in lists.

    >>> told({"seed": 3, "loss": 0.123457, "sizes": [1, 2]})
    'seed=3 loss=0.1235'
    """
    shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
    return " ".join(f"{k}={v}" for k, v in shown.items() if not isinstance(v, list | dict))


def _single_threaded() -> None:
    torch.set_num_threads(1)


def _over_processes(work: Callable[[Job], Row], jobs: Sequence[Job], workers: int) -> Iterator[Row]:
    if workers == 1:
        _single_threaded()
        yield from map(work, jobs)
        return
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    yield from _over(
        ProcessPoolExecutor(workers, get_context("spawn"), _single_threaded), work, jobs
    )


def _over_threads(work: Callable[[Job], Row], jobs: Sequence[Job], workers: int) -> Iterator[Row]:
    return _over(ThreadPoolExecutor(workers), work, jobs)


def _over(pool: Executor, work: Callable[[Job], Row], jobs: Sequence[Job]) -> Iterator[Row]:
    with pool:
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


ENGINES = {"processes": _over_processes, "threads": _over_threads, "ray": _over_ray}
