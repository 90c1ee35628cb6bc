import numpy as np
import pytest
import torch

from partwise.loss import fused_q as fused
from partwise.loss.fused_q import fused_q, sides_of
from partwise.loss.masses import block_masses, entry_masses, newman_q_of_masses

K = 3


def side(units, dtype):
    """Scaled memberships (units, k), every fourth unit without signal."""
    labels = torch.randint(K, (units,))
    scale = torch.rand(units, dtype=dtype) + 0.5
    scale[::4] = 0
    return torch.nn.functional.one_hot(labels, K).to(dtype) * scale[:, None]


def blocks(dtype=torch.float64):
    """A matrix, a transposed matrix, a kernel, and a kernel whose rows read their own units."""
    torch.manual_seed(0)
    weights = [
        torch.randn(5, 7, dtype=dtype),
        torch.randn(6, 5, dtype=dtype).T,
        torch.randn(4, 5, 3, 2, dtype=dtype),
        torch.randn(6, 2, 3, dtype=dtype),
    ]
    weights[0][1, 2] = 0
    rows = [side(len(w), dtype) for w in weights]
    columns = [side(w.shape[1], dtype) for w in weights[:3]]
    columns.append(torch.stack([side(2, dtype) for _ in range(6)]))
    return [w.requires_grad_() for w in weights], rows, columns


def by_masses(weights, rows, columns):
    return newman_q_of_masses(
        sum(
            (block_masses if c.dim() == 2 else entry_masses)(w, r, c)
            for w, r, c in zip(weights, rows, columns, strict=True)
        )
    )


def both(dtype):
    weights, rows, columns = blocks(dtype)
    sides = [sides_of(*block) for block in zip(weights, rows, columns, strict=True)]
    return weights, sides, by_masses(weights, rows, columns)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_q_and_its_gradient_are_those_of_the_masses(dtype, compiled, monkeypatch):
    monkeypatch.setattr(fused, "COMPILED", (dtype,) if compiled else ())
    weights, sides, expected = both(dtype)
    q = fused_q(weights, sides, K)
    torch.testing.assert_close(q, expected)
    got = torch.autograd.grad(-2 * q, weights)
    for a, b in zip(got, torch.autograd.grad(-2 * expected, weights), strict=True):
        torch.testing.assert_close(a, b)
    assert got[0][1, 2] == 0


@pytest.mark.parametrize("compiled", [True, False])
def test_gradient_is_that_of_finite_differences(compiled, monkeypatch):
    monkeypatch.setattr(fused, "COMPILED", (torch.float64,) if compiled else ())
    weights, sides, _ = both(torch.float64)
    with torch.no_grad():
        weights[0][1, 2] = 0.7  # |w| has no slope at 0
    assert torch.autograd.gradcheck(lambda *w: fused_q(w, sides, K), weights)


def test_frozen_weights_get_no_gradient():
    weights, sides, _ = both(torch.float64)
    weights[2].requires_grad_(False)
    fused_q(weights, sides, K).backward()
    assert weights[2].grad is None
    assert weights[0].grad is not None


def test_q_by_hand():
    # capacities 3 inside module 0, 4 inside module 1, 1 between: Q = 7/8 - (7/16)^2 - (9/16)^2
    weight = torch.tensor([[3.0, -1.0], [0.0, 4.0]])
    eye = torch.eye(2)
    q = fused_q([weight], [sides_of(weight, eye, eye)], 2)
    assert q.item() == pytest.approx(7 / 8 - (7 / 16) ** 2 - (9 / 16) ** 2)


def test_weights_that_are_not_finite_are_not_hidden():
    weight = torch.tensor([[np.nan, 1.0]], requires_grad=True)
    side_of = sides_of(weight, torch.ones(1, 1), torch.ones(2, 1))
    q = fused_q([weight], [side_of], 1)
    q.backward()
    assert torch.isnan(q)
    assert torch.isnan(weight.grad).any()
