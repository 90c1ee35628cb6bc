import numpy as np
import pytest
import torch

from partwise.capability.idle_interface import CausalInterface, Effort
from partwise.capability.language import (
    causal_language_interface,
    come_apart,
    interface_by_matrix,
    refined,
    stream_losses,
    without_interface,
    without_module,
)
from partwise.graph import UnitGraph
from partwise.graph.activity import share_graph
from partwise.graph.transformer import transformer_map
from partwise.modules import newman_q
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

ENGLISH = "it was the best of times, it was the worst of times. " * 100


@pytest.fixture(scope="module")
def corpus():
    return known_streams(("letters", "digits"), ENGLISH)


@pytest.fixture(scope="module")
def apart(corpus):
    """A network made of two halves that share no weight, and its partition."""
    model = GPT(GPTConfig(len(corpus.vocabulary), 8, 16, 4, 1))
    units = transformer_map(model)
    labels = np.zeros(units.n, np.int64)
    for group in units.groups:
        place = np.arange(len(group))
        by_half = (place >= len(group) / 2).astype(np.int64)
        is_text = group.kind == "token"
        labels[group.start : group.stop] = corpus.truth if is_text else by_half
    with torch.no_grad():
        for name, weight in without_interface(model, units, torch.from_numpy(labels)).items():
            model.get_parameter(name).copy_(weight)
    return model, units, labels


def test_a_network_of_two_halves_scores_as_such(apart, corpus):
    model, units, labels = apart
    graph = share_graph(model, units, None)
    score = come_apart(model, units, labels, graph, corpus, 8, rounds=4)
    assert (score.modules, score.token_purity, score.interface_frac) == (2, 1.0, 0.0)
    assert score.causal_interface_nats == 0
    assert score.worst_spill_frac < 0.1
    by_matrix = interface_by_matrix(model, units, torch.from_numpy(labels))
    assert set(by_matrix.values()) == {0.0}
    swapped = labels.copy()
    swapped[:10] = 1 - swapped[:10]  # ten tokens on the wrong side
    worse = come_apart(model, units, swapped, graph, corpus, 8, rounds=4)
    assert worse.token_purity < 1
    assert worse.interface_frac > 0
    by_matrix = interface_by_matrix(model, units, torch.from_numpy(swapped))
    assert by_matrix["tokens.weight"] > 0.1
    assert by_matrix["blocks.0.up.weight"] == 0
    assert worse.cut_losses != worse.losses


def test_interfaces_of_a_language_model_are_measured_in_parts_too(apart, corpus):
    model, units, labels = apart
    effort = Effort(draws=4, starts=3, steps=8)
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    def measured(partition):
        chosen = torch.from_numpy(partition)
        return causal_language_interface(model, units, chosen, corpus, 8, 64, effort)

    assert measured(labels) == CausalInterface(0.0, 0.0, 0.0, 0.0, 0)
    swapped = labels.copy()
    swapped[:10] = 1 - swapped[:10]
    found = measured(swapped)
    assert found.wires > 0
    assert found.worst > max(found.joint, found.random_high)
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())
    assert all(weight.grad is None for weight in model.parameters())


def test_refinement_brings_strays_home(apart):
    model, units, labels = apart
    graph = share_graph(model, units, None)
    strays = labels.copy()
    strays[[0, 50, 70]] = 1 - strays[[0, 50, 70]]
    assert (refined(graph, strays) == labels).all()
    whole = np.zeros_like(labels)
    assert (refined(graph, whole) == whole).all()


@pytest.mark.parametrize("seed", range(5))
def test_refinement_never_lowers_q(seed):
    rng = np.random.default_rng(seed)
    u, v = np.triu_indices(12, 1)
    graph = UnitGraph.from_edges(12, u, v, rng.random(len(u)))
    labels = rng.permutation(np.arange(12) % 3)
    assert newman_q(graph, refined(graph, labels)) >= newman_q(graph, labels)


def test_a_silenced_module_cannot_tell_its_tokens_apart(apart, corpus):
    model, units, labels = apart
    weights = without_module(model, units, torch.from_numpy(labels), 0)
    letters, digits = corpus.batch("final", 4, 8, (0,)).split(2)
    silent = torch.func.functional_call(model, weights, (letters,))
    torch.testing.assert_close(silent[0], silent[1])
    assert not torch.allclose(model(letters)[0], model(letters)[1])
    sounding = torch.func.functional_call(model, weights, (digits,))
    assert not torch.allclose(sounding[0], sounding[1])


def test_losses_are_repeatable_and_start_near_chance(apart, corpus):
    model, _, _ = apart
    first = stream_losses(model, corpus, 8, rounds=2)
    assert first == stream_losses(model, corpus, 8, rounds=2)
    chance = np.log(len(corpus.vocabulary))
    assert all(abs(value - chance) < 0.5 for value in first.values())
