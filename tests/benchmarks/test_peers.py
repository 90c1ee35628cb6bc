import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import partwise
from benchmarks import peers
from partwise.graph import unit_graph, unit_map
from partwise.modules import newman_q
from partwise.tasks import planted_blocks


def network(widths=(4, 6, 2), dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    a, b, c = widths
    return nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c)).to(dtype)


def line():
    """Inputs 2, outputs 2, weights 1 across and 0.5 straight."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.5, -1.0], [1.0, 0.5]]))
    return model


def test_adjacency_is_the_unit_graph():
    model = network()
    graph = unit_graph(model, balanced=False)
    table = peers.adjacency(model, unit_map(model)).detach().numpy()
    np.testing.assert_allclose(table[graph.sources, graph.targets], graph.capacities)
    assert (table == table.T).all()


def test_bimt_by_hand():
    model = line()
    units = unit_map(model)
    positions = peers.even_positions(units)
    assert positions.tolist() == [0.25, 0.75, 0.25, 0.75]
    # straight 2 * 0.5 * 0.1, across 2 * 1 * (2 * 0.5 + 0.1), over 4 entries
    assert peers.bimt_penalty(model, units, positions, 2.0).item() == pytest.approx((0.1 + 2.2) / 4)


def test_a_swap_shortens_the_wiring():
    model = line()
    units = unit_map(model)
    positions = peers.even_positions(units)
    swapped = peers.bimt_swaps(model, units, positions)
    wires = peers.adjacency(model, units).detach()
    assert peers.wiring(wires, positions) == pytest.approx(1.0)
    assert peers.wiring(wires, swapped) == pytest.approx(0.5)
    assert sorted(swapped.tolist()) == sorted(positions.tolist())


def test_swaps_never_lengthen_the_wiring():
    model = network((10, 12, 8))
    units = unit_map(model)
    wires, positions = peers.adjacency(model, units), peers.even_positions(units).double()
    for _ in range(4):
        swapped = peers.bimt_swaps(model, units, positions)
        assert peers.wiring(wires, swapped) <= peers.wiring(wires, positions) + 1e-9
        positions = swapped


def test_n_cut_counts_components():
    graph, _ = planted_blocks([6, 6], 2, 0.0)
    table = torch.zeros(12, 12, dtype=torch.float64)
    table[graph.sources, graph.targets] = torch.as_tensor(graph.capacities)
    assert peers.spectral_n_cut(table + table.T, 1).item() == pytest.approx(0, abs=1e-9)
    assert peers.spectral_n_cut(table + table.T, 2).item() > 0.1


def test_spectral_blocks_find_planted_blocks():
    graph, truth = planted_blocks([20, 20, 12], 3, 0.1)
    table = torch.zeros(52, 52, dtype=torch.float64)
    table[graph.sources, graph.targets] = torch.as_tensor(graph.capacities)
    found = peers.spectral_blocks(table + table.T, 3).numpy()
    assert (np.equal.outer(found, found) == np.equal.outer(truth, truth)).all()


def test_clusterability_by_hand():
    model = line()
    labels = torch.tensor([0, 1, 0, 1])
    # inside 2 * 0.25, outside 2 * 1
    value = peers.clusterability(model, unit_map(model), labels)
    assert value.item() == pytest.approx(0.5 / 2.5)


def test_soft_q_of_hard_memberships_is_newmans():
    model = network((6, 6, 4))
    graph = unit_graph(model, balanced=False)
    labels = np.arange(16) % 2
    logits = 50 * torch.nn.functional.one_hot(torch.as_tensor(labels), 2).double()
    loss = peers.soft_newman_q(peers.adjacency(model, unit_map(model)), logits)
    # equal clusters: sqrt(2) / 16 * |(8, 8)| - 1 = 0
    assert -loss.item() == pytest.approx(newman_q(graph, labels))


@pytest.mark.parametrize(
    "loss",
    [
        lambda w: peers.spectral_n_cut(w, 2),
        lambda w: peers.soft_newman_q(w, torch.linspace(-1, 1, 10).double().reshape(5, 2)),
    ],
)
def test_gradients_with_respect_to_capacities(loss):
    torch.manual_seed(0)
    upper = torch.rand(5, 5, dtype=torch.float64).triu(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: loss(u.triu(1) + u.triu(1).T), (upper,))


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, u: peers.bimt_penalty(m, u, peers.even_positions(u).double()),
        lambda m, u: peers.clusterability(m, u, peers.even_blocks(u, 2)),
    ],
)
def test_gradients_with_respect_to_weights(loss):
    model = network()
    units, weight = unit_map(model), model[0].weight
    (slope,) = torch.autograd.grad(loss(model, units), weight)
    for i, j in ((0, 0), (5, 3)):
        values = []
        for step in (1e-6, -2e-6, 1e-6):
            with torch.no_grad():
                weight[i, j] += step
            values.append(loss(model, units).item())
        assert slope[i, j].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_top_weights_keep_the_largest_and_their_gradient():
    model = line()
    kept = peers.top_weights(model, unit_map(model), 0.5)
    assert kept["0.weight"].tolist() == [[0, -1], [1, 0]]
    kept["0.weight"].sum().backward()
    assert model[0].weight.grad.tolist() == [[0, 1], [1, 0]]
    peers.keep_only(model, kept)
    assert model[0].weight.tolist() == [[0, -1], [1, 0]]


def test_modular_start_keeps_the_mean_of_equal_blocks():
    model = nn.Sequential(nn.Linear(4, 4))
    nn.init.ones_(model[0].weight)
    units = unit_map(model)
    started = peers.modular_start(model, units, peers.even_blocks(units, 2))["0.weight"]
    assert started[0].tolist() == pytest.approx([1.4, 1.4, 0.6, 0.6])
    assert started.mean().item() == pytest.approx(1.0)


def test_true_blocks_share_hidden_units_by_outputs():
    units = unit_map(network((4, 6, 3)))
    labels = peers.true_blocks(units, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1]))
    assert labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1]


def test_even_blocks_can_be_shuffled_within_layers():
    units = unit_map(network((4, 6, 2)))
    order = torch.Generator().manual_seed(1)
    plain, mixed = peers.even_blocks(units, 2), peers.even_blocks(units, 2, order)
    for group in units.groups:
        assert torch.equal(
            plain[group.start : group.stop].bincount(), mixed[group.start : group.stop].bincount()
        )


def test_pruning_is_gradual():
    shares = [peers.pruned_share(step, 100, 200, 0.9) for step in (0, 100, 150, 200, 300)]
    assert shares == pytest.approx([0, 0, 0.7875, 0.9, 0.9])  # 0.9 (1 - 0.5³)


def test_the_package_imports_no_peer():
    for file in Path(partwise.__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) benchmarks", text, re.MULTILINE), file
