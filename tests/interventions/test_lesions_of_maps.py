"""A channel of a convolution is one unit: it is held, and averaged, as a whole map."""

import pytest
import torch
from torch import nn

from partwise.graph import unit_map
from partwise.interventions.lesions import Lesions

X = torch.randn(40, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    convolutions = nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1)
    return nn.Sequential(nn.Unflatten(1, (2, 4, 4)), *convolutions, nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.parametrize(("unit", "read"), [(34, 3), (37, 4)], ids=["read", "flat"])
def test_a_held_channel_sends_its_mean_over_samples_and_positions(model, unit, read):
    units = unit_map(model, X[:2])
    held = torch.zeros(units.n, dtype=torch.bool)
    held[unit] = True
    layers = [model[:read], model[read:]]
    maps = layers[0](X)
    channel = unit - int(units.groups[2 if read == 3 else 3].start)
    maps[:, channel] = maps[:, channel].mean()
    found = Lesions(model, units, X).outputs(X, held)
    torch.testing.assert_close(found, layers[1](maps))


def test_a_channels_activity_is_its_mean_over_positions(model):
    units = unit_map(model, X[:2])
    values = Lesions(model, units, X).activations(X)
    torch.testing.assert_close(values[:, :32], X)
    for group, upto in ((units.groups[2], 3), (units.groups[3], 4)):
        expected = model[:upto](X).mean((2, 3))
        torch.testing.assert_close(values[:, group.start : group.stop], expected)
