"""A crowd runs every network as it would run alone."""

import torch
from torch import nn

from partwise.audit.siblings import PICTURES_AT_ONCE, crowd_of, fresh_copies


def test_a_crowd_of_convolutions_answers_as_each_does():
    torch.manual_seed(0)
    layers = [nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 5))
    model.eval()
    copies = fresh_copies(model, 2, seed=1)
    x = torch.randn(PICTURES_AT_ONCE + 1, 32)
    found = crowd_of(model, copies).outputs(x)
    for net, outputs in zip([model, *copies], found, strict=True):
        torch.testing.assert_close(outputs, net(x).detach())
