"""Which module reads which: the few directions in which an interface carries what a task needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from partwise.loss.in_force import Reads

FEWEST_MODULES = 3
"""Of two modules one may always read the other, in any network that runs in one direction."""
UNEXPLAINED = 0.1
"""Share of what masking costs too much that what is opened may leave."""
WORTH = 0.25
"""Share of an even part of the excess that a reading must save for the next to be tried."""


def opened(reads: Reads, loss_of: Callable[[Reads], float], most: float) -> Reads:
    """`reads`, and the fewest more that account for what masking costs beyond `most`, if any do.

    Greedy: at each turn what saves the most. A module reads one other on average, at most, and
    none that, by any way round, reads it: else any network could be cut up and explained.

    Args:
        reads: what may be read already.
        loss_of: held-out loss with no other interfaces than these.
        most: loss that may be left to be trained away.
    """
    k = len(reads)
    if k < FEWEST_MODULES or (loss := loss_of(reads)) <= most:
        return reads
    enough, wider = most + UNEXPLAINED * (loss - most), reads
    for left in range(k - int(reads.sum()), 0, -1):
        choices = [(loss_of(more), more) for more in _one_more(wider)]
        if not choices:
            break
        best, wider = min(choices, key=lambda choice: choice[0])
        if best <= enough:
            return wider
        if loss - best < WORTH * (loss - most) / left:
            break
        loss = best
    return reads


def carried_over(
    reads: Reads, before: NDArray[np.int64], after: NDArray[np.int64], degrees: NDArray[np.float64]
) -> Reads:
    """`reads` of the modules `before` as those of the modules `after` that succeed them.

    Nothing is read where the two partitions' modules do not correspond one to one.

    Args:
        reads: (k, k).
        before, after: (n,) labels.
        degrees: (n,) capacity at each unit.
    """
    k = len(reads)
    shared = np.zeros((int(after.max()) + 1, k))
    np.add.at(shared, (after, before), degrees)
    old = shared.argmax(1)
    if len(set(old)) < k or len(old) != k:
        return np.zeros((len(old), len(old)), bool)
    return reads[np.ix_(old, old)]


def _one_more(reads: Reads) -> list[Reads]:
    """All ways to add one reading such that no module reads, by any way round, itself."""
    reached = reads | np.eye(len(reads), dtype=bool)
    for _ in reads:
        reached = reached @ reached
    found = []
    for reader, read in np.argwhere(~reads & ~reached.T):
        more = reads.copy()
        more[reader, read] = True
        found.append(more)
    return found
