import numpy as np
import pytest
import torch
from torch import nn

from partwise.errors import DataError
from partwise.graph import unit_map
from partwise.loss.balanced import Balanced
from partwise.loss.constants import mean_inputs
from partwise.loss.idle import idle_inputs, reading
from partwise.loss.in_force import InForce
from partwise.modules import Partition

NOTHING_READ = np.zeros((2, 2), bool)


def in_force_of(model):
    return InForce(model, unit_map(model))


def straight_lines():
    """Two inputs, each copied to an output of its own, and what comes out at any."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    return model, torch.rand(100, 2)


def interface_frac(balanced):
    masses = balanced.masses().detach()
    return 1 - float(masses.trace() / masses.sum())


def loss_on(x, y):
    return lambda run: float((run(x) - y).square().mean().detach())


def test_a_partition_drops_all_that_an_earlier_one_left():
    """Masks, ends, labels and the total are those of the new partition."""
    model, x = straight_lines()
    now = in_force_of(model)
    balanced = Balanced(now)
    straight, crossed = Partition.of([0, 1] * 3), Partition.of([0, 1, 1, 0, 0, 1])
    now.put(straight)
    now.total = 3.0
    assert interface_frac(balanced) == 0
    torch.testing.assert_close(now.run(x), x)
    now.put(crossed)
    assert now.total == 0
    assert now.labels.tolist() == [0, 1, 1, 0, 0, 1]
    assert interface_frac(balanced) == 1
    assert (now.run(x) == 0).all()


def test_a_gauge_that_moves_drops_the_scales_that_it_gave():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    now = in_force_of(model)
    balanced = Balanced(now)
    now.put(Partition.of(np.arange(9) % 2))
    before = balanced.masses()
    balanced.graph()
    assert not torch.allclose(balanced.masses(), before)


def test_labels_must_be_a_partition_of_the_units():
    now = in_force_of(nn.Linear(2, 2))
    with pytest.raises(DataError, match="3 labels for 4 units"):
        now.put(Partition.of([0, 1, 0], now.units.n))


@pytest.mark.parametrize("bias", [True, False])
def test_inputs_that_do_not_vary_are_dropped_where_their_mean_can_be_kept(bias):
    """Input 1 is always 3. Without a bias to hold what it brings, its weights must stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8, bias=bias), nn.ReLU(), nn.Linear(8, 1))
    x = torch.cat([torch.randn(200, 1), torch.full((200, 1), 3.0)], 1)
    with torch.no_grad():
        loss_of = loss_on(x, model(x))
    now = in_force_of(model)
    used = torch.from_numpy(Balanced(now).graph().degrees())
    idle = idle_inputs(now.units, used, now.run, loss_of, most=1e-6)
    means = mean_inputs(model, now.units, lambda: model(x))
    now.remove(reading(model, now.units, idle), means)
    assert loss_of(now.run) < 1e-6
    assert loss_of(model) < 1e-6
    assert (model[0].weight[:, 1] == 0).all() == bias


def test_other_modules_are_run_without_putting_them_in_force():
    model, x = straight_lines()
    now, loss_of = in_force_of(model), loss_on(x, x)
    straight, crossed = Partition.of([0, 1] * 3), Partition.of([0, 1, 1, 0, 0, 1])
    assert loss_of(now.run_as(straight, NOTHING_READ)) == pytest.approx(0)
    assert loss_of(now.run_as(crossed, NOTHING_READ)) > 0.1
    assert loss_of(now.run_as(crossed, ~NOTHING_READ)) == pytest.approx(0)
    assert now.modules == 1


def test_layers_over_sequences_are_taken_apart_by_channel():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    x = torch.randn(50, 3, 4) + torch.arange(4)
    now, loss_of = in_force_of(model), loss_on(x, torch.zeros(50, 3, 4))
    now.means = mean_inputs(model, now.units, lambda: model(x))
    torch.testing.assert_close(now.means["0.weight"], x.mean((0, 1)))
    now.put(Partition.of(np.r_[np.arange(4) % 2, np.arange(6) % 2, np.arange(4) % 2]))
    loss = loss_of(now.run)
    now.remove({}, now.means)
    assert loss_of(model) == pytest.approx(loss, rel=1e-5)
