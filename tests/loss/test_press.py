import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from partwise.graph import unit_map
from partwise.loss import l1_penalty
from partwise.loss import press as pressing
from partwise.loss.press import Ends, Pressure, Sides, masses_of, newman_q_of_masses, press

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


def sides_of(weight, rows, columns):
    """Sides from scaled memberships: (r, k), and (c, k) or (r, c, k)."""
    return Sides.of(weight, rows.argmax(-1), rows.sum(-1), columns.argmax(-1), columns.sum(-1))


def ends_of(weights, rows, columns):
    return Ends(tuple(map(sides_of, weights, rows, columns)), K)


def masses_by_einsum(weights, rows, columns):
    found = []
    for weight, row, column in zip(weights, rows, columns, strict=True):
        magnitude = weight.abs().flatten(2).sum(2) if weight.dim() > 2 else weight.abs()
        ends = "rk,rc,cl->kl" if column.dim() == 2 else "rk,rc,rcl->kl"
        found.append(torch.einsum(ends, row, magnitude, column))
    return found


def by_small_operations(weights, rows, columns, pressure):
    """What `press` adds up, one operation of torch after another."""
    value = torch.zeros((), dtype=weights[0].dtype)
    for weight in weights:
        value = value + pressure.l1 * weight.abs().mean()
    masses = masses_by_einsum(weights, rows, columns)
    value = value + pressure.disorder * (1 - newman_q_of_masses(sum(masses)))
    if pressure.tables is not None:
        for mass, table in zip(masses, pressure.tables, strict=True):
            value = value + pressure.interface * (mass * torch.as_tensor(table).to(mass)).sum()
    return value


def tables():
    return np.random.default_rng(1).random((4, K, K))


PRESSURES = {
    "q": Pressure(disorder=2.0),
    "l1": Pressure(l1=3.0),
    "tables": Pressure(interface=0.3, tables=tables()),
    "all": Pressure(1.5, 0.7, 0.3, tables()),
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PRESSURES)
def test_value_and_gradient_are_those_of_small_operations(name, dtype, compiled, monkeypatch):
    monkeypatch.setattr(pressing, "COMPILED", (dtype,) if compiled else ())
    count = 3 if compiled else 4  # rows that read their own units are for operations of torch
    weights, rows, columns = (each[:count] for each in blocks(dtype))
    pressure = PRESSURES[name]
    if pressure.tables is not None:
        pressure = replace(pressure, tables=pressure.tables[:count])
    ends = ends_of(weights, rows, columns)
    expected = by_small_operations(weights, rows, columns, pressure)
    value = press(weights, pressure, ends)
    torch.testing.assert_close(value, expected)
    got = torch.autograd.grad(-2 * value, weights)
    for a, b in zip(got, torch.autograd.grad(-2 * expected, weights), strict=True):
        torch.testing.assert_close(a, b)
    assert got[0][1, 2] == 0


def test_masses_are_those_of_small_operations_and_so_are_their_gradients():
    weights, rows, columns = blocks()
    ends = ends_of(weights, rows, columns)
    expected = torch.stack(masses_by_einsum(weights, rows, columns))
    torch.testing.assert_close(masses_of(weights, ends), expected)
    with torch.no_grad():
        weights[0][1, 2] = 0.7  # |w| has no slope at 0
    assert torch.autograd.gradcheck(lambda *w: masses_of(w, ends), weights)


@pytest.mark.parametrize("compiled", [True, False])
def test_sparsity_needs_no_partition(compiled, monkeypatch):
    monkeypatch.setattr(pressing, "COMPILED", (torch.float64,) if compiled else ())
    weights, rows, columns = blocks()
    pressure = Pressure(l1=3.0)
    expected = by_small_operations(weights, rows, columns, pressure)
    value = press(weights, pressure)
    torch.testing.assert_close(value, expected)
    got = torch.autograd.grad(value, weights)
    for a, b in zip(got, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("compiled", [True, False])
def test_gradient_is_that_of_finite_differences(compiled, monkeypatch):
    monkeypatch.setattr(pressing, "COMPILED", (torch.float64,) if compiled else ())
    weights, rows, columns = blocks()
    ends = ends_of(weights, rows, columns)
    pressure = Pressure(1.5, 0.7, 0.3, tables())
    with torch.no_grad():
        weights[0][1, 2] = 0.7  # |w| has no slope at 0
    assert torch.autograd.gradcheck(lambda *w: press(w, pressure, ends), weights)


def test_gradients_of_other_terms_are_added_to_its_own_in_place():
    weight = torch.randn(8, 8, requires_grad=True)
    given, task = [], weight.square().sum()
    value = press([weight], Pressure(l1=1.0))
    value.grad_fn.register_hook(lambda grads, _: given.append(grads[0].data_ptr()))
    (task + value).backward()
    assert weight.grad.data_ptr() == given[0]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_second_backward_is_the_same_and_refuses_changed_weights(compiled, monkeypatch):
    monkeypatch.setattr(pressing, "COMPILED", (torch.float32,) if compiled else ())
    weight = torch.nn.Parameter(torch.randn(4, 4))
    value = press([weight], Pressure(l1=1.0))
    value.backward(retain_graph=True)
    first = weight.grad.clone()
    weight.grad = None
    value.backward(retain_graph=True)
    assert torch.equal(weight.grad, first)
    with torch.no_grad():
        weight *= -3
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_copies_see_the_weights_of_now():
    weight, ends = torch.nn.Parameter(torch.ones(2, 2)), Ends()
    press([weight], Pressure(l1=1.0), ends)
    copied = copy.deepcopy(ends)
    with torch.no_grad():
        weight *= 2
    assert press([weight], Pressure(l1=1.0), copied).item() == 2


def test_weights_that_moved_are_seen():
    weight, ends = torch.nn.Parameter(torch.ones(2, 2)), Ends()
    values = [press([weight], Pressure(l1=1.0), ends).item()]
    with torch.no_grad():
        weight *= 2
        values.append(press([weight], Pressure(l1=1.0), ends).item())
        weight.data = torch.full((2, 2), 3.0)
        values.append(press([weight], Pressure(l1=1.0), ends).item())
        values.append(press([torch.full((2, 2), 4.0)], Pressure(l1=1.0), ends).item())
    assert values == [1, 2, 3, 4]


def test_every_weight_feels_the_mean_of_its_tensor():
    model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.001]]))
    l1_penalty(model, unit_map(model)).backward()
    assert model[0].weight.grad[0].tolist() == [0.5, 0.5]


def test_frozen_weights_get_no_gradient():
    weights, rows, columns = blocks()
    ends = ends_of(weights, rows, columns)
    weights[2].requires_grad_(False)
    press(weights, Pressure(disorder=1.0), ends).backward()
    assert weights[2].grad is None
    assert weights[0].grad is not None


def test_q_by_hand():
    # capacities 3 inside module 0, 4 inside module 1, 1 between: Q = 7/8 - (7/16)^2 - (9/16)^2
    weight = torch.tensor([[3.0, -1.0], [0.0, 4.0]])
    eye = torch.eye(2)
    q = 1 - press([weight], Pressure(disorder=1.0), Ends((sides_of(weight, eye, eye),), 2))
    assert q.item() == pytest.approx(7 / 8 - (7 / 16) ** 2 - (9 / 16) ** 2)


def test_weights_that_are_not_finite_are_not_hidden():
    weight = torch.tensor([[np.nan, 1.0]], requires_grad=True)
    ends = Ends((sides_of(weight, torch.ones(1, 1), torch.ones(2, 1)),), 1)
    value = press([weight], Pressure(disorder=1.0), ends)
    value.backward()
    assert torch.isnan(value)
    assert torch.isnan(weight.grad).any()
