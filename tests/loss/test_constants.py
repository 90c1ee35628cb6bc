import pytest
import torch
from torch import nn

from partwise.graph import unit_map
from partwise.interventions.masks import MaskedRun, factors, inside_modules
from partwise.loss.constants import carried, commit, mean_inputs


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    units = unit_map(model)
    labels = torch.arange(units.n) % 2
    return model, factors(model, inside_modules(model, units, labels)), units


def test_constants_are_the_mean_of_what_is_cut(network):
    model, kept, units = network
    x = torch.randn(100, 4)
    means = mean_inputs(model, units, lambda: model(x))
    found = carried(model, kept, means)
    with torch.no_grad():
        cut = nn.functional.linear(x, model[0].weight * (1 - kept["0.weight"]))
    torch.testing.assert_close(found["0.weight"], cut.mean(0))
    assert found["2.weight"].shape == (2,)


def test_an_interface_that_carries_a_constant_can_be_cut_for_nothing(network):
    """Committed, the network computes what the masked one with constants does."""
    model, kept, units = network
    x = torch.ones(5, 4)  # nothing varies, so all that crosses is a constant
    with torch.no_grad():
        whole = model(x)
        means = mean_inputs(model, units, lambda: model(x))
        masked = MaskedRun(model, kept, carried(model, kept, means))(x)
        torch.testing.assert_close(masked, whole)
        assert not torch.allclose(MaskedRun(model, kept)(x), whole)
        commit(model, kept, means)
        torch.testing.assert_close(model(x), whole)
    assert all((model.get_parameter(name)[keep == 0] == 0).all() for name, keep in kept.items())


def test_a_masked_run_leaves_the_model_as_it_was(network):
    model, kept, _ = network
    before = {name: p.clone() for name, p in model.named_parameters()}
    constants = carried(model, kept, {"0.weight": torch.ones(4)})
    MaskedRun(model, kept, constants)(torch.randn(3, 4)).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is not None


def test_a_commit_may_come_before_the_backward_pass(network):
    model, kept, units = network
    x = torch.randn(20, 4)
    means = mean_inputs(model, units, lambda: model(x))
    loss = model(x).square().mean()
    commit(model, kept, means)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_maps_are_averaged_over_positions_and_layers_without_bias_left_out():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 2),
    )  # fmt: skip
    units, x = unit_map(model), torch.randn(8, 2, 3, 3)
    means = mean_inputs(model, units, lambda: model(x))
    assert set(means) == {"0.weight", "5.weight"}
    torch.testing.assert_close(means["0.weight"], x.mean((0, 2, 3)))
    kept = factors(model, inside_modules(model, units, torch.arange(units.n) % 2))
    constants = carried(model, kept, means)
    with torch.no_grad():
        cut = nn.functional.conv2d(x, model[0].weight * (1 - kept["0.weight"]))
    torch.testing.assert_close(constants["0.weight"], cut.mean((0, 2, 3)))
