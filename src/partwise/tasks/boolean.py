"""Tasks over bits and residues: the retina, a tree of functions, parities, modular addition.

Every pattern of the inputs belongs to one split, so held-out patterns were never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.tasks.arrays import SHARES
from partwise.tasks.task import (
    Batch,
    Draw,
    DrawRows,
    Head,
    Rows,
    Split,
    Task,
    same_range,
    some_of,
)

Bits = NDArray[np.int64]


def retina() -> Task:
    """Whether there is an object on the left AND (OR, if a ninth input says so) on the right.

    Kashtan and Alon (2005), "Spontaneous evolution of modularity and network motifs": each 2x2
    half holds an object if it has three or four bright pixels, or one or two in its outer
    column only. Their goal varies over time; here an input says which goal is in force, so the
    task is one, and a third module reads the other two.
    """

    def answer(bits: Bits) -> Bits:
        left, right = (
            _object(bits[:, [0, 2]], bits[:, [1, 3]]),
            _object(bits[:, [5, 7]], bits[:, [4, 6]]),
        )
        return np.where(bits[:, 8] == 1, left | right, left & right)[:, None]

    names = [f"{side} pixel {r},{c}" for side in ("left", "right") for r in (0, 1) for c in (0, 1)]
    return _over_bits(
        "retina", [*names, "goal is OR"], ["answer"], answer, [0] * 4 + [1] * 4 + [2], [2]
    )


def _object(outer: Bits, inner: Bits) -> Bits:
    total = outer.sum(1) + inner.sum(1)
    return ((total >= 3) | ((outer.sum(1) >= 1) & (inner.sum(1) == 0))).astype(np.int64)


QUARTERS = np.repeat(np.arange(4), 3)


def boolean_tree() -> Task:
    """A tree of functions: four of three bits each, then two that each read two of those.

    The true modules are the halves; within each half the quarters are its true parts (see
    `boolean_tree_levels`).
    """

    def answer(bits: Bits) -> Bits:
        a, b, c = bits.reshape(-1, 4, 3).transpose(2, 0, 1)
        leaves = (a & b) ^ c
        halves = np.stack([leaves[:, 0] ^ leaves[:, 1], leaves[:, 2] ^ leaves[:, 3]], 1)
        return np.hstack([leaves, halves])

    names = [f"bit {k + 1}.{i + 1}" for k in range(4) for i in range(3)]
    outputs = [f"leaf {k + 1}" for k in range(4)] + ["first half", "second half"]
    return _over_bits("boolean-tree", names, outputs, answer, QUARTERS // 2, [0, 0, 1, 1, 0, 1])


def boolean_tree_levels() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(2, 18) true modules of inputs and outputs, coarse and fine; -1 where a level has none."""
    task = boolean_tree()
    assert task.true_inputs is not None
    assert task.true_outputs is not None
    coarse = np.r_[task.true_inputs, task.true_outputs]
    return coarse, np.r_[QUARTERS, np.arange(4), -1, -1]


def sparse_parity(tasks: int = 4, bits: int = 3) -> Task:
    """Several parities at once, each of bits of its own: as many modules as parities.

    After Michaud et al. (2023), "The quantization model of neural scaling", section 3, where
    one parity at a time is asked for.
    """

    def answer(pattern: Bits) -> Bits:
        return pattern.reshape(-1, tasks, bits).sum(2) % 2

    return _over_bits(
        "sparse-parity",
        [f"bit {k + 1}.{i + 1}" for k in range(tasks) for i in range(bits)],
        [f"parity {k + 1}" for k in range(tasks)],
        answer,
        np.repeat(np.arange(tasks), bits),
        np.arange(tasks),
    )


def modular_addition(p: int = 59) -> Task:
    """(a + b) mod p from two one-hot residues; Nanda et al. (2023), "Progress measures"."""
    order = np.random.default_rng(0).permutation(p * p)

    def shown(chosen: Bits) -> Batch:
        (a, b), size = np.divmod(chosen, p), len(chosen)
        x = np.zeros((size, 2 * p), np.float32)
        x[np.arange(size), a] = x[np.arange(size), p + b] = 1
        return Batch(torch.from_numpy(x), torch.from_numpy((a + b) % p)[:, None].float())

    sample, distinct = _draws(order, shown)

    return Task(
        "modular-addition",
        tuple(f"{name} is {i}" for name in "ab" for i in range(p)),
        tuple(f"sum is {i}" for i in range(p)),
        (Head("sum", 0, p, "classes"),),
        sample,
        ranges=same_range(2 * p, 0, 1),
        distinct=distinct,
        true_inputs=np.zeros(2 * p, np.int64),
        true_outputs=np.zeros(p, np.int64),
    )


def _over_bits(
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    answer: Callable[[Bits], Bits],
    true_inputs: Sequence[int] | Bits,
    true_outputs: Sequence[int] | Bits,
) -> Task:
    width = len(inputs)
    order = np.random.default_rng(0).permutation(2**width)

    def shown(chosen: Bits) -> Batch:
        bits = (chosen[:, None] >> np.arange(width)) & 1
        x = torch.from_numpy(2.0 * bits - 1).float()
        return Batch(x, torch.from_numpy(answer(bits)).float())

    sample, distinct = _draws(order, shown)
    return Task(
        name,
        tuple(inputs),
        tuple(outputs),
        tuple(Head(output, i, i + 1, "binary") for i, output in enumerate(outputs)),
        sample,
        distinct=distinct,
        true_inputs=np.asarray(true_inputs),
        true_outputs=np.asarray(true_outputs),
    )


def _draws(order: Bits, shown: Callable[[Bits], Batch]) -> tuple[Draw, DrawRows]:
    """Training samples and held-out rows of patterns that are split in this order."""

    def span(split: Split) -> tuple[int, int]:
        low, high = (int(share * len(order)) for share in SHARES[split])
        return low, high

    def sample(split: Split, size: int, rng: np.random.Generator) -> Batch:
        return shown(order[rng.integers(*span(split), size)])

    def distinct(split: Split, most: int, rng: np.random.Generator) -> Rows:
        low, high = span(split)
        chosen = order[low + some_of(high - low, most, rng)]
        return Rows(*shown(chosen), chosen[:, None])

    return sample, distinct
