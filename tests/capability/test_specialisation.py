import numpy as np
import pytest
import torch
from torch import nn

from partwise.capability.idle_interface import causal_interface
from partwise.capability.specialisation import (
    information,
    mean_ablated_interface,
    selectivity,
    specialisation,
)
from partwise.graph import unit_map
from partwise.interventions.lesions import Lesions
from partwise.tasks import task_from_arrays


def two_halves():
    """A network whose halves compute functions of x1 + x3 and of x4, and the task it solves."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for h in range(4):
            model[0].weight[h, [0, 2]] = model[2].weight[0, h] = 1.0 if h % 2 else -1.0
            model[0].weight[4 + h, 3] = model[2].weight[1, 4 + h] = 1.0 if h % 2 else -1.0
    with torch.no_grad():
        x = torch.rand(2000, 4) * 2 - 1
        task = task_from_arrays("own", x.numpy(), model(x).numpy(), "value")
    return model, task


LABELS = np.array([0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1])


def test_selectivity_by_hand():
    # heads 1 to 3 suffer 3 against 2, 3 against 0 and 3 against 1: (1 + 3 + 2) / 9
    assert selectivity(np.array([[2.0, 0.0, 1.0], [3.0, 3.0, 3.0]])) == pytest.approx(6 / 9)
    assert selectivity(np.array([[-1.0, -2.0], [-1.0, 0.0]])) == 0
    assert selectivity(np.array([[1.0, 2.0]])) == 0


def test_a_module_that_serves_several_heads_is_as_selective():
    assert selectivity(np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])) == 1


def test_information_by_hand():
    # (0, 0), (0, 1) and (1, 1) a third each: modules 2/3 and 1/3, heads 1/3 and 2/3
    nats = np.log((1 / 3) / (2 / 9)) * 2 / 3 + np.log((1 / 3) / (4 / 9)) / 3
    assert information(np.array([[2.0, 2.0], [0.0, 2.0]])) == pytest.approx(nats / np.log(2))
    assert information(np.array([[1.0, 0.0], [-1.0, 3.0]])) < 1
    assert information(np.eye(3)) == pytest.approx(1)
    assert information(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])) == pytest.approx(0)
    assert information(np.array([[1.0, 2.0]])) == information(np.zeros((2, 2))) == 0


def chain():
    """|x1|, |x1| + |x2| and |x1| + |x2| + |x3|, from two hidden units for each sign."""
    model = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for i in range(3):
            model[0].weight[4 * i : 4 * i + 4, i] = torch.tensor([1.0, -1.0, 1.0, -1.0])
            model[2].weight[i:, 4 * i : 4 * i + 4] = 0.5
        x = torch.rand(2000, 3) * 2 - 1
        task = task_from_arrays("own", x.numpy(), model(x).numpy(), "value")
    return model, task, np.r_[0:3, np.repeat(np.arange(3), 4), 0:3]


def test_answers_that_build_on_each_other_are_told_apart_by_information():
    torch.manual_seed(0)
    model, task, labels = chain()
    units = unit_map(model)
    true = specialisation(model, units, labels, task, draws=99)
    assert true.information_p <= 0.05
    assert true.information > 3 * true.information_random
    mixed = labels.copy()
    mixed[3:15] = np.tile([0, 1, 2], 4)
    false = specialisation(model, units, mixed, task, draws=99)
    assert false.information_p > 0.05


def test_lesions_of_true_modules_are_more_selective_than_random_ones():
    model, task = two_halves()
    found = specialisation(model, unit_map(model), LABELS, task, draws=99)
    assert found.selectivity == pytest.approx(1)
    assert found.p_value <= 0.05
    assert found.random_mean < 0.9
    assert found.double == pytest.approx(0, abs=1e-6)


def test_false_modules_are_not_selective():
    model, task = two_halves()
    mixed = LABELS.copy()
    mixed[4:12] = [0, 0, 1, 1, 0, 0, 1, 1]
    assert specialisation(model, unit_map(model), mixed, task, draws=99).p_value > 0.05


def test_random_lesions_of_idle_units_do_not_count_as_selective():
    model = nn.Sequential(nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 2))
    small, task = two_halves()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[0].weight[:8], model[2].weight[:, :8] = small[0].weight, small[2].weight
    labels = np.r_[LABELS[:12], np.zeros(32, int), 0, 1]
    found = specialisation(model, unit_map(model), labels, task, draws=99)
    assert found.p_value <= 0.05
    assert found.random_mean < 0.9


def test_interfaces_that_carry_nothing_cost_nothing():
    model, task = two_halves()
    units, labels = unit_map(model), torch.as_tensor(LABELS)
    assert causal_interface(model, units, labels, task).joint == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model[2].weight[0, 4] = 1.0
    assert abs(causal_interface(model, units, labels, task).joint) > 1e-3
    assert mean_ablated_interface(model, units, labels, task) != 0


def test_a_constant_interface_is_free_once_its_mean_is_kept():
    model, task = two_halves()
    with torch.no_grad():
        model[0].weight[4] = 0
        model[0].bias[4] = 1.0
        model[2].weight[0, 4] = 0.5
    units, labels = unit_map(model), torch.as_tensor(LABELS)
    assert mean_ablated_interface(model, units, labels, task) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("positions", [1, 2, 3])
def test_units_of_a_network_over_sequences_are_features_not_positions(positions):
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight[:], model[2].weight[:] = torch.eye(2, 3), torch.tensor([[1, 2], [3, 4]])
    x = torch.arange(6.0 * positions).reshape(2, positions, 3)  # samples, positions, features
    lesions = Lesions(model, unit_map(model), x)
    held = torch.tensor([True, False, False, False, False, False, True])
    expected = model(torch.where(held[:3], x.mean((0, 1)), x))
    expected[..., 1] = model(x)[..., 1].mean()
    torch.testing.assert_close(lesions.outputs(x, held), expected)
    torch.testing.assert_close(lesions.outputs(x[:, :1], held), expected[:, :1])
    values = lesions.activations(x)
    torch.testing.assert_close(values[:, :3], x.mean(1))
    torch.testing.assert_close(values[:, 5:], model(x).mean(1))
