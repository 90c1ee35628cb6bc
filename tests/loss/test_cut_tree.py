import copy

import numpy as np
import pytest
import torch
from torch import nn

from partwise.errors import CheckpointError
from partwise.graph import unit_map
from partwise.interventions.masks import masked_weights
from partwise.loss import CutTreePenalty, l1_penalty
from partwise.loss.press import Pressure
from partwise.modules import newman_q
from partwise.tasks import planted_blocks


def network(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    return model.to(dtype)


def in_force(model, labels, **fields):
    penalty = CutTreePenalty(model, start=0, ramp=0, mask_share=0, **fields)
    penalty.refresh()
    penalty.set_labels(torch.as_tensor(labels))
    penalty.state.step = 1  # between refreshes, at full strength
    return penalty


LABELS = np.arange(26) % 2


def test_refreshes_become_rarer_while_the_partition_stands_still():
    penalty = CutTreePenalty(network(), start=10, refresh_every=4, find=lambda graph: LABELS)
    refreshed = []
    for step in range(60):
        due = penalty.finder.due
        penalty()
        if penalty.finder.due != due:
            refreshed.append(step)
    assert refreshed == [10, 14, 22, 38]


def test_whole_penalty_against_finite_differences():
    model = network()
    penalty = in_force(model, LABELS)
    weight = model[2].weight
    (slope,) = torch.autograd.grad(strengthless(penalty), weight)
    for i, j in ((0, 0), (3, 5), (7, 2)):
        with torch.no_grad():
            weight[i, j] += 1e-6
            above = strengthless(penalty)
            weight[i, j] -= 2e-6
            below = strengthless(penalty)
            weight[i, j] += 1e-6
        assert slope[i, j].item() == pytest.approx((above - below).item() / 2e-6, rel=1e-4)


def strengthless(penalty):
    return penalty.capacity.pressed(Pressure(disorder=1.0))


def test_penalty_is_one_minus_q_of_the_graph():
    model = network()
    penalty = in_force(model, LABELS)
    graph = penalty.units.graph(model, gauge=penalty.capacity.gauge)
    assert penalty().item() == pytest.approx(1 - newman_q(graph, LABELS))


def test_shrinking_all_weights_gains_nothing():
    model = network()
    before = in_force(model, LABELS)().item()
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight *= 0.1
    assert in_force(model, LABELS)().item() == pytest.approx(before)


def test_rescaling_relu_units_leaves_penalty_and_modules_unchanged():
    model = network()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for a, b in ((0, 2), (2, 4)):
            scale = torch.rand(8, dtype=torch.float64) * 5 + 0.2
            other[a].weight *= scale[:, None]
            other[a].bias *= scale
            other[b].weight /= scale
    assert in_force(other, LABELS)().item() == pytest.approx(
        in_force(model, LABELS)().item(), rel=1e-5
    )
    found = [CutTreePenalty(m, min_gain=0.0) for m in (model, other)]
    for each in found:
        each.refresh()
    assert torch.equal(found[0].labels, found[1].labels)


def test_descending_the_penalty_shrinks_the_interface():
    model = network(dtype=torch.float32)
    penalty = in_force(model, LABELS, refresh_every=10**6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = penalty.interface_frac()
    for _ in range(200):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert penalty.interface_frac() < 0.2 * before


def test_penalty_is_silent_before_its_start_and_without_strength():
    model = network()
    assert CutTreePenalty(model, start=5)().item() == 0
    idle = CutTreePenalty(model, strength=0.0, start=0)
    assert idle().item() == 0
    assert idle.modules == 1


def test_strength_ramps_up():
    penalty = CutTreePenalty(network(), strength=2.0, start=10, ramp=10)
    weights = []
    for step in (0, 10, 15, 20, 50):
        penalty.state.step = step
        weights.append(penalty.controller.weight)
    assert weights == [0, 0, 1.0, 2.0, 2.0]


def test_masking_removes_the_interface_and_nothing_else():
    model, labels = network(), torch.as_tensor(LABELS)
    units = unit_map(model)
    masked = masked_weights(model, units, labels)
    for block in units.blocks:
        rows, columns = block.pick(labels)
        weight = dict(model.named_parameters())[block.parameter]
        assert (masked[block.parameter][rows != columns] == 0).all()
        assert torch.equal(masked[block.parameter][rows == columns], weight[rows == columns])


def test_masking_a_pair_spares_other_interfaces():
    model, labels = network(), torch.as_tensor(np.arange(26) % 3)
    masked = masked_weights(model, unit_map(model), labels, pair=(0, 1))
    weight, got = model[0].weight, masked["0.weight"]
    rows, columns = labels[6:14][:, None], labels[:6][None]
    cut = ((rows == 0) & (columns == 1)) | ((rows == 1) & (columns == 0))
    assert (got[cut] == 0).all()
    assert torch.equal(got[~cut], weight[~cut])


def test_masked_steps_are_the_stated_share_and_repeatable():
    penalty = CutTreePenalty(network(), start=0, mask_after=0, mask_share=0.3)
    penalty.set_labels(torch.as_tensor(LABELS))
    chosen = []
    for step in range(1000):
        penalty.state.step = step
        chosen.append(penalty._masks_this_step())
    assert 0.25 < np.mean(chosen) < 0.35
    penalty.state.step = 500
    assert penalty._masks_this_step() == chosen[500]


def test_run_is_the_model_when_nothing_is_masked():
    model, x = network(), torch.randn(3, 6, dtype=torch.float64)
    penalty = CutTreePenalty(model)
    assert torch.equal(penalty.run(x), model(x))


def test_state_survives_a_round_trip():
    model = network()
    penalty = in_force(model, LABELS)
    penalty.state.step = 17
    other = CutTreePenalty(model, start=0, ramp=0)
    other.load_state_dict(penalty.state_dict())
    assert other.steps_done == 17
    assert torch.equal(other.capacity.masses(), penalty.capacity.masses())
    with pytest.raises(CheckpointError, match="units"):
        other.load_state_dict({**penalty.state_dict(), "labels": torch.zeros(3, dtype=torch.long)})


def test_l1_is_the_sum_of_mean_magnitudes():
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -3.0]]))
        model[2].weight.fill_(-5.0)
    assert l1_penalty(model, unit_map(model)).item() == 2.0 + 5.0


def test_penalty_drops_into_any_loop():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 2))
    penalty = CutTreePenalty(model, start=0, ramp=1, refresh_every=2, min_gain=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(6):
        optimizer.zero_grad()
        loss = penalty.run(torch.randn(5, 1, 4, 4)).square().mean() + penalty()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)


def test_splits_in_force_are_not_given_up_when_others_get_clearer():
    graph, _ = planted_blocks([40, 40, 20], 4, 0.1)
    truth = np.r_[np.arange(40) // 10, np.arange(40) // 10, np.arange(20) // 5]
    a, b = truth[graph.sources], truth[graph.targets]
    blurred = ((a >= 2) & (b >= 2) & (a != b)) * 1.4 + 1.0  # modules 2 and 3 come closer
    graph = graph.with_capacities(graph.capacities * blurred)
    penalty = CutTreePenalty(network())
    assert penalty.finder._search(graph).max() + 1 == 3
    penalty.set_labels(torch.arange(26) % 4)
    assert penalty.finder._search(graph).max() + 1 == 4
