"""Reading a model's structure: any `nn.Module` of linear, conv and elementwise layers.

The model is traced symbolically (torch.fx), so it need not be sequential: branches, residual
sums, concatenations and reused layers are followed. Elementwise operations between two values
(a residual sum, a gate) make their units one and the same, since nothing tells them apart.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from partwise.errors import UnreadableModelError
from partwise.graph.unit_graph import UnitGraph, UnitGroup
from partwise.graph.unit_map import UnitMap, WeightBlock

READABLE = (
    "Linear, Conv1d/2d/3d, BatchNorm, LayerNorm, RMSNorm, activations, pooling, dropout, flatten, "
    "sums, products and concatenations"
)

HOMOGENEOUS_MODULES = (
    nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
ELEMENTWISE_MODULES = (
    nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.Mish,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.ReLU6, nn.PReLU, nn.Softsign, nn.LogSigmoid,
    nn.Softmax, nn.LogSoftmax,
)  # fmt: skip
NORM_MODULES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.RMSNorm)
HOMOGENEOUS_CALLS: set[Any] = {
    torch.relu, F.relu, F.leaky_relu, F.dropout, F.max_pool1d, F.max_pool2d, F.avg_pool1d,
    F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
    "relu", "relu_", "contiguous", "clone", "float", "double",
}  # fmt: skip
ELEMENTWISE_CALLS: set[Any] = {
    torch.tanh, torch.sigmoid, torch.sin, torch.cos, torch.exp, torch.square, F.tanh, F.sigmoid,
    F.gelu, F.silu, F.elu, F.softplus, F.mish, F.softmax, F.log_softmax, torch.softmax,
    torch.log_softmax, "tanh", "sigmoid", "softmax", "log_softmax", "square", "exp", "sin", "cos",
}  # fmt: skip
PAIRWISE_CALLS: set[Any] = {
    operator.add, operator.sub, operator.mul, operator.iadd, operator.imul, torch.add, torch.sub,
    torch.mul, "add", "sub", "mul", "add_", "mul_",
}  # fmt: skip
FLATTEN_CALLS: set[Any] = {torch.flatten, "flatten"}


@dataclass(frozen=True)
class Channels:
    """What flows along one edge of the traced model: a unit per channel."""

    ids: Tensor  # (channels,) provisional unit ids
    gains: tuple[str, ...] = ()
    flat: bool = False  # several positions of each channel may follow one another


@dataclass
class _Draft:
    """Units and blocks found so far; provisional ids are merged through `alias`."""

    alias: list[int] = field(default_factory=list)
    layers: list[tuple[str, str, Tensor]] = field(default_factory=list)
    blocks: list[WeightBlock] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)

    def new(self, name: str, kind: str, count: int) -> Tensor:
        ids = torch.arange(len(self.alias), len(self.alias) + count)
        self.alias.extend(ids.tolist())
        self.layers.append((name, kind, ids))
        return ids

    def find(self, unit: int) -> int:
        while self.alias[unit] != unit:
            self.alias[unit] = self.alias[self.alias[unit]]
            unit = self.alias[unit]
        return unit

    def merge(self, a: Tensor, b: Tensor) -> None:
        for i, j in zip(a.tolist(), b.tolist(), strict=True):
            i, j = self.find(i), self.find(j)
            self.alias[max(i, j)] = min(i, j)

    def fix(self, ids: Tensor) -> None:
        self.fixed.update(ids.tolist())


def unit_map(model: nn.Module, inputs: int | None = None) -> UnitMap:
    """Reads which units a model has, and which of its weights join them.

    Args:
        model: any module that torch.fx can trace, made of the layers in `READABLE`.
        inputs: number of input features (or channels); needed only where the model slices its
            input before the first layer.

    Raises:
        UnreadableModelError: naming the first layer or operation that cannot be read.
    """
    reader = _Reader(model, inputs)
    return reader.read()


def unit_graph(model: nn.Module, inputs: int | None = None, balanced: bool = True) -> UnitGraph:
    """The unit graph of a model: a vertex per unit, and capacities |w| between them.

    Units are numbered inputs first, then layer by layer, outputs last. A conv channel is one
    unit; its capacity is summed over the kernel.

    Args:
        model: see `unit_map`.
        inputs: see `unit_map`.
        balanced: remove the scale that ReLU units can trade between their incoming and outgoing
            weights for free (see `UnitMap.gauge`).

    Raises:
        UnreadableModelError: naming the first layer or operation that cannot be read.
        GraphError: if a weight is NaN or infinite.

    >>> graph = unit_graph(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    >>> graph.n, graph.m, [group.kind for group in graph.groups]
    (6, 9, ['input', 'hidden', 'output'])
    """
    units = unit_map(model, inputs)
    return units.graph(model, None if balanced else torch.ones(units.n, dtype=torch.float64))


class _Reader:
    def __init__(self, model: nn.Module, inputs: int | None):
        self.model = model
        self.inputs = inputs
        self.draft = _Draft()
        self.values: dict[fx.Node, Channels | None] = {}
        self.parameters = dict(model.named_parameters(remove_duplicate=False))

    def read(self) -> UnitMap:
        for node in self._trace().nodes:
            self.values[node] = self._step(node)
        if not self.draft.blocks:
            raise self._no_layer()
        return _settle(self.draft)

    def _trace(self) -> fx.Graph:
        try:
            return fx.Tracer().trace(self.model)
        except Exception as error:
            raise UnreadableModelError(
                f"{type(self.model).__name__} cannot be traced ({error}); "
                "branches that depend on the data have to go, or the graph be built "
                "with UnitGraph.from_edges"
            ) from error

    def _step(self, node: fx.Node) -> Channels | None:
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "get_attr":
            return None
        if node.op == "output":
            return self._output(node)
        if node.op == "call_module":
            return self._module(node, self.model.get_submodule(str(node.target)))
        return self._call(node)

    def _placeholder(self, node: fx.Node) -> Channels | None:
        if self.values:
            raise self._unreadable(node, "a second input")
        if self.inputs is not None:
            ids = self.draft.new("input", "input", self.inputs)
            self.draft.fix(ids)
            return Channels(ids)
        return None  # sized by the first layer that reads it

    def _output(self, node: fx.Node) -> Channels:
        value = node.args[0]
        if not isinstance(value, fx.Node):
            raise self._unreadable(node, "an output that is not a single tensor")
        if self._waits(value):
            raise self._no_layer()
        out = self._value(node, value)
        self.draft.fix(out.ids)
        return out

    def _value(self, node: fx.Node, argument: Any, width: int | None = None) -> Channels:
        """The channels of an argument; sizes the model's input on first use."""
        value = self.values.get(argument) if isinstance(argument, fx.Node) else None
        if value is not None:
            return value
        if isinstance(argument, fx.Node) and argument.op == "placeholder" and width:
            ids = self.draft.new("input", "input", width)
            self.draft.fix(ids)
            self.values[argument] = Channels(ids)
            return Channels(ids)
        if isinstance(argument, fx.Node) and argument.op == "placeholder":
            raise UnreadableModelError(
                f"the model's input is used by '{node}' before a layer tells its width; "
                "pass inputs=NUMBER_OF_FEATURES"
            )
        raise self._unreadable(node, "an argument that is no layer's output")

    def _module(self, node: fx.Node, module: nn.Module) -> Channels | None:
        source, name = node.args[0], str(node.target)
        if isinstance(module, nn.Linear):
            return self._linear(node, name, f"{name}.weight", module.weight, source)
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return self._conv(node, name, module)
        if self._waits(source) and isinstance(module, (*HOMOGENEOUS_MODULES, nn.Flatten)):
            return None
        if isinstance(module, NORM_MODULES):
            return self._norm(node, name, module)
        if isinstance(module, nn.Flatten):
            return replace(self._value(node, source), flat=True)
        if isinstance(module, HOMOGENEOUS_MODULES):
            return self._value(node, source)
        if isinstance(module, ELEMENTWISE_MODULES):
            return self._elementwise(node, source)
        raise self._unreadable(node, f"layer '{name}' of type {type(module).__name__}")

    def _waits(self, argument: Any) -> bool:
        """Whether `argument` is the model's input, not yet sized."""
        return isinstance(argument, fx.Node) and self.values.get(argument) is None

    def _norm(self, node: fx.Node, name: str, module: nn.Module) -> Channels:
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            value = self._value(node, node.args[0], module.normalized_shape[-1])
            self.draft.fix(value.ids)
        else:
            assert isinstance(module, nn.modules.batchnorm._BatchNorm)
            value = self._value(node, node.args[0], module.num_features)
        return replace(value, gains=(*value.gains, name))

    def _elementwise(self, node: fx.Node, source: Any) -> Channels:
        value = self._value(node, source)
        self.draft.fix(value.ids)
        return value

    def _call(self, node: fx.Node) -> Channels | None:
        target: Any = node.target
        if target is F.linear:
            return self._functional_linear(node)
        if target in PAIRWISE_CALLS:
            return self._pairwise(node)
        if target in (torch.cat, torch.concat):
            return self._concatenate(node)
        if target is operator.getitem:
            return self._slice(node)
        if target in FLATTEN_CALLS or (target in ("view", "reshape") and _keeps_batch(node)):
            value = self.values.get(node.args[0])  # type: ignore[arg-type]
            return None if value is None else replace(value, flat=True)
        if target in HOMOGENEOUS_CALLS:
            return self._value(node, node.args[0])
        if target in ELEMENTWISE_CALLS:
            return self._elementwise(node, node.args[0])
        raise self._unreadable(node, f"operation '{_name(target)}'")

    def _functional_linear(self, node: fx.Node) -> Channels:
        weight = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
        if not (isinstance(weight, fx.Node) and weight.target in self.parameters):
            raise self._unreadable(node, "F.linear with a weight that is no parameter")
        name = str(weight.target)
        return self._linear(node, name, name, self.parameters[name], node.args[0])

    def _linear(
        self, node: fx.Node, name: str, parameter: str, weight: Tensor, source: Any
    ) -> Channels:
        rows, width = weight.shape
        source = self._through_unsized(source)
        value = self._value(node, source, width)
        columns = self._columns(node, value, width)
        ids = self.draft.new(name, "hidden", rows)
        self.draft.blocks.append(WeightBlock(parameter, ids, columns[None], value.gains))
        return Channels(ids)

    def _through_unsized(self, source: Any) -> Any:
        """The placeholder behind a flatten or pooling that came before the first layer."""
        while isinstance(source, fx.Node) and source.op != "placeholder" and self._waits(source):
            source = source.args[0]
        return source

    def _columns(self, node: fx.Node, value: Channels, width: int) -> Tensor:
        if width == len(value.ids):
            return value.ids
        if value.flat and width % len(value.ids) == 0:
            return value.ids.repeat_interleave(width // len(value.ids))
        raise self._unreadable(node, f"'{node}' reads {width} features of {len(value.ids)} units")

    def _conv(self, node: fx.Node, name: str, conv: nn.modules.conv._ConvNd) -> Channels:
        source = self._through_unsized(node.args[0])
        value = self._value(node, source, conv.in_channels)
        ids = self.draft.new(name, "hidden", conv.out_channels)
        per_group = value.ids.reshape(conv.groups, -1)
        columns = per_group.repeat_interleave(conv.out_channels // conv.groups, dim=0)
        columns = columns[:1] if conv.groups == 1 else columns
        if conv.groups > 1 and value.gains:
            raise self._unreadable(node, f"'{name}', a grouped convolution behind a normalisation")
        self.draft.blocks.append(WeightBlock(f"{name}.weight", ids, columns, value.gains))
        return Channels(ids)

    def _pairwise(self, node: fx.Node) -> Channels | None:
        nodes = [a for a in node.args[:2] if isinstance(a, fx.Node) and a.op != "get_attr"]
        if len(nodes) == 1:
            value = self.values.get(nodes[0])
            is_product = node.target in (operator.mul, operator.imul, torch.mul, "mul", "mul_")
            if value is not None and not is_product:
                self.draft.fix(value.ids)  # a constant added behind the unit breaks its scaling
            return value
        a, b = (self._value(node, each) for each in nodes)
        if len(a.ids) != len(b.ids):
            raise self._unreadable(node, f"'{node}' joins {len(a.ids)} units to {len(b.ids)}")
        self.draft.merge(a.ids, b.ids)
        self.draft.fix(a.ids)
        return a if a.gains == b.gains else replace(a, gains=())

    def _concatenate(self, node: fx.Node) -> Channels:
        parts: Any = node.args[0] if node.args else node.kwargs["tensors"]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        values = [self._value(node, part) for part in parts]
        if dim not in (1, -1) or any(value.gains for value in values):
            raise self._unreadable(node, f"a concatenation along dimension {dim}")
        return Channels(torch.cat([value.ids for value in values]))

    def _slice(self, node: fx.Node) -> Channels:
        index: Any = node.args[1]
        value = self._value(node, node.args[0])
        index = index if isinstance(index, tuple) else (index,)
        leading = (slice(None), Ellipsis)
        if len(index) != 2 or index[0] not in leading or not isinstance(index[1], slice | list):
            raise self._unreadable(node, f"the slice {index}; only x[:, a:b] keeps its units")
        return Channels(value.ids[index[1]], value.gains)

    def _no_layer(self) -> UnreadableModelError:
        return UnreadableModelError(
            f"{type(self.model).__name__} has no Linear or Conv layer, so no capacities"
        )

    def _unreadable(self, node: fx.Node, what: str) -> UnreadableModelError:
        return UnreadableModelError(
            f"cannot read {what} in {type(self.model).__name__}; readable are {READABLE}"
        )


def _keeps_batch(node: fx.Node) -> bool:
    shape = node.args[1:] if len(node.args) != 2 else node.args[1]
    return isinstance(shape, tuple) and len(shape) == 2 and bool(shape[1] == -1)


def _name(target: str | Callable[..., Any]) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _settle(draft: _Draft) -> UnitMap:
    """Final numbering: inputs, then layers in order, outputs last; merged units counted once."""
    roots = torch.tensor([draft.find(unit) for unit in range(len(draft.alias))])
    outputs = _output_layer(draft)
    order = [layer for layer in draft.layers if layer is not outputs]
    order.append(outputs)
    number, groups, start = torch.full((len(roots),), -1), [], 0
    for name, kind, ids in order:
        own = ids[roots[ids] == ids]
        number[own] = torch.arange(start, start + len(own))
        if len(own):
            kind = "output" if (name, kind) == outputs[:2] and kind != "input" else kind
            groups.append(UnitGroup(name, kind, start, start + len(own)))
        start += len(own)
    number = number[roots]
    fixed = {draft.find(unit) for unit in draft.fixed}
    rescalable = torch.ones(start, dtype=torch.bool)
    rescalable[number[torch.tensor(sorted(fixed), dtype=torch.long)]] = False
    blocks = tuple(
        replace(block, rows=number[block.rows], columns=number[block.columns])
        for block in draft.blocks
    )
    return UnitMap(start, tuple(groups), blocks, rescalable)


def _output_layer(draft: _Draft) -> tuple[str, str, Tensor]:
    """The last layer that owns units of its own."""
    for layer in reversed(draft.layers):
        if any(draft.find(unit) == unit for unit in layer[2].tolist()):
            return layer
    return draft.layers[-1]
