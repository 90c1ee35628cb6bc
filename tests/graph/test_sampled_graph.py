import numpy as np
import torch
from torch import nn

from partwise.graph import unit_map
from partwise.graph.unit_map import sampled


def test_sampled_capacities_are_true_in_the_mean():
    torch.manual_seed(0)
    matrices = [torch.rand(30, 40, dtype=torch.float64) ** 4, torch.rand(50, dtype=torch.float64)]
    draws = [sampled(matrices, 300, seed) for seed in range(200)]
    kept = np.mean([sum(int((m > 0).sum()) for m in draw) for draw in draws])
    assert 285 < kept < 315
    for i, matrix in enumerate(matrices):
        mean = torch.stack([draw[i] for draw in draws]).mean(0).sum()
        torch.testing.assert_close(mean, matrix.sum(), rtol=0.02, atol=0)


def test_large_capacities_stay_as_they_are():
    (kept,) = sampled([torch.tensor([100.0, *[0.01] * 99])], 10)
    assert kept[0] == 100
    assert (kept[1:] > 0).sum() < 30


def test_a_large_network_is_sampled_and_a_small_one_is_not():
    torch.manual_seed(0)  # the sample must not follow the numbers that made the weights
    model = nn.Sequential(nn.Linear(100, 80), nn.ReLU(), nn.Linear(80, 20))
    units = unit_map(model)
    full = units.graph(model)
    assert units.graph(model, most_edges=full.m).m == full.m
    few = units.graph(model, most_edges=2000)
    assert 1850 < few.m < 2150
    assert abs(few.capacities.sum() / full.capacities.sum() - 1) < 0.05
