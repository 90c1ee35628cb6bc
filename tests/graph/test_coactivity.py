import numpy as np
import pytest
import torch
from torch import nn

from partwise.graph import UnitGraph, unit_map
from partwise.graph.coactivity import unit_activity, with_coactivity
from partwise.modules import search_modules


def test_activity_is_what_weights_read_and_what_the_last_ones_write():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    units, x = unit_map(model), torch.randn(50, 3)

    def run():
        model(x[:20])
        model(x[20:])

    with torch.no_grad():
        hidden = model[:2](x)
        expected = torch.cat([x, hidden, model(x)], 1).T
    np.testing.assert_allclose(unit_activity(model, units, run), expected, rtol=1e-5)


def test_a_channel_is_as_active_as_its_positions_are_on_average():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    units, x = unit_map(model), torch.randn(8, 1, 4, 4)
    activity = unit_activity(model, units, lambda: model(x))
    with torch.no_grad():
        channels = model[:2](x)
    np.testing.assert_allclose(activity[0], x.mean((1, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(activity[1:4], channels.mean((2, 3)).T, rtol=1e-4, atol=1e-6)


def test_positions_of_a_sequence_are_averaged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    units, x = unit_map(model), torch.randn(8, 5, 3)
    activity = unit_activity(model, units, lambda: model(x))
    with torch.no_grad():
        layers = [x, model[:2](x), model(x)]
    expected = torch.cat([layer.mean(1) for layer in layers], 1).T
    np.testing.assert_allclose(activity, expected, rtol=1e-4, atol=1e-6)


def test_what_never_runs_shows_nothing():
    model = nn.Sequential(nn.Linear(3, 2))
    units = unit_map(model)
    graph = units.graph(model)
    assert with_coactivity(graph, unit_activity(model, units, lambda: None)) is graph


def two_questions(samples=2000):
    """Six units: 0, 1, 2 say the same thing, 3, 4, 5 another; weights join 0-1, 2-3 and 4-5."""
    graph = UnitGraph.from_edges(6, [0, 2, 4], [1, 3, 5], [1.0, 1.0, 1.0])
    rng = np.random.default_rng(0)
    said = rng.standard_normal((2, samples)).repeat(3, 0)
    return graph, (said + rng.standard_normal((6, samples))).astype(np.float32)


@pytest.mark.parametrize("most_edges", [100, 12])
def test_units_that_are_active_together_are_joined(most_edges):
    graph, activity = two_questions()
    joined = with_coactivity(graph, activity, 2.0, most_edges)
    assert joined.capacities.sum() == pytest.approx(3 * graph.capacities.sum())
    apart = (joined.sources < 3) != (joined.targets < 3)
    assert joined.capacities[apart].tolist() == [1.0]  # the weight between 2 and 3
    if most_edges == 100:
        assert search_modules(joined).labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_units_without_capacity_or_activity_are_left_alone():
    graph, activity = two_questions()
    idle = graph.with_capacities(np.array([1.0, 0.0, 1.0]))
    activity[5] = 0.0
    joined = with_coactivity(idle, activity)
    ends = np.r_[joined.sources[joined.capacities > 0], joined.targets[joined.capacities > 0]]
    assert not {2, 3} & set(ends.tolist())
    only_weights = (ends == 5).sum()
    assert only_weights == 1


def test_a_weight_of_zero_changes_nothing():
    graph, activity = two_questions()
    assert with_coactivity(graph, activity, 0.0) is graph
