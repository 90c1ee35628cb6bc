"""Interventions touch one use of a layer, however the network is written."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from partwise.graph import unit_map
from partwise.interventions.lesions import Lesions, without_interfaces
from partwise.interventions.masks import MaskedRun, inside_modules
from partwise.loss import CutTreePenalty
from partwise.loss.press import Pressure, newman_q_of_masses

X = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))


class Twice(nn.Module):
    """A middle layer that is called twice, or two layers of the same weights."""

    def __init__(self, written_out=False):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c, self.o = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.d = copy.deepcopy(self.c) if written_out else self.c

    def forward(self, x):
        return self.o(torch.relu(self.d(torch.relu(self.c(torch.relu(self.a(x)))))))


class Tied(nn.Module):
    """A decoder that applies the encoder's weights, turned."""

    def __init__(self, written_out=False):
        super().__init__()
        torch.manual_seed(0)
        self.e, self.bias = nn.Linear(5, 3), nn.Parameter(torch.randn(5))
        self.d = nn.Linear(3, 5) if written_out else None
        if written_out:
            self.d.weight.data, self.d.bias.data = self.e.weight.data.T.clone(), self.bias.data

    def forward(self, x):
        h = torch.relu(self.e(x))
        return F.linear(h, self.e.weight.T, self.bias) if self.d is None else self.d(h)


class Pruned(nn.Module):
    """A layer whose weights are computed from others."""

    def __init__(self, written_out=False):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.o = nn.Linear(5, 4), nn.Linear(4, 2)
        prune.l1_unstructured(self.a, "weight", 0.5)
        if written_out:
            prune.remove(self.a, "weight")

    def forward(self, x):
        return self.o(torch.relu(self.a(x)))


@pytest.fixture(params=[Twice, Tied, Pruned])
def twins(request):
    return request.param().eval(), request.param(written_out=True).eval()


def test_lesions_equal_those_of_the_network_written_out(twins):
    model, written = twins
    units, plain = unit_map(model, X), unit_map(written, X)
    assert units.n == plain.n
    ours, theirs = Lesions(model, units, X), Lesions(written, plain, X)
    for unit in range(units.n):
        held = torch.arange(units.n) == unit
        torch.testing.assert_close(
            ours.outputs(X, held), theirs.outputs(X, held), rtol=0, atol=1e-5
        )
    torch.testing.assert_close(ours.activations(X), theirs.activations(X), rtol=0, atol=1e-5)


def test_removed_interfaces_equal_those_of_the_network_written_out(twins):
    model, written = twins
    units = unit_map(model, X)
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 2, (units.n,), generator=draw)
        ours = without_interfaces(model, units, labels, X)
        theirs = without_interfaces(written, unit_map(written, X), labels, X)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_masks_of_two_uses_give_the_shared_weights_both_gradients():
    model, written = Twice(), Twice(written_out=True)
    units = unit_map(model)
    labels = torch.zeros(units.n, dtype=torch.long)
    labels[9:] = 1
    for net in (model, written):
        MaskedRun(net, inside_modules(net, unit_map(net), labels))(X).square().sum().backward()
    torch.testing.assert_close(model.c.weight.grad, written.c.weight.grad + written.d.weight.grad)


def test_a_shared_weight_is_removed_for_good_only_where_no_use_keeps_it():
    model = Twice()
    labels = torch.zeros(unit_map(model).n, dtype=torch.long)
    labels[9:] = 1
    before = model.c.weight.detach().clone()
    MaskedRun(model, inside_modules(model, unit_map(model), labels)).commit()
    assert torch.equal(model.c.weight, before)  # its second use lies inside a module
    assert not model.o.weight.eq(0).any()


def test_a_penalty_trains_a_network_that_calls_a_layer_twice():
    model = Twice()
    penalty = CutTreePenalty(model, strength=1.0, start=0, ramp=1)
    penalty.set_labels(torch.arange(penalty.units.n) % 2)
    before = newman_q_of_masses(penalty.capacity.masses()).item()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        (penalty.capacity.pressed(Pressure(disorder=1.0))).backward()
        optimizer.step()
    assert newman_q_of_masses(penalty.capacity.masses()).item() > before + 0.1
