"""Numbers and lists, as the built-in writer says them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

CLEAR = 0.2  # an effect worth claiming; this and the next in nats, or shares of a variance
IDLE = 0.02  # no bound on "no effect" is tighter
TELLING = 0.6  # F1 at which a unit is said to stand for something


def digits(value: float, to_whole: Callable[[float], int]) -> float:
    """A positive number in two digits, rounded down or up."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{to_whole(value / step) * step:.2g}")


def down(share: float) -> float:
    """A share or an F1 in two digits, rounded down."""
    return max(0.01, math.floor(share * 100) / 100)


def listed(names: Sequence[str]) -> str:
    """Names as a list in prose.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]
