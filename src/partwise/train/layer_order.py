"""The order of a file's layers: from the numbers in their names, else from their shapes.

A state dict does not say in which order its layers run, and safetensors files do not even keep
the order they were written in. So a guess is never made: either the names or the shapes leave one
order, or it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from partwise.errors import CheckpointError

SEARCH_STEPS = 100_000
"""Layers that the search for an order may try; beyond that the order counts as untold."""

Widths = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class LayerOrder:
    """Layers in the order they run, and what tells it: 'names', 'shapes' or 'the option'."""

    layers: tuple[str, ...]
    told_by: str


def order_of_layers(widths: Widths, source: str, given: Sequence[str] | None = None) -> LayerOrder:
    """The one order in which layers can run.

    Numbers in names are an order wherever two names are alike before them (`fc2`, `fc10`;
    `net.0`, `net.2`). Where that leaves more than one order, shapes decide, if they leave one.

    Args:
        widths: layer -> units it reads, units it writes.
        source: what messages call the file.
        given: the order, where the user says it.

    Raises:
        CheckpointError: if no order fits the shapes, more than one does, or `given` is none.

    >>> order_of_layers({"fc10": (2, 2), "fc2": (2, 2)}, "m").layers
    ('fc2', 'fc10')
    >>> order_of_layers({"hidden": (5, 6), "input": (4, 5), "output": (6, 2)}, "m").layers
    ('input', 'hidden', 'output')
    """
    if given is not None:
        _refuse_other_names(given, widths, source)
        _refuse_misfits(given, widths, source)
        return LayerOrder(tuple(given), "the option")
    named = sorted(widths, key=natural)
    if all(_precedes(a, b) for a, b in combinations(named, 2)):
        _refuse_misfits(named, widths, source)
        return LayerOrder(tuple(named), "names")
    found, finished = _orders(named, widths)
    if not found and finished:
        raise CheckpointError(
            f"{source}: no order of its layers is one chain ({_shapes(named, widths)}); a network "
            "with branches needs .pt2 or .onnx, or Python"
        )
    if len(found) == 1 and finished:
        return LayerOrder(found[0], "shapes")
    either = f" ({chain_words(found[0])}; or {chain_words(found[1])})" if len(found) > 1 else ""
    raise CheckpointError(
        f"{source}: the names of its layers do not tell their order, and more than one fits their "
        f"shapes{either}; name them in the order they run: "
        f"--layers {','.join(found[0] if found else named)}"
    )


def natural(name: str) -> list[tuple[int, str]]:
    """A sorting key under which numbers in names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _parts(name)]


def numbers(name: str) -> tuple[int, ...]:
    """The numbers in a name."""
    return tuple(int(part) for part in _parts(name)[1::2])


def _parts(name: str) -> list[str]:
    """Text and numbers in turn, text first."""
    return re.split(r"([0-9]+)", name)


def _precedes(a: str, b: str) -> bool:
    """Whether names tell that `a` runs before `b`: alike up to a smaller number."""
    for i, (x, y) in enumerate(zip(_parts(a), _parts(b), strict=False)):
        if i % 2 and int(x) != int(y):
            return int(x) < int(y)
        if i % 2 == 0 and x != y:
            return False
    return False


def _orders(layers: Sequence[str], widths: Widths) -> tuple[list[tuple[str, ...]], bool]:
    """Up to two orders that fit names and shapes, and whether the search came to its end."""
    if not _can_be_one_chain(widths):
        return [], True
    before = {b: {a for a in layers if _precedes(a, b)} for b in layers}
    found: list[tuple[str, ...]] = []
    steps = 0
    stack: list[tuple[str, ...]] = [()]
    while stack and len(found) < 2:
        steps += 1
        if steps > SEARCH_STEPS:
            return found, False
        chain = stack.pop()
        if len(chain) == len(layers):
            found.append(chain)
            continue
        placed = set(chain)
        width = widths[chain[-1]][1] if chain else None
        nexts = [b for b in layers if b not in placed and before[b] <= placed]
        stack += [(*chain, b) for b in reversed(nexts) if width is None or widths[b][0] == width]
    return found, True


def _can_be_one_chain(widths: Widths) -> bool:
    """Euler's condition: each width but the two ends is read as often as it is written."""
    balance: dict[int, int] = {}
    for reads, writes in widths.values():
        balance[reads] = balance.get(reads, 0) + 1
        balance[writes] = balance.get(writes, 0) - 1
    return sum(abs(b) for b in balance.values()) <= 2


def _refuse_other_names(given: Sequence[str], widths: Widths, source: str) -> None:
    twice = sorted({name for name in given if given.count(name) > 1})
    unknown = [name for name in given if name not in widths]
    missing = [name for name in sorted(widths, key=natural) if name not in given]
    if unknown or missing or twice:
        raise CheckpointError(
            f"{source}: --layers must name each layer once: missing {missing or 'nothing'}, "
            f"unknown {unknown or 'nothing'}, twice {twice or 'nothing'}"
        )


def _refuse_misfits(layers: Sequence[str], widths: Widths, source: str) -> None:
    for a, b in pairwise(layers):
        if widths[a][1] != widths[b][0]:
            raise CheckpointError(
                f"{source}: layer {a} writes {widths[a][1]} units, but layer {b} reads "
                f"{widths[b][0]}; --layers gives another order, and a network with branches needs "
                ".pt2 or .onnx"
            )


def _shapes(layers: Sequence[str], widths: Widths) -> str:
    some = [f"{name} {widths[name][0]} to {widths[name][1]}" for name in layers[:6]]
    return ", ".join(some) + (f" and {len(layers) - 6} more" if len(layers) > 6 else "")


def chain_words(layers: Sequence[str]) -> str:
    """Layers in order, the middle of a long list left out."""
    if len(layers) > 8:
        layers = [*layers[:4], "...", *layers[-2:]]
    return " -> ".join(layers)
