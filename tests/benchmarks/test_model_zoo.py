"""The benchmark of networks that nobody here wrote: its counts, its weights, its truth."""

import importlib.util

import pytest
import torch
from torch import nn

from benchmarks.dependence import Smooth, dependence
from benchmarks.model_zoo import row, summary, thin


def test_an_output_depends_on_what_a_path_of_weights_leads_from():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight[:2, 1:] = 0
        model[0].bias.fill_(-100)  # every ReLU is dead, and still there
        model[3].weight[0, 2:] = 0
        model[3].weight[1] = 0
    true = dependence(model.double(), torch.zeros(1, 3, 8, 8))
    assert true.tolist() == [[True, False, False], [False, False, False]]


def test_statistics_that_couple_all_units_are_constants():
    model = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4))
    assert torch.equal(dependence(model, torch.zeros(1, 4)), torch.eye(4) > 0)


def test_weights_that_are_computed_stay_as_they_are():
    class Standardised(nn.Linear):
        def forward(self, x):
            weight = nn.functional.layer_norm(self.weight, (self.in_features,))
            return nn.functional.linear(x, weight, self.bias)

    model = Standardised(4, 2).double()
    with torch.no_grad():
        model.weight[:, 1:] = 0
    mode = Smooth(model)
    assert dependence(model, torch.zeros(1, 4), mode=mode).all()  # less their mean, none is 0
    assert not mode.met


def test_thinned_networks_read_few_channels_and_ignore_one():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    thin(model, seed=4, rows=1.0, each=2, silenced=True)
    reads = model[0].weight.abs().sum((2, 3)) > 0
    assert not reads[:, 1].any()
    assert reads.sum(1).max() <= 2
    assert (model[3].weight.flatten(1) != 0).sum(1).max() == 2
    assert (model[1].weight != 1).all()


def test_counts_add_up():
    rows = [
        {"source": "timm", "name": "a", "outcome": "read", "check": "right"},
        {"source": "timm", "name": "b", "outcome": "read", "check": "wrong"},
        {"source": "timm", "name": "c", "outcome": "read", "check": "none"},
        {"source": "timm", "name": "d", "outcome": "refused", "reason": "says why"},
        {"source": "torchvision", "name": "e", "outcome": "raw", "reason": "KeyError: 0"},
    ]
    record = summary(rows)
    assert record["timm"] == {"tried": 4, "read": 3, "refused_by_name": 1, "raw": 0}
    assert record["torchvision"] == {"tried": 1, "read": 0, "refused_by_name": 0, "raw": 1}
    assert (record["jacobian_checked"], record["wrong"]) == (2, 1)
    assert len(record["details"]) == 5


def test_a_small_network_of_the_zoo_is_read_and_right():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs the extra zoo")
    *_, last = row("torchvision", "squeezenet1_1")
    assert last["outcome"] == "read", last
    assert last["check"] == "right", last
