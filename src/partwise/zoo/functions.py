"""Functions planted in one small MLP: each has inputs, neurons and an output of its own.

Weights are written, not trained: lookups for boolean circuits, steps for comparators, a sawtooth
for sums modulo a number, hinges for piecewise formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]
FAMILIES = ("boolean", "comparator", "adder", "piecewise")


@dataclass(frozen=True, eq=False)
class Planted:
    """A function, and the neurons that compute it.

    Attributes:
        name: what it is, in words.
        family: of `FAMILIES`.
        draw: `draw(rng, count)` gives (count, inputs) samples.
        up, bias: (neurons, inputs) and (neurons,) weights of the neurons, which have ReLU.
        down: (neurons,) weights of the output.
        constant: what is added to the output.
        is_value: whether the output is a value, and not a class number.
    """

    name: str
    family: str
    draw: Callable[[np.random.Generator, int], Array]
    up: Array
    bias: Array
    down: Array
    constant: float = 0.0
    is_value: bool = False


def planted(family: str, seed: int) -> Planted:
    """A random function of a family; the same for the same seed."""
    rng = np.random.default_rng((FAMILIES.index(family), seed))
    made = {
        "boolean": boolean_circuit,
        "comparator": comparator,
        "adder": adder,
        "piecewise": piecewise,
    }
    return made[family](rng)


def boolean_circuit(rng: np.random.Generator) -> Planted:
    """A random tree of and, or and exclusive or over four bits; a neuron for each combination."""
    signs = rng.integers(0, 2, 4)
    gates = [str(each) for each in rng.choice(["and", "or", "xor"], 3)]
    rows = np.array(list(product((0, 1), repeat=4)))
    literals = rows ^ signs
    left, right = (_gate(gates[i], literals[:, 2 * i], literals[:, 2 * i + 1]) for i in (0, 1))
    answers = _gate(gates[2], left, right)
    named = [f"{'not ' if sign else ''}x{i}" for i, sign in enumerate(signs)]
    name = f"({named[0]} {gates[0]} {named[1]}) {gates[2]} ({named[2]} {gates[1]} {named[3]})"
    on = rows[answers == 1]
    return Planted(name, "boolean", _whole(2, 4), 2.0 * on - 1, 1.0 - on.sum(1), np.ones(len(on)))


def _gate(name: str, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    return {"and": a & b, "or": a | b, "xor": a ^ b}[name]


def comparator(rng: np.random.Generator) -> Planted:
    """Whether one whole number is larger than another by more than so much."""
    most, least = int(rng.integers(6, 13)), int(rng.integers(-2, 3))
    up = np.array([[1.0, -1.0], [1.0, -1.0]])
    bias = np.array([-float(least), -least - 1.0])
    name = f"x0 - x1 > {least}"
    return Planted(name, "comparator", _whole(most, 2), up, bias, np.array([1.0, -1.0]))


def adder(rng: np.random.Generator) -> Planted:
    """The sum of two residues, modulo a number."""
    p = int(rng.integers(3, 12))
    up, bias = np.ones((3, 2)), np.array([0.0, 1.0 - p, -float(p)])
    return Planted(f"(x0 + x1) % {p}", "adder", _whole(p, 2), up, bias, np.array([1.0, -p, p]))


def piecewise(rng: np.random.Generator) -> Planted:
    """A sum of three hinges of two values, with weights of one digit."""
    up = rng.choice([-2.0, -1.0, 1.0, 2.0], (3, 2))
    bias, down = rng.integers(-3, 4, 3) / 2, rng.choice([-2.0, -1.0, 1.0, 3.0], 3)
    hinges = [
        f"{d:g} max(0, {a:g} x0 + {b:g} x1 + {c:g})"
        for (a, b), c, d in zip(up, bias, down, strict=True)
    ]
    draw = _uniform(2.0, 2)
    return Planted(" + ".join(hinges), "piecewise", draw, up, bias, down, is_value=True)


def _whole(below: int, count: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.integers(0, below, (rows, count)).astype(float)


def _uniform(most: float, count: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.uniform(-most, most, (rows, count))


@dataclass(frozen=True, eq=False)
class Network:
    """Functions in one network, side by side.

    Attributes:
        model: a layer of neurons and a layer of outputs.
        functions: what is in it; for scoring only.
        inputs: the function of each input.
        neurons: the function of each neuron.
    """

    model: nn.Sequential
    functions: tuple[Planted, ...]
    inputs: NDArray[np.int64]
    neurons: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(units,) the function of every unit: inputs, neurons, outputs."""
        return np.concatenate([self.inputs, self.neurons, np.arange(len(self.functions))])

    def samples(self, rng: np.random.Generator, count: int) -> Array:
        """(count, inputs) samples."""
        x = np.zeros((count, len(self.inputs)))
        for i, function in enumerate(self.functions):
            x[:, self.inputs == i] = function.draw(rng, count)
        return x

    @torch.no_grad()
    def answers(self, x: Array) -> Array:
        """(count, functions) what the network gives."""
        return self.model(torch.from_numpy(x).float()).double().numpy()


@torch.no_grad()
def network_of(functions: Sequence[Planted], seed: int) -> Network:
    """Functions in one network, with neurons shuffled and rescaled. Inputs of a function keep their
    order.
    """
    rng = np.random.default_rng(seed)
    inputs = rng.permutation(np.repeat(range(len(functions)), [f.up.shape[1] for f in functions]))
    order = rng.permutation(sum(len(f.up) for f in functions))
    neurons = np.repeat(range(len(functions)), [len(f.up) for f in functions])
    up, down = np.zeros((len(neurons), len(inputs))), np.zeros((len(functions), len(neurons)))
    for i, function in enumerate(functions):
        up[np.ix_(neurons == i, inputs == i)] = function.up
        down[i, neurons == i] = function.down
    scale = 2.0 ** rng.integers(-2, 3, len(neurons))
    first, last = nn.Linear(len(inputs), len(neurons)), nn.Linear(len(neurons), len(functions))
    bias = np.concatenate([f.bias for f in functions])
    for target, values in (
        (first.weight, (up * scale[:, None])[order]),
        (first.bias, (bias * scale)[order]),
        (last.weight, (down / scale)[:, order]),
        (last.bias, np.array([f.constant for f in functions])),
    ):
        target.copy_(torch.from_numpy(values))
    model = nn.Sequential(first, nn.ReLU(), last)
    return Network(model, tuple(functions), inputs, neurons[order])
