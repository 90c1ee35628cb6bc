"""Compiles programs to transformers.

1. Every operation gets a block: the earliest that comes after what it reads.
2. Every operation gets residual channels of its own: one for each value (one-hot), or one number.
3. The embeddings write the tokens and positions; the start token has a channel of its own.
4. A head scores a key by the number of conditions that hold; the start token by half a condition
   less than all, so that it is looked at where nothing is selected.
5. Neurons look values up (one neuron for each combination) or compare a number with thresholds.
6. The output layer reads the channels of the answer; at the start token, it says just that.

What an operation writes at the start token is known beforehand, and every reader subtracts it.
The design is Tracr's (Lindner et al. 2023); preferences, gates and defaults are additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph import units_of
from partwise.zoo.language import (
    Digitise,
    Fetch,
    Map,
    Operation,
    Positions,
    Program,
    Share,
    Tokens,
)
from partwise.zoo.transformer import Block, SequenceTransformer, TransformerConfig
from partwise.zoo.truth import Component, Truth

START = "^"
SHARP = 60.0
"""Score of a condition that holds; a head ignores what scores 30 less: a share of 1e-13."""
CONFIDENT = 10.0
"""Logit of the answer; that of other tokens is 0."""
STEP = 30.0
"""Score between two preferences."""
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program as a network.

    Attributes:
        model: gives logits for (b, 1 + t) token ids, the first of them the start token's.
        vocabulary: text of every token.
        truth: which part does what; for scoring only.
    """

    model: SequenceTransformer
    vocabulary: tuple[str, ...]
    truth: Truth


def compiled(program: Program) -> Compiled:
    """The network that computes a program."""
    plan = _Plan(program)
    model = SequenceTransformer(plan.config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
        _write_embeddings(plan, model)
        for operation in program.operations:
            if isinstance(operation, Fetch | Share):
                _write_head(plan, model, operation)
            elif isinstance(operation, Map):
                _write_lookup(plan, model, operation)
            elif isinstance(operation, Digitise):
                _write_thresholds(plan, model, operation)
        _write_outputs(plan, model)
    return Compiled(model.eval(), plan.vocabulary, _truth(plan, model))


class _Plan:
    """Which operation is where: block, head or neurons, and residual channels."""

    def __init__(self, program: Program):
        self.program = program
        self.operations = program.operations
        texts = (*program.texts, *(str(value) for value in program.output.domain))
        self.vocabulary = (START, *dict.fromkeys(texts))
        self.time: dict[int, int] = {}
        for operation in self.operations:
            self.time[id(operation)] = self._earliest(operation)
        self.blocks = 1 + max(self.time.values()) // 2
        self.channels = self._channels()
        self.width = 1 + sum(_size(each) for each in self.operations)
        self.place = self._places()
        self.config = self._config()

    def _earliest(self, operation: Operation) -> int:
        """Twice the block, and one more for neurons; -1 for what the embeddings write."""
        if isinstance(operation, Tokens | Positions):
            return -1
        after = 1 + max([-1, *(self.time[id(source)] for source in operation.sources)])
        is_head = isinstance(operation, Fetch | Share)
        return after + (after % 2 == is_head)

    def _channels(self) -> dict[int, slice]:
        """Channel 0 is the start token's."""
        stops = list(accumulate((_size(each) for each in self.operations), initial=1))
        return {
            id(each): slice(start, start + _size(each))
            for each, start in zip(self.operations, stops[:-1], strict=True)
        }

    def _places(self) -> dict[int, slice]:
        """Heads (one) or neurons of every operation, within its block."""
        used: dict[int, int] = {}
        found = {}
        for each in self.operations:
            time, count = self.time[id(each)], _unit_count(each)
            first = used.get(time, 0)
            found[id(each)] = slice(first, first + count)
            used[time] = first + count
        self.used = used
        return found

    def _config(self) -> TransformerConfig:
        blocks = range(self.blocks)
        heads = [each for each in self.operations if isinstance(each, Fetch | Share)]
        return TransformerConfig(
            vocabulary=len(self.vocabulary),
            context=1 + self.program.longest,
            width=self.width,
            heads=max([1, *(self.used.get(2 * block, 0) for block in blocks)]),
            head_width=max([1, *(_head_width(each) for each in heads)]),
            neurons=tuple(max(1, self.used.get(2 * block + 1, 0)) for block in blocks),
            causal=self.program.is_causal,
        )

    def block_of(self, model: SequenceTransformer, operation: Operation) -> Block:
        """The block that computes an operation."""
        return cast(Block, model.blocks[self.time[id(operation)] // 2])

    def at_start(self, operation: Operation) -> Matrix:
        """(channels,) what an operation writes at the start token."""
        written = np.zeros(_size(operation))
        if isinstance(operation, Fetch) and operation.default is not None:
            written[operation.domain.index(operation.default)] = 1
        if isinstance(operation, Share) and operation.start is not None:
            written[0] = operation.start
        return written

    def reading(self, operation: Operation) -> Matrix:
        """(channels, width) reads an operation's channels, with 0 at the start token."""
        matrix = np.zeros((_size(operation), self.width))
        matrix[:, self.channels[id(operation)]] = np.eye(_size(operation))
        matrix[:, 0] = -self.at_start(operation)
        return matrix


def _size(operation: Operation) -> int:
    return 1 if isinstance(operation, Share) else len(operation.domain)


def _unit_count(operation: Operation) -> int:
    if isinstance(operation, Map):
        return len(operation.table)
    if isinstance(operation, Digitise):
        return sum(1 + 2 * len(cuts) for cuts in operation.cuts)
    return 1


def _head_width(operation: Fetch | Share) -> int:
    looking = 2 + sum(len(term.keys.domain) for term in operation.selector.terms)
    return max(looking, _size(operation))


def _write_embeddings(plan: _Plan, model: SequenceTransformer) -> None:
    model.tokens.weight[0, 0] = 1
    for each in plan.operations:
        channels = plan.channels[id(each)]
        if isinstance(each, Tokens):
            model.tokens.weight[1 : 1 + len(each.domain), channels] = torch.eye(len(each.domain))
        if isinstance(each, Positions):
            model.positions.weight[1:, channels] = torch.eye(plan.program.longest, len(each.domain))


def _write_head(plan: _Plan, model: SequenceTransformer, operation: Fetch | Share) -> None:
    block = plan.block_of(model, operation)
    width = plan.config.head_width
    first = plan.place[id(operation)].start * width
    queries, keys, bias = _scores(plan, operation)
    rows = slice(first, first + len(keys))
    block.query.weight[rows] = _tensor(queries * width**0.5)
    block.query.bias[rows] = _tensor(bias * width**0.5)
    block.key.weight[rows] = _tensor(keys)
    values = _written(plan, operation)
    rows = slice(first, first + len(values))
    block.value.weight[rows] = _tensor(values)
    block.mix.weight[plan.channels[id(operation)], rows] = torch.eye(len(values))


def _scores(plan: _Plan, operation: Fetch | Share) -> tuple[Matrix, Matrix, Matrix]:
    """(channels, width) queries and keys, and (channels,) what is added to the queries."""
    selector, preference = operation.selector, operation.selector.preference
    highest = 0.0 if preference is None else STEP * float(preference.numbers.max())
    sharp = max(SHARP, 2 * (highest + STEP))
    queries = [sharp * term.table.T @ plan.reading(term.queries) for term in selector.terms]
    keys = [plan.reading(term.keys) for term in selector.terms]
    always, at_start = np.zeros((2, 1, plan.width))
    if preference is not None:
        always += STEP * preference.numbers @ plan.reading(preference.keys)
    takes_part = isinstance(operation, Share) and operation.start is not None
    always[0, 0] += sharp * (len(selector.terms) - (0 if takes_part else 0.5))
    at_start[0, 0] = 1  # the start token looks at itself, whatever its rivals score
    bias = np.zeros(sum(len(part) for part in keys) + 2)
    bias[-2] = 1
    only_start = np.zeros((1, plan.width))
    only_start[0, 0] = 4 * sharp
    return (
        np.concatenate([*queries, np.zeros((1, plan.width)), only_start]),
        np.concatenate([*keys, always, at_start]),
        bias,
    )


def _written(plan: _Plan, operation: Fetch | Share) -> Matrix:
    """(channels, width) what is copied or averaged from every position."""
    written = np.zeros((_size(operation), plan.width))
    if isinstance(operation, Fetch):
        place = [operation.domain.index(value) for value in operation.values.domain]
        written[place] = plan.reading(operation.values)
    elif operation.values is not None:
        written[0] = operation.numbers @ plan.reading(operation.values)
    written[:, 0] += plan.at_start(operation)
    return written


def _write_lookup(plan: _Plan, model: SequenceTransformer, operation: Map) -> None:
    """A neuron for each combination of values: on at 1 where all are there, else off."""
    block = plan.block_of(model, operation)
    neurons = plan.place[id(operation)]
    read = [plan.reading(each) for each in operation.inputs]
    sizes = [len(each.domain) for each in operation.inputs]
    combinations = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), 1)
    for matrix, chosen in zip(read, combinations.T, strict=True):
        block.up.weight[neurons] += _tensor(matrix[chosen])
    block.up.bias[neurons] = 1 - len(read)
    outcomes = [operation.domain.index(value) for value in operation.table.values()]
    written = np.eye(_size(operation))[outcomes].T
    block.down.weight[plan.channels[id(operation)], neurons] = _tensor(written)


def _write_thresholds(plan: _Plan, model: SequenceTransformer, operation: Digitise) -> None:
    """For each gate: a neuron for the lowest interval, and two for the step at each threshold."""
    block = plan.block_of(model, operation)
    neuron = plan.place[id(operation)].start
    channels = plan.channels[id(operation)]
    number = sum(factor * plan.reading(share)[0] for factor, share in operation.numbers)
    onehot = torch.eye(_size(operation))
    for i, (cuts, outcomes) in enumerate(zip(operation.cuts, operation.outcomes, strict=True)):
        steep = _steepness(cuts)
        closed = np.zeros(plan.width)  # 0 where the gate is open, else 1
        closed[0] = 1
        gate_bias = 0.0
        if operation.gate is not None:
            closed = -plan.reading(operation.gate)[i]
            gate_bias = 1.0
        levels = [onehot[operation.domain.index(value)] for value in outcomes]
        block.up.weight[neuron] = _tensor(-closed)
        block.up.bias[neuron] = 1 - gate_bias
        block.down.weight[channels, neuron] = levels[0]
        for cut, below, above in zip(cuts, levels, levels[1:], strict=False):
            for offset, sign in ((0.5, 1), (-0.5, -1)):
                neuron += 1
                far = 4 * steep * max(1, *map(abs, cuts))
                block.up.weight[neuron] = _tensor(steep * number - far * closed)
                block.up.bias[neuron] = offset - steep * cut - far * gate_bias
                block.down.weight[channels, neuron] = sign * (above - below)
        neuron += 1


def _steepness(cuts: tuple[float, ...]) -> float:
    """So steep that a step is over half way to the nearest number that is told apart."""
    gaps = [b - a for a, b in pairwise(cuts)]
    return 4 / min([*gaps, 0.2])


def _write_outputs(plan: _Plan, model: SequenceTransformer) -> None:
    output = plan.program.output
    tokens = [plan.vocabulary.index(str(value)) for value in output.domain]
    model.outputs.weight[0, 0] = CONFIDENT  # at the start token, itself
    model.outputs.weight[tokens] = _tensor(CONFIDENT * plan.reading(output))


def _tensor(values: Matrix) -> Tensor:
    return torch.from_numpy(np.asarray(values)).float()


def _truth(plan: _Plan, model: nn.Module) -> Truth:
    units = units_of(model)
    groups = {(group.kind, _block_of(group.name)): group.start for group in units.groups}
    position = {id(each): i for i, each in enumerate(plan.operations)}
    components = []
    for each in plan.operations:
        place, channels = plan.place[id(each)], plan.channels[id(each)]
        block = plan.time[id(each)] // 2
        kind = _kind(each)
        first = {"head": "head", "neurons": "neuron", "embedding": "token"}[kind]
        start = groups[first, block if kind != "embedding" else -1]
        held = range(start + place.start, start + place.stop)
        if kind == "embedding":
            held = (
                range(start, start + len(plan.vocabulary)) if isinstance(each, Tokens) else range(0)
            )
        residual = groups["residual", -1]
        written = list(range(residual + channels.start, residual + channels.stop))
        if isinstance(each, Tokens):
            written.insert(0, residual)  # the start token's channel
        reads = sorted({position[id(source)] for source in each.sources})
        components.append(
            Component(
                each.role,
                kind,
                -1 if kind == "embedding" else block,
                tuple(held),
                tuple(written),
                tuple(reads),
            )
        )
    return Truth(tuple(components), position[id(plan.program.output)], units.n)


def _kind(operation: Operation) -> str:
    if isinstance(operation, Tokens | Positions):
        return "embedding"
    return "head" if isinstance(operation, Fetch | Share) else "neurons"


def _block_of(name: str) -> int:
    """The block in a group's name, such as 3 in `blocks.3.mlp`; -1 where there is none."""
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" else -1
