"""Laws of reading: what a network does decides its graph, and nothing else.

Truth is numeric (`benchmarks.dependence`): an output depends on an input where it changes with it.
"""

import copy
import random
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import (
    Call,
    Gain,
    Grower,
    LastAxis,
    Residual,
    Twice,
    Value,
    networks,
    random_network,
)
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from benchmarks.dependence import dependence
from partwise.graph import unit_graph, unit_map

seeds = st.integers(0, 2**32 - 1)


def law(examples):
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def read_and_true(network, example):
    """(outputs, inputs) reachability that the map tells, and what running the network tells."""
    units = unit_map(network, example)
    told = units.reaches(network)
    sizes = [len(group) for group in units.groups if group.kind == "input"]
    axes = [unit_axis(x, size) for x, size in zip(example, sizes, strict=True)]
    true = dependence(copy.deepcopy(network).double(), [x.double() for x in example], axes=axes)
    assert told.shape == true.shape
    return told, true


def unit_axis(x, size):
    """Channels are units, or each entry is one (a picture that is flattened before it is read)."""
    if size == x.shape[1]:
        return 1
    assert size == x[0].numel()
    return None


def explained(network, told, true):
    lost, invented = (true & ~told).nonzero(), (told & ~true).nonzero()
    return f"lost {lost.tolist()}, invented {invented.tolist()} (output, input) in\n{network}"


@law(500)
@given(networks(exact=True))
def test_an_output_is_reached_from_exactly_the_inputs_that_it_depends_on(drawn):
    network, example = drawn
    told, true = read_and_true(network, example)
    assert torch.equal(told, true), explained(network, told, true)


@law(120)
@given(networks(exact=False))
def test_no_wire_is_lost_where_units_become_one(drawn):
    network, example = drawn
    told, true = read_and_true(network, example)
    assert not (true & ~told).any(), explained(network, told, true)


def test_the_truth_holds_every_entry_of_the_jacobian():
    """A control of the truth: real activations, derivatives by autograd."""
    filled = 0
    for seed in range(60):
        network, example = random_network(seed)
        network = network.double()
        axes = [1] * len(example)
        true = dependence(network, [x.double() for x in example], axes=axes)
        inputs = tuple(torch.randn(x.shape, dtype=torch.float64) for x in example)
        columns = torch.autograd.functional.jacobian(
            lambda *x, net=network: torch.cat(_outputs(net(*x)), 1).sum(0), inputs
        )
        found = torch.cat([c.movedim(2, 1).flatten(2).abs().sum(2) for c in columns], 1) > 1e-12
        norms = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
        if not any(isinstance(m, norms) for m in network.modules()):  # their statistics couple
            assert not (found & ~true).any()
            filled += int(found.any())
    assert filled > 20


def _outputs(answer):
    if isinstance(answer, torch.Tensor):
        return [answer]
    return list(answer.values()) if isinstance(answer, dict) else list(answer)


def assert_same_graph(a, b, rtol=1e-5):
    assert a.n == b.n
    assert [(g.kind, len(g)) for g in a.groups] == [(g.kind, len(g)) for g in b.groups]
    np.testing.assert_array_equal(a.sources, b.sources)
    np.testing.assert_array_equal(a.targets, b.targets)
    np.testing.assert_allclose(a.capacities, b.capacities, rtol=rtol, atol=1e-12)


def assert_same_function(a, b, example):
    xs = [torch.randn(x.shape, dtype=x.dtype) for x in example]
    with torch.no_grad():
        pairs = zip(_outputs(a(*xs)), _outputs(b(*xs)), strict=True)
        for y, z in pairs:
            torch.testing.assert_close(y, z, rtol=1e-8, atol=1e-8)


def plain_chain(rng, activations=("relu",), norms=True):
    """Writers, BatchNorms and activations in turn, in double precision, and an example.

    Gives the layers that write, that normalise (or None) and that activate, in turns.
    """
    grower = Grower(rng)
    size = rng.choice(((), (6,), (4, 4)))
    v = Value(rng.randint(2, 4), size)
    example, turns = torch.zeros(2, v.width, *size, dtype=torch.float64), []
    for _ in range(rng.randint(2, 3)):
        if size:
            layer, v = grower.conv(v, None, keep_size=True)
            kind = (nn.BatchNorm1d, nn.BatchNorm2d)[len(size) - 1]
        else:
            (layer, v), kind = grower.linear(v), nn.BatchNorm1d
        norm = grower.batch_norm(kind, v.width) if norms and rng.random() < 0.7 else None
        activation = {
            "relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.1), "relu6": nn.ReLU6(), "silu": nn.SiLU(),
            "gelu": nn.GELU(), "tanh": nn.Tanh(), "hardswish": nn.Hardswish(),
            "none": nn.Identity(),
        }[rng.choice(activations)]  # fmt: skip
        turns.append([layer, norm, activation])
    last, _ = grower.linear(v, 3)
    turns.append([last, None, nn.Identity()])
    return turns, example


def stacked(turns):
    steps = [module for turn in turns for module in turn if module is not None]
    return nn.Sequential(*steps).double().eval()


def writes(layer):
    return layer.body if isinstance(layer, LastAxis) else layer


@law(60)
@given(seeds)
def test_rescaling_relu_units_leaves_the_balanced_graph(seed):
    rng = random.Random(seed)
    turns, example = plain_chain(rng, ("relu", "leaky"))
    model = stacked(turns)
    before, twin = unit_graph(model, example), copy.deepcopy(model)
    with torch.no_grad():
        for (layer, norm, _), (reader, _, _) in pairwise(turns):
            writer, reader = norm or writes(layer), writes(reader)
            scale = torch.rand(len(writer.weight), dtype=torch.float64) * 10 + 0.1
            writer.weight *= scale.reshape(-1, *[1] * (writer.weight.ndim - 1))
            if writer.bias is not None:
                writer.bias *= scale
            groups = getattr(reader, "groups", 1)
            per_row = scale.reshape(groups, -1).repeat_interleave(len(reader.weight) // groups, 0)
            reader.weight /= per_row.reshape(*per_row.shape, *[1] * (reader.weight.ndim - 2))
    assert_same_function(model, twin, [example])
    assert_same_graph(unit_graph(model, example), before)


@pytest.mark.parametrize("residual", [False, True])
@law(60)
@given(seed=seeds)
def test_fusing_batch_norm_leaves_the_graph(residual, seed):
    rng = random.Random(seed)
    every = ("relu", "leaky", "relu6", "silu", "gelu", "tanh", "hardswish", "none")
    turns, example = plain_chain(rng, every)
    model = stacked(turns)
    fused = stacked([[*fused_turn(layer, norm), act] for layer, norm, act in turns])
    if residual:
        model, fused = with_residual(model, example), with_residual(fused, example)
    assert_same_function(model, fused, [example])
    assert_same_graph(unit_graph(model, example), unit_graph(fused, example))


def with_residual(body, example):
    """A layer, then x + body(x), then a head, from fixed weights."""
    width = example.shape[1]
    torch.manual_seed(0)
    kinds = {2: nn.Linear, 3: lambda a, b: nn.Conv1d(a, b, 1), 4: lambda a, b: nn.Conv2d(a, b, 1)}
    kind = kinds[example.ndim]
    stem, back, head = kind(width, width), kind(3, width), kind(width, 2)
    inner = Residual(nn.Sequential(body, back), "x + f")
    return nn.Sequential(stem, inner, head).double().eval()


def fused_turn(layer, norm):
    if norm is None:
        return copy.deepcopy(layer), None
    if isinstance(layer, LastAxis):
        return LastAxis(fuse_linear_bn_eval(layer.body, norm)), None
    fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    return fuse(layer, norm), None


def written_out(module):
    """Every layer called twice as two layers with the same weights."""
    if isinstance(module, Twice):
        return nn.Sequential(module.layer, module.between, copy.deepcopy(module.layer))
    for name, child in module.named_children():
        setattr(module, name, written_out(child))
    return module


@law(60)
@given(seeds)
def test_a_layer_called_twice_is_two_layers(seed):
    rng = random.Random(seed)
    grower = Grower(rng)
    size = rng.choice(((), (5,), (4, 4)))
    first, v = grower.mix(Value(3, size), 4, keep_size=True)
    twice, v = grower.twice(v)
    steps, v = grower.chain(v, depth=1)
    last, _ = grower.linear(v, 2)
    model = nn.Sequential(first, grower.activation(v)[0], twice, *steps, last).double().eval()
    example = torch.zeros(2, 3, *size, dtype=torch.float64)
    twin = written_out(copy.deepcopy(model))
    assert_same_function(model, twin, [example])
    assert_same_graph(unit_graph(model, example), unit_graph(twin, example))


class Loop(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i + 1 < len(self.layers):
                x = torch.relu(x)
        return x


class Unrolled(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.a, self.b, self.c = layers

    def forward(self, x):
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


class Functional(nn.Module):
    def __init__(self, layers):
        super().__init__()
        a, b, c = layers
        self.w0, self.b0 = a.weight, a.bias
        self.w1, self.b1 = b.weight, b.bias
        self.w2, self.b2 = c.weight, c.bias

    def forward(self, x):
        x = F.linear(x, self.w0, self.b0).clamp(min=0)
        x = torch.relu(torch.addmm(self.b1, x, self.w1.t()))
        return x @ self.w2.T + self.b2


@law(20)
@given(seeds)
def test_loops_calls_and_operators_are_the_same_network(seed):
    grower = Grower(random.Random(seed))
    layers = [grower.thin(nn.Linear(a, b)).double() for a, b in ((4, 5), (5, 6), (6, 3))]
    example = torch.zeros(2, 4, dtype=torch.float64)
    modules = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(inplace=True), layers[2])
    graph = unit_graph(modules, example)
    for kind in (Loop, Unrolled, Functional):
        twin = kind(copy.deepcopy(layers))
        assert_same_function(modules, twin, [example])
        assert_same_graph(unit_graph(twin, example), graph)


class FunctionalConv(nn.Module):
    def __init__(self, conv, norm, head):
        super().__init__()
        self.conv, self.norm, self.head = conv, norm, head

    def forward(self, x):
        c, n = self.conv, self.norm
        x = F.conv2d(x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
        x = F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)
        x = F.relu(x)
        return F.linear(x.mean((2, 3)), self.head.weight, self.head.bias)


@law(20)
@given(seeds)
def test_functional_convolutions_are_modules(seed):
    grower = Grower(random.Random(seed))
    conv, v = grower.conv(Value(4, (4, 4)))
    norm = grower.batch_norm(nn.BatchNorm2d, v.width)
    head = grower.thin(nn.Linear(v.width, 3))
    example = torch.zeros(2, 4, 4, 4, dtype=torch.float64)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    modules = nn.Sequential(conv, norm, nn.ReLU(), *pool, head).double().eval()
    twin = FunctionalConv(*copy.deepcopy((conv, norm, head))).double().eval()
    assert_same_function(modules, twin, [example])
    assert_same_graph(unit_graph(modules, example), unit_graph(twin, example))


class Wrapper(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.held = model

    def forward(self, *args):
        return self.held(*args)


def renamed(module):
    """The same modules under other names, whose order as text is the reverse of their use."""
    for name, child in list(module.named_children()):
        if type(child) is nn.Sequential:
            steps = [renamed(step) for step in child]
            names = [f"step{9 - i}" for i in range(len(steps))]
            setattr(module, name, nn.Sequential(OrderedDict(zip(names, steps, strict=True))))
        else:
            renamed(child)
    return module


@law(80)
@given(networks(exact=True))
def test_renaming_leaves_the_graph(drawn):
    network, example = drawn
    twin = Wrapper(renamed(copy.deepcopy(network))).eval()
    assert_same_graph(unit_graph(network, example), unit_graph(twin, example))


@law(60)
@given(seeds)
def test_a_gain_is_part_of_the_weights(seed):
    """Folded into the layer that writes, or behind ReLU into the layer that reads."""
    rng = random.Random(seed)
    grower = Grower(rng)
    first, last = grower.thin(nn.Linear(4, 6)), grower.thin(nn.Linear(6, 3))
    gain = grower.gain(Value(6))[0]
    assert isinstance(gain, Gain)
    factor = 1 / gain.gain.double() if gain.divides else gain.gain.double()
    is_before = rng.random() < 0.5
    steps = [first, gain, nn.ReLU(), last] if is_before else [first, nn.ReLU(), gain, last]
    model = nn.Sequential(*steps).double().eval()
    first, last = copy.deepcopy((first, last))
    with torch.no_grad():
        if is_before:
            first.weight *= factor[:, None]
            first.bias *= factor
        else:
            last.weight *= factor
    folded = nn.Sequential(first, nn.ReLU(), last).double().eval()
    example = torch.zeros(2, 4, dtype=torch.float64)
    assert_same_function(model, folded, [example])
    a, b = unit_graph(model, example), unit_graph(folded, example)
    assert_same_graph(a, b)


@law(40)
@given(seeds)
def test_steps_that_do_nothing_leave_the_graph(seed):
    rng = random.Random(seed)
    turns, example = plain_chain(rng, ("relu", "gelu"))
    model = stacked(turns)
    idle = [
        nn.Identity(), nn.Dropout(), Call("x * 1.0", lambda x: x * 1.0),
        Call("flip twice", lambda x: x.flip(1).flip(1)),
        Call("chunks joined", lambda x: torch.cat(x.chunk(2, dim=1), 1)),
        Call("view back and forth", lambda x: x.flatten(1).view(x.shape)),
        Call("+ 0", lambda x: x + 0),
    ]  # fmt: skip
    padded = []
    for step in model:
        padded += [step, rng.choice(idle)]
    twin = nn.Sequential(*padded).double().eval()
    assert_same_function(model, twin, [example])
    assert_same_graph(unit_graph(model, example), unit_graph(twin, example))
