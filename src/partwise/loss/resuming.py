"""What every penalty needs so that a resumed run goes on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from partwise.errors import CheckpointError
from partwise.graph import UnitMap


def is_drawn(seed: int, step: int, share: float) -> bool:
    """Whether a step is among a share of the steps; depends on nothing but seed and step."""
    return bool(np.random.default_rng((seed, step)).random() < share)


def check_units(state: Mapping[str, Tensor], units: UnitMap) -> None:
    """Refuses the state of a penalty on another network.

    Raises:
        CheckpointError: if the state's labels are not one per unit.
    """
    if len(state["labels"]) != units.n:
        raise CheckpointError(
            f"the penalty's state has {len(state['labels'])} units, the model {units.n}"
        )
