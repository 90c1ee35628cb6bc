"""What every penalty needs so that a resumed run goes on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from partwise.errors import CheckpointError
from partwise.graph import UnitMap

MANY = 1024


def is_drawn(seed: int, step: int, share: float) -> bool:
    """Whether a step is among a share of the steps; depends on nothing but seed and step."""
    return bool(_numbers(seed, step // MANY)[step % MANY] < share)


@lru_cache(maxsize=8)
def _numbers(seed: int, block: int) -> NDArray[np.float64]:
    """(MANY,) a number for each of that many steps; a generator per step would be slow."""
    return np.random.default_rng((seed, block)).random(MANY)


def check_units(state: Mapping[str, Tensor], units: UnitMap) -> None:
    """Refuses the state of a penalty on another network.

    Raises:
        CheckpointError: if the state's labels are not one per unit.
    """
    if len(state["labels"]) != units.n:
        raise CheckpointError(
            f"the penalty's state has {len(state['labels'])} units, the model {units.n}"
        )
