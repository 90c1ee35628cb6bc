"""The three formula tasks of brain-inspired modular training.

Liu, Gan and Tegmark (2023), "Seeing is believing", section 3.1: regression from inputs uniform in
[-1, 1]. The paper fits 100 samples; here samples are fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.tasks.task import Batch, Head, Split, Task

Array = NDArray[np.float64]
SPLIT_SEEDS = {"train": 0, "claims": 1, "final": 2}


def independence() -> Task:
    """(x1 + x3)³ and x2² + sin(πx4): two modules that share nothing."""
    return _formulas(
        "formulas-independence",
        ("(x1 + x3)^3", "x2^2 + sin(pi x4)"),
        lambda a, b, c, d: ((a + c) ** 3, b**2 + np.sin(np.pi * d)),
        [0, 1, 0, 1],
        [0, 1],
    )


def feature_sharing() -> Task:
    """x1², x1² + x2² and x1² + x2² + x3²: each answer needs the one before."""
    return _formulas(
        "formulas-sharing",
        ("x1^2", "x1^2 + x2^2", "x1^2 + x2^2 + x3^2"),
        lambda a, b, c: (a**2, a**2 + b**2, a**2 + b**2 + c**2),
        [0, 1, 2],
        [0, 1, 2],
    )


def compositionality() -> Task:
    """√((x1 - x2)² + (x3 - x4)²): two squares, made one at the very end."""
    return _formulas(
        "formulas-composition",
        ("distance",),
        lambda a, b, c, d: (np.sqrt((a - b) ** 2 + (c - d) ** 2),),
        [0, 0, 1, 1],
        [0],
    )


def _formulas(
    name: str,
    outputs: tuple[str, ...],
    formula: Callable[..., tuple[Array, ...]],
    true_inputs: Sequence[int],
    true_outputs: Sequence[int],
) -> Task:
    width = len(true_inputs)

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        x = rng.spawn(SPLIT_SEEDS[split] + 1)[-1].uniform(-1, 1, (size, width))
        y = np.stack(formula(*x.T), 1)
        return Batch(torch.from_numpy(x).float(), torch.from_numpy(y).float())

    return Task(
        name,
        tuple(f"x{i + 1}" for i in range(width)),
        outputs,
        tuple(Head(output, i, i + 1, "value") for i, output in enumerate(outputs)),
        sample,
        true_inputs=np.array(true_inputs),
        true_outputs=np.array(true_outputs),
    )
