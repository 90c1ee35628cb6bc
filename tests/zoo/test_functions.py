"""Planted functions: the network computes them, each from its own inputs alone."""

import numpy as np
import pytest

from partwise.graph import unit_graph
from partwise.zoo.functions import FAMILIES, network_of, planted


@pytest.mark.parametrize("seed", range(5))
def test_comparators_and_adders_say_what_they_do(seed):
    rng = np.random.default_rng(0)
    for family in ("comparator", "adder"):
        function = planted(family, seed)
        x = function.draw(rng, 200)
        given = np.maximum(x @ function.up.T + function.bias, 0) @ function.down
        told = eval(function.name, {}, {"x0": x[:, 0], "x1": x[:, 1]})
        assert np.abs(given - told).max() < 1e-9


def test_a_boolean_circuit_gives_one_bit_for_every_row():
    for seed in range(5):
        function = planted("boolean", seed)
        x = function.draw(np.random.default_rng(0), 200)
        given = np.maximum(x @ function.up.T + function.bias, 0) @ function.down
        assert set(given.tolist()) <= {0.0, 1.0}


def test_a_network_holds_each_function_apart():
    net = network_of([planted(family, 1) for family in FAMILIES], 1)
    x = net.samples(np.random.default_rng(0), 100)
    given = net.answers(x)
    for i, function in enumerate(net.functions):
        own = x[:, net.inputs == i]
        alone = np.maximum(own @ function.up.T + function.bias, 0) @ function.down
        np.testing.assert_allclose(given[:, i], alone, atol=1e-4)
    graph = unit_graph(net.model)
    assert (net.labels[graph.sources] == net.labels[graph.targets]).all()


def test_the_same_seed_gives_the_same_function():
    assert [planted(f, 3).name for f in FAMILIES] == [planted(f, 3).name for f in FAMILIES]
