import torch
from torch import nn

from partwise.graph import unit_map
from partwise.interventions.masks import MaskedRun
from partwise.loss.idle import idle_inputs, idle_wires, least_spread


def linear(weights):
    model = nn.Sequential(nn.Linear(len(weights), 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([weights]))
        model[0].bias.zero_()
    return model


def loss_on(x, y):
    return lambda run: float((run(x)[:, 0] - y).square().mean().detach())


def idle_in(model, loss_of, most):
    units = unit_map(model)
    used = torch.from_numpy(units.graph(model).degrees())
    return idle_inputs(units, used, model, loss_of, most)


def test_inputs_that_cost_nothing_at_their_mean_are_idle():
    model, x = linear([1.0, 0.01, 0.0, 1.0]), torch.randn(500, 4) + 3
    loss_of = loss_on(x, model(x)[:, 0].detach())
    assert idle_in(model, loss_of, 1e-3).tolist() == [False, True, True, False, False]
    assert idle_in(model, loss_of, 1e-9).tolist() == [False, False, True, False, False]
    assert not idle_in(model, loss_of, -1.0).any()


def test_a_channel_with_the_same_mean_in_every_picture_is_not_taken_for_idle():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 1))
    x = torch.randn(200, 2, 6, 6)
    x -= x.mean((2, 3), keepdim=True)
    with torch.no_grad():
        x[:, 1] += torch.randn(200, 1, 1)
        model[0].weight[:, 1] *= 1e-3
        y = model(x)[:, 0]
    units = unit_map(model, 2)
    used = torch.from_numpy(units.graph(model).degrees())
    assert idle_inputs(units, used, model, loss_on(x, y), 1e-3)[:2].tolist() == [False, True]


def test_inputs_that_are_idle_only_one_by_one_are_not_idle_together():
    copies = torch.randn(500, 1).expand(-1, 4)
    model, each = linear([0.25] * 4), 0.25**2
    loss_of = loss_on(copies, copies[:, 0])
    assert idle_in(model, loss_of, 1.2 * each).sum() == 1


def test_networks_that_read_something_else_are_left_alone():
    model, x = linear([1.0, 0.0]), torch.randn(10, 2)

    def loss_of(run):
        return float(run(x[:, None]).square().mean().detach())

    assert not idle_in(model, loss_of, 1e9).any()


def test_wires_that_carry_next_to_nothing_are_idle_together():
    """The first two may go, of which one carries a constant; the third may not be touched."""
    model, x = linear([0.01, 5.0, 0.0, 1.0]), torch.randn(500, 4)
    x[:, 1] = 3.0
    loss_of = loss_on(x, model(x)[:, 0].detach())
    run = MaskedRun(model, {"0.weight": torch.ones(1, 4)})
    wires = {"0.weight": torch.tensor([[True, True, False, True]])}

    def idle(most):
        return idle_wires(unit_map(model), wires, run, loss_of, most)["0.weight"].tolist()

    assert idle(1e-3) == [[True, True, False, False]]
    assert idle(1e-9) == [[False, True, False, False]]
    assert idle(10.0) == [[True, True, False, True]]
    assert idle(-1.0) == [[False] * 4]
    model[0].bias = None  # nothing holds the constants
    assert idle_wires(unit_map(model), wires, run, loss_of, 10.0) == {}


def test_an_output_that_says_the_same_of_all_samples_shows():
    model, x = nn.Sequential(nn.Linear(3, 4)), torch.randn(200, 3)

    @torch.no_grad()
    def loss_of(run):
        return float(run(x).square().mean())

    assert least_spread(model, loss_of) > 0.1
    with torch.no_grad():
        model[0].weight[1] = 0.0
    assert least_spread(model, loss_of) == 0
    assert least_spread(model, lambda run: 1.0) == 1
