"""Running a network without its interface: weights between modules set to zero."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap
from partwise.graph.activity import refuse_hidden, removing
from partwise.graph.unit_map import WeightBlock, parameter_of, use_key

Keep = Callable[[WeightBlock, Tensor], Tensor]
"""A block and its weight -> which entries stay; bool, broadcast over them, on their device."""


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
    kept = inside_modules(model, units, labels, pair)
    return {name: model.get_parameter(name) * keep for name, keep in kept.items()}


def inside_modules(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    pair: tuple[int, int] | None = None,
    reads: Tensor | None = None,
) -> dict[str, Tensor]:
    """Which weights `masked_weights` keeps: `WeightBlock.key` -> bool, broadcast over kernels.

    The key is the parameter's name; where a parameter is used several times, each use has one.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        pair: cut only the edges between these two modules; all interfaces when left out.
        reads: (modules, modules) bool, whether the row's module may read the column's.

    Raises:
        GraphError: if a weight is computed, and so is no parameter.
        UnreadableModelError: if uses of one parameter cannot be told apart.
    """
    kept = {}
    for block in units.blocks:
        weight = block.weight(model)
        if block.uses > 1:
            refuse_hidden(block)
        rows, columns = block.pick(labels, weight.device)
        keep = rows == columns
        if pair is not None:
            a, b = pair
            keep = ~((rows == a) & (columns == b) | (rows == b) & (columns == a))
        if reads is not None:
            reader, read = (columns, rows) if block.transposed else (rows, columns)
            keep = keep | reads.to(keep.device)[reader, read]
        kept[block.key] = wide(keep, weight)
    return kept


def between(
    model: nn.Module, units: UnitMap, labels: Tensor, writer: int, reader: int
) -> dict[str, Tensor]:
    """What stays when one module no longer reads another: as `inside_modules`.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        writer: the module that is not read any more.
        reader: the module that does not read it.
    """
    kept = {}
    for block in units.blocks:
        weight = block.weight(model)
        if block.uses > 1:
            refuse_hidden(block)
        rows, columns = block.pick(labels, weight.device)
        reads, read = (columns, rows) if block.transposed else (rows, columns)
        kept[block.key] = wide(~((reads == reader) & (read == writer)), weight)
    return kept


def is_inside(labels: Tensor, block: WeightBlock, weight: Tensor) -> Tensor:
    """Which of a block's weights lie inside a module of (n,) labels, as `Keep` wants it."""
    rows, columns = block.pick(labels, weight.device)
    return wide(rows == columns, weight)


def between_modules(
    model: nn.Module, units: UnitMap, labels: Tensor, kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Which of the weights that are kept lead from a module to another: name -> bool, as wide."""
    found = {}
    for block in units.blocks:
        weight = block.weight(model)
        found[block.key] = kept[block.key].bool() & ~is_inside(labels, block, weight)
    return found


def factors(model: nn.Module, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """`kept` in the type of the weights, which a product takes half the time for."""
    return {
        name: keep.to(model.get_parameter(parameter_of(name)).dtype) for name, keep in kept.items()
    }


class MaskedRun:
    """Runs a network with some entries of its weights set to 0, as often as is wanted.

    As `torch.func.functional_call`, which takes as long as the forward pass of a small network.

    Args:
        model: the network, whose layers stay the ones that it has now.
        kept: `WeightBlock.key` -> which entries stay; the network runs on the products with it,
            since `torch.where` takes ten times as long on a CPU.
        constants: parameter name -> (r,) what to add to the bias beside it (see `constants`).
    """

    def __init__(
        self,
        model: nn.Module,
        kept: Mapping[str, Tensor],
        constants: Mapping[str, Tensor] | None = None,
    ):
        self.model, self.kept = model, kept
        self.constants = {} if constants is None else constants
        names = {id(model.get_parameter(parameter_of(key))): parameter_of(key) for key in kept}
        self._uses = Counter(parameter_of(key) for key in kept)
        self._places = []
        self._shared: list[tuple[nn.Module, str, str]] = []
        for module in model.modules():
            for own, weight in module._parameters.items():
                name = names.get(id(weight))
                if name is None:
                    continue
                if self._uses[name] > 1:
                    self._shared.append((module, own, name))
                else:
                    self._places.append((module._parameters, own, name))

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The network's output, differentiable in its weights."""
        before: list[tuple[dict[str, Any], str, Any]] = []
        try:
            for owned, own, name in self._places:
                table: dict[str, Any] = owned
                before.append((table, own, table[own]))
                table[own] = table[own] * self.kept[name]
                if name in self.constants:
                    before.append((table, "bias", table["bias"]))
                    table["bias"] = table["bias"] + self.constants[name]
            with self._masking_uses():
                return self.model(*inputs, **named)
        finally:
            for table, own, weight in reversed(before):
                table[own] = weight

    @contextlib.contextmanager
    def _masking_uses(self) -> Iterator[None]:
        """Masks parameters that are used several times, at each use by its own mask."""
        seen: Counter[str] = Counter()
        weights: dict[str, Any] = {n: module._parameters[own] for module, own, n in self._shared}
        handles = []
        for module, own, name in self._shared:
            table: dict[str, Any] = module._parameters

            def enter(*_: Any, table: Any = table, own: str = own, name: str = name) -> None:
                use = seen[name] % self._uses[name]
                seen[name] += 1
                table[own] = weights[name] * self.kept[use_key(name, use)]

            def leave(*_: Any, table: Any = table, own: str = own, name: str = name) -> None:
                table[own] = weights[name]

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
        with removing(handles):
            yield

    def commit(self) -> None:
        """Sets those entries to 0 in the network itself; gradients and their record are left alone.

        A parameter that is used several times loses what no use keeps.
        Nothing changes where they are 0 already, so it may come between a forward pass and its
        backward.
        """
        for owned, own, name in self._places:
            weight: Any = owned[own]
            weight.data.mul_(self.kept[name])
        for name in {name for _, _, name in self._shared}:
            uses = [self.kept[use_key(name, use)] for use in range(self._uses[name])]
            self.model.get_parameter(name).data.mul_(torch.stack(uses).amax(0))


@contextlib.contextmanager
def layers_keeping(
    model: nn.Module, units: UnitMap, keep: Keep, again: bool = False
) -> Iterator[None]:
    """Has the layers of `units` apply their weights with 0 where `keep` is False.

    Hooks on the layers do it, as they run: so it works inside wrappers whose own hooks must see
    the forward pass, and with weights that FSDP gathers just before a layer needs them.

    Args:
        model: the network.
        units: its unit map.
        keep: which weights stay.
        again: work the masked weights out anew in the backward pass, in place of keeping them
            until then. For weights that are there only while a layer needs them.
    """
    layers = [_MaskedLayer(model, block, keep, again) for block in units.blocks]
    try:
        yield
    finally:
        for layer in layers:
            layer.release()


class _MaskedLayer:
    """The hooks of one layer."""

    def __init__(self, model: nn.Module, block: WeightBlock, keep: Keep, again: bool):
        self.layer, self.again = model.get_submodule(block.module), again
        self.name = block.parameter.rpartition(".")[2]
        self.keep = partial(keep, block)
        self.weight: nn.Parameter | None = None
        self.packing: Any = contextlib.nullcontext()
        # FSDP's hooks gather before ours mask, and release after ours have put the weight back.
        self.handles = [
            self.layer.register_forward_pre_hook(self._mask),
            self.layer.register_forward_hook(self._unmask, prepend=True, always_call=True),
        ]

    def _mask(self, *_: Any) -> None:
        # As torch.func.functional_call does it: straight into the table, which keeps its order.
        self.weight = self.layer.get_parameter(self.name)
        masked = _Kept.apply(self.weight, self.keep)
        self.layer._parameters[self.name] = masked
        if self.again:
            self.packing = self._packing(masked.untyped_storage().data_ptr())
            self.packing.__enter__()

    def _unmask(self, *_: Any) -> None:
        if self.weight is not None:
            self.packing.__exit__(None, None, None)
            self.layer._parameters[self.name], self.weight = self.weight, None

    def _packing(self, place: int) -> Any:
        """Saves a view of the masked weights for backward as no more than its layout."""

        def pack(tensor: Tensor) -> Any:
            if tensor.untyped_storage().data_ptr() != place:
                return tensor
            return tensor.size(), tensor.stride(), tensor.storage_offset()

        def unpack(packed: Any) -> Tensor:
            if isinstance(packed, Tensor):
                return packed
            with torch.no_grad():
                weight = self.layer.get_parameter(self.name)
                return torch.where(self.keep(weight), weight, 0).as_strided(*packed)

        return torch.autograd.graph.saved_tensors_hooks(pack, unpack)

    def release(self) -> None:
        """Removes the hooks."""
        self._unmask()
        for handle in self.handles:
            handle.remove()


class _Kept(torch.autograd.Function):
    """A weight, 0 where it is not kept; the mask is made again rather than kept for backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, keep: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.keep = keep
        return torch.where(keep(weight), weight, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.where(ctx.keep(grads[0]), grads[0], 0), None


def wide(entries: Tensor, like: Tensor) -> Tensor:
    """(r, c) entries, laid out to broadcast over a kernel (r, c, ...)."""
    return entries.reshape(*entries.shape, *[1] * (like.dim() - entries.dim()))
