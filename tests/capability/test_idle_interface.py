import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from partwise.capability.idle_interface import (
    CausalInterface,
    Effort,
    InterfaceMasks,
    added_losses,
    causal_interface,
    climbed,
)
from partwise.graph import unit_map
from partwise.tasks import task_from_arrays

IDLE = CausalInterface(0.0, 0.0, 0.0, 0.0, 0)
LABELS = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1])
"""Of two inputs, four hidden units and two outputs."""


def linear_halves(*crossing):
    """Answers x0 and x1, from two hidden units each; `crossing` are (hidden, output, weight)."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
        model[1].weight.copy_(torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]))
        for hidden, output, weight in crossing:
            model[1].weight[output, hidden] = weight
    return model


@pytest.fixture
def task():
    """Asks for both inputs; they are as likely 1 as -1, so that their mean square is 1."""
    x = np.random.default_rng(0).choice([-1.0, 1.0], (4000, 2)).astype(np.float32)
    return task_from_arrays("own", x, x, "value")


def measured(model, task, labels=LABELS, **effort):
    return causal_interface(model, unit_map(model), labels, task, effort=Effort(**effort))


def test_an_interface_without_wires_is_idle(task):
    assert measured(linear_halves(), task) == IDLE
    one = torch.zeros(8, dtype=torch.long)
    assert measured(linear_halves((0, 1, 9.0)), task, one) == IDLE


def test_wires_that_cancel_are_idle_together_and_not_apart(task):
    # x0 reaches the second answer by 3 and by -3: without one of them it is off by 3, so by 9 in
    # square, and by 4.5 in the mean over both answers
    found = measured(linear_halves((0, 1, 3.0), (1, 1, -3.0)), task)
    assert found.wires == 2
    assert found.joint == pytest.approx(0, abs=1e-6)
    assert found.worst == pytest.approx(4.5, rel=1e-5)
    assert 0 < found.random_mean < found.random_high <= found.worst


def test_an_ascent_finds_what_random_masks_do_not(task):
    # 16 hidden units of the first half reach the second answer by +-1 in turn: at the worst eight
    # of one sign are left, 8 ** 2 / 2 = 32, which one in 65,536 masks does
    model = nn.Sequential(nn.Linear(2, 18, bias=False), nn.Linear(18, 2, bias=False))
    with torch.no_grad():
        for layer in model:
            layer.weight.zero_()
        model[0].weight[:16, 0] = model[1].weight[1, 16:] = 1.0
        model[0].weight[16:, 1] = 0.5
        model[1].weight[0, :16] = 1 / 16
        model[1].weight[1, :16] = torch.tensor([1.0, -1.0]).repeat(8)
    labels = torch.tensor([0, 1, *[0] * 16, 1, 1, 0, 1])
    found = measured(model, task, labels)
    assert found.joint == pytest.approx(0, abs=1e-6)
    assert found.random_high < 16
    assert found.worst == pytest.approx(32, rel=1e-5)


def test_an_interface_that_matters_shows_in_every_number(task):
    # the second answer lives on x1 by way of the first half's units
    model = linear_halves((2, 0, 0.0))
    labels = torch.tensor([0, 1, 0, 0, 0, 0, 0, 1])
    found = measured(model, task, labels)
    assert found.wires == 4
    # all four removed: x1 for nothing, 1 in square, 0.5 in the mean
    assert found.joint == pytest.approx(0.5, rel=1e-5)
    assert 0 < found.random_mean < found.random_high <= found.joint + 1e-6
    assert found.worst == pytest.approx(found.joint, rel=1e-5)


def test_what_helps_when_it_goes_is_never_worse_than_nothing(task):
    found = measured(linear_halves((0, 1, 0.3)), task)
    assert found.joint == pytest.approx(-0.045, rel=1e-5)  # 0.3 ** 2 / 2
    assert found.worst == 0


def test_the_mask_is_fitted_to_other_samples_than_the_loss_is_of(task):
    model, seen = linear_halves((0, 1, 3.0), (1, 1, -3.0)), []

    def distinct(split, most, rng):
        seen.append((split, most))
        return task.distinct(split, most, rng)

    causal_interface(model, unit_map(model), LABELS, replace(task, distinct=distinct), size=300)
    assert sorted(seen) == [("claims", 2000), ("final", 300)]


def test_ends_of_the_worst_mask_may_lie_inside():
    # the loss is largest where 0.4 of the wire stays, which neither end shows
    model = linear_halves((0, 1, 1.0))
    masks = InterfaceMasks(model, unit_map(model), LABELS)
    x = torch.tensor([[1.0, 0.0]])

    def loss(run):
        return -((run(x)[0, 1] - 0.4) ** 2)

    found = added_losses(masks, loss, loss, Effort(draws=8))
    assert found.worst == pytest.approx(0.36, abs=1e-3)  # -(0.6 ** 2) becomes 0
    assert climbed(masks, loss, masks.mask(1.0), 50).item() == pytest.approx(0.4, abs=0.05)


def test_kernels_are_wires_of_convolutional_networks():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    units = unit_map(model, 2)
    labels = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 0, 1])
    with torch.no_grad():
        model[0].weight[:2, 1] = model[0].weight[2:, 0] = 0
        model[2].weight[0, 2:] = model[2].weight[1, :2] = 0
        model[4].weight[0, 4:] = model[4].weight[1, :4] = 0
    assert InterfaceMasks(model, units, labels).wires == 0
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0]
        model[0].bias[1] = model[0].bias[0]
        model[2].weight[1, 0] = 1.0
        model[2].weight[1, 1] = -1.0
    masks = InterfaceMasks(model, units, labels)
    assert masks.wires == 2
    x = torch.randn(64, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    whole = model(x).detach()

    def loss(run):
        return ((run(x) - whole) ** 2).mean()

    found = added_losses(masks, loss, loss)
    assert found.joint == pytest.approx(0, abs=1e-9)
    assert found.worst > 1e-4


def test_the_network_is_left_as_it_was(task):
    model = nn.Sequential(*linear_halves((0, 1, 3.0), (1, 1, -3.0)), nn.Dropout(0.5))
    model[0].eval()
    model[1].weight.requires_grad_(False)
    before = copy.deepcopy(model)
    first = measured(model, task)
    assert first.worst == pytest.approx(4.5, rel=1e-5)  # no dropout while it is measured
    assert first == measured(model, task)
    for own, old in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(own, old)
        assert own.grad is None
        assert own.requires_grad == old.requires_grad
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]


def test_records_name_all_four():
    found = CausalInterface(0.1, 0.2, 0.3, 0.4, 5)
    assert found.scores("cut", "_nats") == {
        "cut_nats": 0.1, "cut_random_nats": 0.2, "cut_random_95_nats": 0.3, "cut_worst_nats": 0.4,
    }  # fmt: skip
