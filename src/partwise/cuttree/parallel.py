"""Independent graphs in parallel threads; the tree is the same whatever their number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree.arcs import Arcs
from partwise.cuttree.flow import make_marks
from partwise.cuttree.growth import Units, solve_shelf
from partwise.cuttree.routes import make_routes
from partwise.cuttree.split import ARC_TOP, DEPTH, Shelf, copied_onto, make_shelf


def solve_in_threads(shelf: Shelf, units: Units, threads: int) -> None:
    """Solve the graphs on `shelf`, dealt out by size to `threads` threads.

    The graphs share no units, and every kernel writes only what belongs to its own units and
    tree edges, so neither the order nor the number of threads can show in the result.
    """
    with ThreadPoolExecutor(threads) as pool:
        for task in [pool.submit(_solve, part, units) for part in _dealt_out(shelf, threads)]:
            task.result()


def _solve(shelf: Shelf, units: Units) -> None:
    size = 2 * len(units.order)
    arcs = Arcs(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.empty(64, np.uint32),
        np.empty(64, np.int64),
        np.empty(64, np.uint32),
    )
    solve_shelf(arcs, make_marks(size, 2 * size + 1024, make_routes(0, 0)), shelf, units)


def _dealt_out(shelf: Shelf, threads: int) -> list[Shelf]:
    """The graphs of `shelf` on `threads` shelves, the largest first to the emptiest."""
    sizes = _arc_counts(shelf)
    parts, loads = [make_shelf() for _ in range(threads)], np.zeros(threads)
    for k in np.argsort(-sizes, kind="stable"):
        part = int(loads.argmin())
        parts[part] = copied_onto(shelf, parts[part], k)
        loads[part] += sizes[k] + 1
    return parts


def _arc_counts(shelf: Shelf) -> NDArray[np.int64]:
    begins = shelf.begin[: shelf.top[DEPTH], 0]
    return np.diff(np.r_[begins, shelf.top[ARC_TOP]])
