import numpy as np
import pytest
import torch
from torch import nn

from partwise.loss import CutTreePenalty
from partwise.loss.apart import Apart

NOTHING_READ = np.zeros((2, 2), bool)


def apart_of(model, x, y):
    return Apart(CutTreePenalty(model, strength=0.0), lambda run: (run(x) - y).square().mean())


def test_every_layer_is_in_its_own_mode_again():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    model.train()
    model[1].eval()  # frozen by its user

    def held_out(run):
        assert not model[0].training
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        Apart(CutTreePenalty(model, strength=0.0), held_out).loss_of(model)
    assert [layer.training for layer in model] == [True, False, True, True]


@pytest.mark.parametrize("bias", [True, False])
def test_inputs_that_do_not_vary_are_dropped_where_their_mean_can_be_kept(bias):
    """Input 1 is always 3. Without a bias to hold what it brings, its weights must stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8, bias=bias), nn.ReLU(), nn.Linear(8, 1))
    x = torch.cat([torch.randn(200, 1), torch.full((200, 1), 3.0)], 1)
    with torch.no_grad():
        y = model(x)
    apart = apart_of(model, x, y)
    apart.put_in_force(np.zeros(11, np.int64), np.zeros((1, 1), bool))
    apart.drop_idle_inputs(most=1e-6)
    assert apart.loss() < 1e-6
    assert apart.loss_of(model) < 1e-6
    assert (model[0].weight[:, 1] == 0).all() == bias


def test_an_output_that_says_the_same_of_all_samples_shows():
    model = nn.Linear(3, 4)
    x = torch.randn(200, 3)
    apart = apart_of(nn.Sequential(model), x, torch.zeros(200, 4))
    assert apart.least_spread() > 0.1
    with torch.no_grad():
        model.weight[1] = 0.0
    assert apart.least_spread() == 0
    apart.held_out = lambda run: 1.0
    assert apart.least_spread() == 1


def test_other_modules_are_measured_without_putting_them_in_force():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    x = torch.rand(100, 2)
    apart = apart_of(model, x, x)
    straight, crossed = np.array([0, 1] * 3), np.array([0, 1, 1, 0, 0, 1])
    assert apart.loss_of_modules(straight, NOTHING_READ) == pytest.approx(0)
    assert apart.loss_of_modules(crossed, NOTHING_READ) > 0.1
    assert apart.loss_of_modules(crossed, ~NOTHING_READ) == pytest.approx(0)
    assert apart.modules == 1


def test_layers_over_sequences_are_taken_apart_by_channel():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    x = torch.randn(50, 3, 4) + torch.arange(4)
    apart = apart_of(model, x, torch.zeros(50, 3, 4))
    apart.measure_means(apart.loss)
    torch.testing.assert_close(apart.means["0.weight"], x.mean((0, 1)))
    labels = np.r_[np.arange(4) % 2, np.arange(6) % 2, np.arange(4) % 2]
    apart.put_in_force(labels, NOTHING_READ)
    loss = apart.loss()
    apart.settle()
    assert apart.loss_of(model) == pytest.approx(loss, rel=1e-5)
