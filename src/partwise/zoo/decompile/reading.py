"""Reads a network's components as steps, from its weights; sequences tell which heads copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from partwise.errors import PartwiseError
from partwise.graph import UnitMap
from partwise.zoo.decompile.components import (
    Component,
    HeadWeights,
    NeuronWeights,
    Weights,
    components_of,
)
from partwise.zoo.decompile.steps import (
    FAINT,
    SAME,
    Array,
    Codes,
    Decompiled,
    EmbeddingStep,
    HeadStep,
    Held,
    IntervalStep,
    LookupStep,
    Step,
    Written,
    coordinates,
    distinct,
    hold,
    spread,
    tolerance_of,
)

MOST_COMBINATIONS = 20_000
"""Rows of a table; neurons that read more symbols than that are not looked up."""
MOST_COPIED = 1000
"""What a head may copy, likewise."""
RELEVANT = 0.05
"""A step that moves a component by a smaller share of what the strongest does is not read by it."""
ALIKE = 0.2
"""A smaller share of how far vectors are apart is no step, and no direction of its own."""
UNSEEN = 1e-5
"""A direction and a row of weights at a smaller cosine do not see each other."""
SLIGHT = 0.5
"""Scores of less decide nothing: what a head attends to scores 8 more than what it does not."""
Key = TypeVar("Key")


class Undecompilable(PartwiseError):
    """A component does what no step can say; the message says which and why."""


@dataclass(frozen=True)
class Reading:
    """A network as steps, and which component each is."""

    decompiled: Decompiled
    components: tuple[Component, ...]


def decompile(
    model: nn.Module, units: UnitMap, labels: NDArray[np.int64], sequences: Sequence[Tensor]
) -> Reading:
    """The steps of a network.

    Args:
        model: our transformer, without normalisation.
        units: its unit map.
        labels: (n,) the module of each unit.
        sequences: (b, 1 + t) token ids, each after the start token; some for every length.

    Raises:
        Undecompilable: if some component does what no step can say.
    """
    reader = _Reader(model, [ids.numpy() for ids in sequences])
    for component in components_of(units, labels):
        for part in reader.parts(component):
            reader.add(part)
    return Reading(reader.finished(), tuple(reader.components))


@dataclass
class _Reader:
    model: nn.Module
    sequences: list[Codes]
    components: list[Component] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = Weights(self.model)
        self.held: list[dict[int, Held]] = [{} for _ in self.sequences]
        longest = max(self.sequences, key=lambda ids: ids.shape[1])
        self.start = self.weights.at_start(torch.from_numpy(longest[:64]))

    def parts(self, component: Component) -> list[Component]:
        """Neurons that read nothing in common are told apart; all else is one part."""
        if component.kind != "neurons":
            return [component]
        w = self.weights.neurons(component)
        reads = self._reads(w.up, np.linalg.norm(w.down, axis=0)).T
        return [
            replace(
                component,
                places=tuple(component.places[i] for i in own),
                units=tuple(component.units[i] for i in own),
            )
            for own in apart(reads, w.down)
        ]

    def _reads(self, rows: Array, effects: Array | None = None) -> NDArray[np.bool_]:
        """(steps, rows) which rows of weights read which step.

        Args:
            rows: (rows, width).
            effects: (rows,) how much each does; each is judged by itself then, else all together.
        """
        ranges = np.array([self._range(i, rows) for i in range(len(self.steps))])
        if effects is None:
            return ranges > RELEVANT * ranges.max(initial=0)
        most = ranges.max(0)
        return (ranges > RELEVANT * most) & (most * effects > FAINT * (most * effects).max())

    def _range(self, step: int, rows: Array) -> Array:
        """(rows,) how far a step can move each row; 0 where that is a rounding error."""
        written, moves = self.steps[step].written, self._moves(step)
        seen = moves @ rows.T
        most = np.linalg.norm(moves, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
        seen = np.where(np.abs(seen) > UNSEEN * most, seen, 0.0)
        if written.is_numeric:
            ranges: Array = (np.abs(seen) * (written.highest - written.lowest)[:, None]).sum(0)
            return ranges
        return np.asarray(np.ptp(seen, axis=0))

    def _moves(self, step: int) -> Array:
        """(symbols or numbers, width) what a step may add, beyond its reference."""
        written = self.steps[step].written
        if written.directions is not None:
            return written.directions
        return written.vectors - self._reference(step)

    def add(self, component: Component) -> None:
        """Reads the next component."""
        step = self._step(component)
        self.components.append(component)
        number = len(self.steps)
        self.steps.append(step)
        for ids, held in zip(self.sequences, self.held, strict=True):
            held[number] = hold(step, ids, held)

    def _step(self, component: Component) -> Step:
        if component.kind == "tokens":
            used = np.unique(np.concatenate([ids[:, 1:].reshape(-1) for ids in self.sequences]))
            return EmbeddingStep("tokens", used, Written(self.weights.tokens[used]))
        if component.kind == "positions":
            places = np.arange(max(ids.shape[1] for ids in self.sequences) - 1)
            return EmbeddingStep("positions", places, Written(self.weights.positions[1 + places]))
        if component.kind == "head":
            return self._head(component)
        return self._neurons(component)

    def _base(self) -> Array:
        """(width,) the residual where every step holds its reference."""
        total = np.zeros(self.weights.tokens.shape[1])
        for i, _ in enumerate(self.steps):
            total = total + self._reference(i)
        return total

    def _reference(self, step: int) -> Array:
        """(width,) the vector that a step's others are compared with."""
        return np.asarray(self.steps[step].written.vectors.mean(0))

    def _read(self, matrix: Array, effects: Array | None = None) -> dict[int, Array]:
        """What a matrix reads: step -> (symbols, rows) beyond the reference, or of each number."""
        read = self._reads(matrix, effects).any(1)
        return {i: self._moves(i) @ matrix.T for i in np.flatnonzero(read).tolist()}

    @property
    def scale(self) -> float:
        """How far the vectors of an embedding are apart."""
        return max(spread(step.written.vectors) for step in self.steps[:2])

    def _at_start(self, component: Component) -> Array:
        rows = self.start[component.block, component.kind]
        if np.abs(rows - rows[0]).max() > ALIKE * self.scale:
            raise Undecompilable(f"the start token varies before {_name(component)}")
        return rows[0]

    def _symbols(self, read: Iterable[Any], component: Component) -> None:
        for step in read:
            if self.steps[step].written.is_numeric:
                raise Undecompilable(f"{_name(component)} reads a mean where it looks or copies")

    def _deciding(
        self, tables: dict[Key, Array], least: float, component: Component
    ) -> dict[Key, Array]:
        """The tables of scores that differ by so much, none of them of a mean."""
        found = {key: table for key, table in tables.items() if np.ptp(table) > least}
        steps = [step for key in found for step in (key if isinstance(key, tuple) else (key,))]
        self._symbols(steps, component)
        return found

    def _head(self, component: Component) -> HeadStep:
        w = self.weights.head(component)
        start, base = self._at_start(component), self._base()
        always = w.query @ base + w.query_bias
        nowhere, first = w.key @ base + w.key_bias, w.key @ start + w.key_bias
        queries, keys = (
            {i: self._moves(i) @ rows.T for i, _ in enumerate(self.steps)}
            for rows in (w.query, w.key)
        )
        pairs = {(q, k): queries[q] @ keys[k].T for q in queries for k in keys}
        rows = {k: keys[k] @ always for k in keys}
        firsts = {q: queries[q] @ (first - nowhere) for q in queries}
        most = max(np.ptp(table) for each in (pairs, rows, firsts) for table in each.values())
        least = max(SLIGHT, RELEVANT * most)
        step = HeadStep(
            pairs=self._deciding(pairs, least, component),
            keys=self._deciding(rows, least, component),
            start=self._deciding(firsts, least, component),
            start_score=float(always @ (first - nowhere)),
            values={},
            start_value=np.zeros(0),
            base=np.zeros(0),
            written=Written(np.zeros((1, 0))),
            is_causal=self.weights.is_causal,
        )
        return self._with_values(step, w, start, base, component)

    def _with_values(
        self, step: HeadStep, w: HeadWeights, start: Array, base: Array, component: Component
    ) -> HeadStep:
        """The step with what it takes; whether it copies shows in the sequences."""
        moved = w.mix @ w.value
        constant = w.mix @ w.value_bias
        offered = max(self._range(i, moved).max() for i, _ in enumerate(self.steps))
        is_idle = max(offered, np.abs(moved @ (start - base)).max()) < FAINT * self.scale
        values = {} if is_idle else self._read(moved)
        self._symbols(values, component)
        combinations = np.prod([float(len(table)) for table in values.values()])
        if combinations > MOST_COPIED:
            raise Undecompilable(f"{_name(component)} copies {combinations:.0f} combinations")
        step = replace(
            step,
            values=values,
            start_value=moved @ start + constant,
            base=moved @ base + constant,
        )
        taken = [
            step.taken(held, (len(ids), ids.shape[1] - 1)).reshape(-1, len(base))
            for ids, held in zip(self.sequences, self.held, strict=True)
        ]
        if is_idle:
            return replace(step, written=Written(step.base[None]))
        return replace(step, written=_written_by_head(step, np.concatenate(taken)))

    def _neurons(self, component: Component) -> LookupStep | IntervalStep:
        w = self.weights.neurons(component)
        read = self._read(w.up, np.linalg.norm(w.down, axis=0))
        numeric = [i for i in read if self.steps[i].written.is_numeric]
        symbolic = tuple(i for i in read if i not in numeric)
        sizes = [len(self.steps[i].written.vectors) for i in symbolic]
        combinations = np.prod(np.array(sizes, float))
        if combinations > MOST_COMBINATIONS:
            raise Undecompilable(f"{_name(component)} reads {combinations:.0f} combinations")
        base = w.up @ self._base() + w.bias
        if numeric:
            return self._intervals(w, base, read, numeric, symbolic)
        total = base.reshape([1] * len(sizes) + [-1])
        for axis, i in enumerate(symbolic):
            shape = [1] * len(sizes) + [-1]
            shape[axis] = sizes[axis]
            total = total + read[i].reshape(shape)
        outputs = np.maximum(total, 0).reshape(-1, len(base)) @ w.down.T
        vectors, table = distinct(outputs, self._tolerance(outputs))
        return LookupStep(symbolic, table.reshape(sizes), Written(vectors))

    def _intervals(
        self,
        w: NeuronWeights,
        base: Array,
        read: dict[int, Array],
        numeric: list[int],
        gates: tuple[int, ...],
    ) -> IntervalStep:
        slopes = np.concatenate([read[i] for i in numeric])  # (numbers, neurons)
        factors = _one_direction(slopes)
        slope = np.linalg.pinv(factors[:, None]) @ slopes  # (1, neurons)
        written = [self.steps[i].written for i in numeric]
        low = np.concatenate([each.lowest for each in written])
        high = np.concatenate([each.highest for each in written])
        ends = np.stack([factors * low, factors * high])
        span = float(ends.min(0).sum()), float(ends.max(0).sum())
        cuts, vectors = {}, {}
        for chosen in product(*(range(len(self.steps[i].written.vectors)) for i in gates)):
            here = base + sum((read[i][s] for i, s in zip(gates, chosen, strict=True)), 0.0)
            cuts[chosen], vectors[chosen] = _pieces(slope[0], here, w.down, span)
        found = np.concatenate(list(vectors.values()))
        symbols, place = distinct(found, self._tolerance(found))
        ends_at = np.cumsum([len(each) for each in vectors.values()])[:-1]
        outcomes = dict(zip(vectors, np.split(place, ends_at), strict=True))
        merged = {each: _merged(cuts[each], outcomes[each]) for each in cuts}
        sizes = np.cumsum([self.steps[i].written.directions.shape[0] for i in numeric])[:-1]  # type: ignore[union-attr]
        return IntervalStep(
            dict(zip(numeric, np.split(factors, sizes), strict=True)),
            gates,
            {each: pair[0] for each, pair in merged.items()},
            {each: pair[1] for each, pair in merged.items()},
            Written(symbols),
        )

    def _tolerance(self, vectors: Array) -> float:
        """How far apart vectors of one symbol are; all of them where that is nothing."""
        apart_by = spread(vectors)
        return tolerance_of(vectors) if apart_by > FAINT * self.scale else apart_by + SAME

    def finished(self) -> Decompiled:
        """The steps, and what is read of them at the end."""
        matrix = self.weights.outputs
        read = self._read(matrix)
        if any(self.steps[i].written.is_numeric for i in read):
            raise Undecompilable("the outputs read a mean")
        return Decompiled(tuple(self.steps), read, matrix @ self._base())


def apart(reads: NDArray[np.bool_], down: Array) -> list[NDArray[np.int64]]:
    """Groups of neurons that have nothing in common with each other.

    Args:
        reads: (neurons, steps) which neuron reads which step.
        down: (width, neurons) what each writes; one that reads nothing joins those whose writing
            its own lies in most.

    Returns:
        The neurons of each group, ascending.
    """
    reading = np.flatnonzero(reads.any(1))
    if not len(reading):
        return [np.arange(len(reads))]
    shared = (reads[reading].astype(int) @ reads[reading].T.astype(int)) > 0
    _, group = connected_components(csr_array(shared), directed=False)
    labels = np.full(len(reads), -1)
    labels[reading] = group
    spans = [np.linalg.pinv(down[:, labels == i]) for i in range(group.max() + 1)]
    joined = labels.copy()
    for neuron in np.flatnonzero(labels < 0):
        own = down[:, neuron]
        left = [
            np.linalg.norm(own - down[:, labels == i] @ (span @ own))
            for i, span in enumerate(spans)
        ]
        joined[neuron] = int(np.argmin(left))
    return [np.flatnonzero(joined == i) for i in range(len(spans))]


def _written_by_head(step: HeadStep, taken: Array) -> Written:
    """What a head adds: one of the vectors that it finds somewhere, or means of them."""
    offered = step.base[None]
    for table in step.values.values():
        offered = (offered[:, None] + table[None]).reshape(-1, len(step.base))
    every = np.concatenate([offered, step.start_value[None]])
    tolerance = tolerance_of(every)
    vectors, _ = distinct(every, tolerance)
    found, _ = distinct(taken, tolerance / 4)
    near = np.linalg.norm(found[:, None] - vectors, axis=2).min(1)
    if near.max() <= tolerance:
        if np.linalg.norm(found - step.start_value, axis=1).min() > tolerance:
            vectors, _ = distinct(offered, tolerance)  # the start token is never copied
        return Written(vectors)
    _, strengths, directions = np.linalg.svd(vectors - vectors[0], full_matrices=False)
    directions = directions[strengths > ALIKE * strengths.max()]
    numbers = coordinates(every - vectors[0], directions)
    low, high = numbers.min(0), numbers.max(0)
    middle = vectors[0] + (low + high) / 2 @ directions
    return Written(middle[None], directions, (low - high) / 2, (high - low) / 2)


def _one_direction(slopes: Array) -> Array:
    """(numbers,) the factors of the one sum of numbers that all neurons read.

    Raises:
        Undecompilable: if they read several.
    """
    left, strengths, _ = np.linalg.svd(slopes, full_matrices=False)
    if len(strengths) > 1 and strengths[1] > ALIKE * strengths[0]:
        raise Undecompilable("neurons read several sums of means")
    factors: Array = left[:, 0] * np.sign(left[np.abs(left[:, 0]).argmax(), 0])
    return factors


def _pieces(
    slope: Array, bias: Array, down: Array, span: tuple[float, float]
) -> tuple[Array, Array]:
    """Thresholds, and the vector between any two, of neurons that read one number.

    Between kinks the sum of the neurons is linear: flat, or a step. A step is crossed half way.
    """
    turning = np.abs(slope) > UNSEEN * np.abs(slope).max()
    kinks = -bias[turning] / slope[turning]
    inside = np.unique(np.round(kinks[(kinks > span[0]) & (kinks < span[1])], 9))
    points = np.concatenate([[span[0]], inside, [span[1]]])
    values = np.maximum(points[:, None] * slope + bias, 0) @ down.T
    tolerance = max(SAME, ALIKE * spread(values))
    cuts: list[float] = []
    vectors: list[Array] = []
    for i, (a, b) in enumerate(pairwise(points)):
        if np.linalg.norm(values[i + 1] - values[i]) <= tolerance:
            if len(vectors) > len(cuts):
                cuts.append(a)
            vectors.append(values[i])
        elif len(vectors) == len(cuts) + 1:
            cuts.append((a + b) / 2)
    if not vectors:
        raise Undecompilable("neurons give no plain answer to a mean")
    return np.array(cuts[: len(vectors) - 1]), np.array(vectors)


def _merged(cuts: Array, outcomes: Codes) -> tuple[Array, Codes]:
    """Neighbouring intervals with the same outcome become one."""
    kept = np.flatnonzero(np.diff(outcomes))
    return cuts[kept], outcomes[[*kept, len(outcomes) - 1]]


def _name(component: Component) -> str:
    what = "head" if component.kind == "head" else "neurons"
    return f"{what} {component.places[0]} of block {component.block}"
