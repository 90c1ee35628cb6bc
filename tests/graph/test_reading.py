import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from partwise.errors import GraphError, UnreadableModelError
from partwise.graph import unit_graph, unit_map


def edge(graph, u, v):
    """Capacity between two units; 0 without an edge."""
    hit = (graph.sources == min(u, v)) & (graph.targets == max(u, v))
    return float(graph.capacities[hit].sum())


def test_units_are_inputs_then_layers_then_outputs():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    graph = unit_graph(model, balanced=False)
    kinds = [(g.kind, g.start, g.stop) for g in graph.groups]
    assert kinds == [("input", 0, 3), ("hidden", 3, 7), ("output", 7, 9)]
    assert edge(graph, 1, 5) == pytest.approx(abs(model[0].weight[2, 1].item()))
    assert edge(graph, 4, 8) == pytest.approx(abs(model[2].weight[1, 1].item()))
    assert graph.m == 3 * 4 + 4 * 2


def test_zero_weights_give_no_edge():
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight[0, 1] = 0
    assert unit_graph(model).m == 3


def test_rescaling_relu_units_changes_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.LeakyReLU(), nn.Linear(6, 3)
    )
    x, before, graph = torch.randn(7, 5), None, unit_graph(model)
    before = model(x)
    with torch.no_grad():
        for a, b in ((0, 2), (2, 4)):
            scale = torch.rand(6) * 10 + 0.1
            model[a].weight *= scale[:, None]
            model[a].bias *= scale
            model[b].weight /= scale
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(unit_graph(model).capacities, graph.capacities, rtol=1e-4)


def test_balanced_gauge_has_as_much_coming_in_as_going_out():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    graph = unit_graph(model)
    into = np.bincount(graph.targets, graph.capacities, graph.n)
    out = np.bincount(graph.sources, graph.capacities, graph.n)
    np.testing.assert_allclose(into[5:15], out[5:15], rtol=1e-6)


def test_tanh_units_keep_their_scale():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    assert not unit_map(model).rescalable.any()
    assert edge(unit_graph(model), 0, 2) == pytest.approx(abs(model[0].weight[0, 0].item()))


def test_units_that_nothing_leaves_carry_no_capacity():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        model[2].weight[0, 1] = 0
    assert unit_graph(model).degrees()[3] == 0  # hidden unit 1 has incoming weights only


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        both = torch.cat([torch.relu(self.left(x[:, :2])), F.relu(self.right(x[:, 2:]))], dim=1)
        return self.out(both)


def test_branches_and_slices_are_followed():
    model = Branches()
    graph = unit_graph(model, inputs=4)
    assert graph.n == 4 + 3 + 3 + 1
    assert edge(graph, 0, 4) > 0
    assert edge(graph, 0, 7) == 0  # the right branch does not see input 0
    assert edge(graph, 9, 10) > 0


def test_a_sliced_input_needs_its_width():
    with pytest.raises(UnreadableModelError, match="inputs="):
        unit_graph(Branches())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.into(x)
        h = h + torch.relu(self.inner(h))
        return self.out(h)


def test_a_residual_stream_is_one_set_of_units():
    graph = unit_graph(Residual())
    assert graph.n == 3 + 4 + 2
    assert [g.name for g in graph.groups] == ["input", "into", "out"]


def test_conv_channels_are_units_and_kernels_are_summed():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 4, 5)
    )
    graph = unit_graph(model, balanced=False)
    assert graph.n == 2 + 3 + 5
    assert edge(graph, 1, 4) == pytest.approx(model[0].weight[2, 1].abs().sum().item(), rel=1e-6)
    assert edge(graph, 3, 5) == pytest.approx(model[4].weight[0, 4:8].abs().sum().item(), rel=1e-6)


def test_grouped_convolutions_join_their_own_group_only():
    graph = unit_graph(nn.Sequential(nn.Conv1d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv1d(4, 2, 1)))
    assert edge(graph, 0, 4) > 0
    assert edge(graph, 0, 6) == 0


def test_a_batch_norm_gain_belongs_to_the_layer_that_writes():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, eps=0), nn.Tanh(), nn.Linear(2, 1))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([3.0, -1.0]))
        model[1].running_var.copy_(torch.tensor([4.0, 1.0]))
    graph = unit_graph(model)
    # unit 2 is scaled by |3| / sqrt(4) before tanh bends it
    assert edge(graph, 0, 2) == pytest.approx(1.5 * abs(model[0].weight[0, 0].item()))
    assert edge(graph, 2, 4) == pytest.approx(abs(model[3].weight[0, 0].item()))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return F.linear(x, self.w)


def test_functional_linear_is_read():
    assert unit_graph(Functional()).m == 6


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Bilinear(4, 4, 2)), "does not run .*missing 1"),
        (Branching(), "no Linear"),
        (nn.Sequential(nn.ReLU()), "no Linear"),
        (nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 2)), "2x3 and 4x2"),
    ],
)
def test_what_cannot_be_read_is_named(model, message):
    with pytest.raises(UnreadableModelError, match=message):
        unit_graph(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights_are_named(value):
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = value
    with pytest.raises(GraphError, match=r"0\.weight holds 1"):
        unit_graph(model)
