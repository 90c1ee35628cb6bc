"""Lesions of what a module listens to, where it listens by convolutions."""

import numpy as np
import torch
from torch import nn

from partwise.audit.blame import clean_means, lesion
from partwise.explain import subject_of
from partwise.tasks import task_from_arrays

LABELS = np.r_[np.repeat([0, 1], 9), [0, 1], [0, 1], [0, 1]]
"""Pixels, maps of the picture, channels, outputs."""


def test_a_module_that_loses_a_pixel_loses_its_map_and_gets_the_mean():
    rng = np.random.default_rng(0)
    x = rng.normal(1, 1, (300, 18))
    y = np.c_[x[:, :9].sum(1), x[:, 9:].sum(1)] > 9
    layers = nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(18, 2)
    model = nn.Sequential(nn.Unflatten(1, (2, 3, 3)), *layers)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[2.0, 1.0], [1.0, 3.0]])[:, :, None, None])
    subject = subject_of(model, LABELS, task_from_arrays("maps", x, y.astype(int), "binary"))
    means = clean_means(subject)
    maps = subject.batch("train").x.unflatten(1, (2, 9))
    torch.testing.assert_close(means[18:20], maps.mean((0, 2)))
    heard = model[1](subject.batch("train").x.unflatten(1, (2, 3, 3))).detach()
    lesion(subject, 0, 4, means)
    now = model[1](subject.batch("train").x.unflatten(1, (2, 3, 3))).detach()
    torch.testing.assert_close(now[:, 1], heard[:, 1])
    expected = heard[:, 0].flatten(1) - 2 * maps[:, 0] + 2 * means[18]
    torch.testing.assert_close(now[:, 0].flatten(1), expected)
