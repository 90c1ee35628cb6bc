"""Running a network without its interface: weights between modules set to zero."""

from __future__ import annotations

from torch import Tensor, nn

from partwise.graph import UnitMap
from partwise.graph.unit_map import owner_of


def masked_weights(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    pair: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """A model's weights with the entries between modules set to 0, differentiable.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        pair: cut only the edges between these two modules; all interfaces when left out.

    Returns:
        Parameter name -> tensor, for `torch.func.functional_call`. Biases are left alone.
    """
    return only(model, inside_modules(model, units, labels, pair))


def inside_modules(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    pair: tuple[int, int] | None = None,
    free: Tensor | None = None,
) -> dict[str, Tensor]:
    """Which weights `masked_weights` keeps: parameter name -> bool, broadcast over kernels.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        pair: cut only the edges between these two modules; all interfaces when left out.
        free: (modules,) bool, the modules that may read any other.
    """
    kept = {}
    for block in units.blocks:
        rows, columns = block.pick(labels)
        keep = rows == columns
        if pair is not None:
            a, b = pair
            keep = ~((rows == a) & (columns == b) | (rows == b) & (columns == a))
        if free is not None:
            keep = keep | free[columns if block.transposed else rows]
        weight = model.get_parameter(block.parameter)
        kept[block.parameter] = wide(keep, weight).to(weight.device)
    return kept


def only(model: nn.Module, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that are named in `kept`, 0 where it is False or 0, differentiable.

    A product, since `torch.where` takes ten times as long on a CPU.
    """
    return {name: model.get_parameter(name) * keep for name, keep in kept.items()}


def factors(model: nn.Module, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """`kept` in the type of the weights, which `only` takes half the time for."""
    return {name: keep.to(model.get_parameter(name).dtype) for name, keep in kept.items()}


def run_only(model: nn.Module, kept: dict[str, Tensor], *inputs: Tensor) -> Tensor:
    """The model's output with the weights that are named in `kept`, as `only` has them.

    As `torch.func.functional_call`, which takes as long as the forward pass of a small network.
    """
    paths = [name.split(".") for name in kept]
    places = [(owner_of(model, path)._parameters, path[-1]) for path in paths]
    weights = [owned[name] for owned, name in places]
    try:
        for (owned, name), weight, keep in zip(places, weights, kept.values(), strict=True):
            owned[name] = weight * keep  # type: ignore[assignment, operator]
        output: Tensor = model(*inputs)
    finally:
        for (owned, name), weight in zip(places, weights, strict=True):
            owned[name] = weight
    return output


def wide(entries: Tensor, like: Tensor) -> Tensor:
    """(r, c) entries, laid out to broadcast over a kernel (r, c, ...)."""
    return entries.reshape(*entries.shape, *[1] * (like.dim() - entries.dim()))
