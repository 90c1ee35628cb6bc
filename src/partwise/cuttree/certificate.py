"""The trivial-cut certificate for all units at once, in torch: on a GPU, only the rest goes on."""

from __future__ import annotations

import torch
from torch import Tensor

from partwise.errors import GraphError


def certified_units(n: int, sources: Tensor, targets: Tensor, capacities: Tensor) -> Tensor:
    """Units whose two-hop flow into all heavier units carries their whole capacity.

    Units are taken in descending order of degree, ties by id. Unit v is certified when every
    later neighbour u is tied to the units before v at least as strongly as to v; its minimum
    cut to them is then v alone. If the units that are not certified prove trivial too (a flow
    each), the cut tree is the star around the first unit.

    In integers, so that every device gives the same answer to the last unit.

    Args:
        n: number of units.
        sources, targets: (m,) int, ends of the edges; no self loops, no parallel edges.
        capacities: (m,) int64, at least 0, that add up to less than `2**62`; whole numbers
            stand for themselves, for others see `whole_capacities`.

    Returns:
        (n,) bool on the device of `capacities`; the first unit counts as certified.

    Raises:
        GraphError: if `capacities` is not int64.
    """
    if capacities.dtype != torch.int64:
        raise GraphError(
            f"the certificate needs int64 capacities, got {capacities.dtype}; "
            "use whole_capacities(capacities)"
        )
    u, v = torch.cat([sources, targets]).long(), torch.cat([targets, sources]).long()
    weight = torch.cat([capacities, capacities])
    degree = torch.zeros(n, dtype=torch.int64, device=weight.device).index_add_(0, u, weight)
    order = torch.argsort(degree, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n, device=weight.device)
    # Row of u by the rank of v: what comes before v in it is u's tie to the units before v.
    by_row = torch.argsort(u * n + rank[v])
    u, v, weight = u[by_row], v[by_row], weight[by_row]
    before = _sums_before(n, u, weight, degree)
    fails = (rank[v] < rank[u]) & (weight > before)
    certified = torch.ones(n, dtype=torch.bool, device=weight.device)
    certified[v[fails]] = False
    certified[order[:1]] = True
    return certified


def whole_capacities(capacities: Tensor) -> Tensor:
    """(m,) int64 capacities, scaled by the power of two that makes them 60 bits in total.

    Raises:
        GraphError: if a capacity is negative or not finite, or they overflow when added up.
    """
    if capacities.numel() == 0:
        return capacities.long()
    values = capacities.double()
    top = values.max()
    if not (bool(torch.isfinite(values).all()) and bool((values >= 0).all())):
        raise GraphError("capacities are finite and at least 0; repair NaN and signs first")
    # The largest times their number bounds the total alike on every device and in any order.
    exponent = int(torch.frexp(top)[1]) + int(values.numel()).bit_length()
    if exponent > 1024:
        raise GraphError("capacities add up to more than 1.8e308; divide them all by one number")
    half = (60 - exponent) // 2
    return torch.round(values * 2.0**half * 2.0 ** (60 - exponent - half)).long()


def _sums_before(n: int, u: Tensor, weight: Tensor, degree: Tensor) -> Tensor:
    """Exclusive running sum of `weight` within each row; rows are consecutive.

    The running sum over all rows may wrap around; its differences within a row do not.
    """
    running = torch.cumsum(weight, 0) - weight
    row_start = torch.cumsum(degree, 0) - degree
    return running - row_start[u]
