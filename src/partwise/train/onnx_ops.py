"""ONNX's operations in PyTorch's: one function each, listed in `OPERATIONS`.

Meanings are those of ONNX's operator reference (https://onnx.ai/onnx/operators). A function takes
its node and the node's inputs: tensors, or NumPy arrays where a value is known before the network
runs, such as shapes and axes. What is left out of a node's inputs is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from partwise.errors import UnreadableModelError

Value = Tensor | NDArray[Any] | None
Operation = Callable[..., Any]

DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""ONNX's numbers of types -> PyTorch's types."""


@dataclass(frozen=True, eq=False)
class Node:
    """One node of a graph.

    Attributes:
        kind: its operation.
        name: its own name, or that of its first output.
        inputs, outputs: names of values; "" for one left out.
        attributes: what else it says.
        opset: version of ONNX's operations that the file was written for.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 0

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> UnreadableModelError:
        """The error that names this node."""
        return UnreadableModelError(f"ONNX's {self.kind} '{self.name}' {why}")


def operand(value: Value) -> Any:
    """A value as PyTorch's functions take it: known numbers as numbers, known arrays as tensors."""
    if not isinstance(value, np.ndarray):
        return value
    return value.item() if value.ndim == 0 else tensor(value)


def tensor(value: Value) -> Tensor:
    """A value as a tensor; a tensor as it is, so that exports stay free of conversions."""
    return value if isinstance(value, Tensor) else torch.as_tensor(np.array(value))


def known_ints(node: Node, value: Value, what: str) -> list[int]:
    """Numbers that must be known before the network runs.

    Raises:
        UnreadableModelError: if they are computed from the network's inputs.
    """
    if isinstance(value, np.ndarray):
        return [int(v) for v in value.reshape(-1)]
    raise node.refuse(f"takes {what} that the network computes from its inputs")


def _ints(node: Node, value: Value, attribute: str) -> list[int] | None:
    """Numbers that newer files give as an input, and older ones as an attribute."""
    if value is not None:
        return known_ints(node, value, attribute)
    given = node.get(attribute)
    return None if given is None else [int(v) for v in given]


def _elementwise(function: Callable[..., Any]) -> Operation:
    return lambda node, *args: function(*(operand(arg) for arg in args))


def _first(function: Callable[[Node, Tensor], Any]) -> Operation:
    """Of operations that look at their first input alone."""
    return lambda node, x, *rest: function(node, tensor(x))


def _folded(function: Callable[[Any, Any], Any]) -> Operation:
    """Of operations of any number of inputs."""
    return lambda node, *args: reduce(function, [tensor(arg) for arg in args])


def _divide(a: Any, b: Any) -> Any:
    whole = not any(
        x.is_floating_point() if isinstance(x, Tensor) else isinstance(x, float) for x in (a, b)
    )
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _gemm(node: Node, a: Value, b: Value, c: Value = None) -> Tensor:
    x, weight = tensor(a), tensor(b)
    x = x.t() if node.get("transA", 0) else x
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    rows = weight if node.get("transB", 0) else weight.t()
    bias = None if c is None else tensor(c)
    if alpha == 1 and beta == 1 and (bias is None or bias.shape == rows.shape[:1]):
        return F.linear(x, rows, bias)
    y = alpha * F.linear(x, rows)
    return y if bias is None else y + beta * bias


def _pads(node: Node, size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padding before and after each axis."""
    rank, kind = len(kernel), node.get("auto_pad", "NOTSET")
    if kind in ("NOTSET", ""):
        pads = node.get("pads", [0] * 2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    if kind == "VALID":
        return [0] * rank, [0] * rank
    steps, spread = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    total = [
        max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, steps, spread, strict=True)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (less, more) if kind == "SAME_UPPER" else (more, less)


def _padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    pairs = list(zip(before, after, strict=True))[::-1]
    return F.pad(x, [n for pair in pairs for n in pair], value=value)


def _conv(node: Node, x: Value, w: Value, b: Value = None) -> Tensor:
    x, w, b = tensor(x), tensor(w), None if b is None else tensor(b)
    kernel = w.shape[2:]
    before, after = _pads(node, x.shape[2:], kernel)
    padding: Any = before
    if before != after:
        x, padding = _padded(x, before, after), 0
    run: Any = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
    steps, spread = node.get("strides", 1), node.get("dilations", 1)
    return run(x, w, b, steps, padding, spread, node.get("group", 1))


def _conv_transpose(node: Node, x: Value, w: Value, b: Value = None) -> Tensor:
    x, w, b = tensor(x), tensor(w), None if b is None else tensor(b)
    rank = w.dim() - 2
    before, after = _pads(node, x.shape[2:], w.shape[2:])
    odd_pads = node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", "")
    if "output_shape" in node.attributes or odd_pads or before != after:
        raise node.refuse("has an output shape or uneven padding, which is not read")
    run: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    more, group = node.get("output_padding", 0), node.get("group", 1)
    return run(x, w, b, node.get("strides", 1), before, more, group, node.get("dilations", 1))


def _max_pool(node: Node, x: Value) -> Tensor:
    x, kernel = tensor(x), node.get("kernel_shape")
    before, after = _pads(node, x.shape[2:], kernel)
    padding: Any = before
    if before != after or any(2 * p > k for p, k in zip(before, kernel, strict=True)):
        x, padding = _padded(x, before, after, -math.inf), 0
    run: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    steps, spread = node.get("strides", [1] * len(kernel)), node.get("dilations", 1)
    return run(x, kernel, steps, padding, spread, bool(node.get("ceil_mode", 0)))


def _average_pool(node: Node, x: Value) -> Tensor:
    x, kernel = tensor(x), node.get("kernel_shape")
    if any(d != 1 for d in node.get("dilations", [])):
        raise node.refuse("is dilated, which is not read")
    before, after = _pads(node, x.shape[2:], kernel)
    run: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    steps, ceil = node.get("strides", [1] * len(kernel)), bool(node.get("ceil_mode", 0))
    with_pads = bool(node.get("count_include_pad", 0))
    if before == after and all(2 * p <= k for p, k in zip(before, kernel, strict=True)):
        return run(x, kernel, steps, before, ceil, with_pads)
    y = run(_padded(x, before, after), kernel, steps, 0, ceil)
    if with_pads:
        return y
    return y / run(_padded(torch.ones_like(x), before, after), kernel, steps, 0, ceil)


def _batch_norm(node: Node, x: Value, w: Value, b: Value, mean: Value, var: Value) -> Tensor:
    if node.get("training_mode", 0) or (node.opset < 14 and len(node.outputs) > 1):
        raise node.refuse("is in training mode; export the network after model.eval()")
    eps = node.get("epsilon", 1e-5)
    stats, affine = (tensor(mean), tensor(var)), (tensor(w), tensor(b))
    return F.batch_norm(tensor(x), *stats, *affine, False, 0.0, eps)


def _layer_norm(node: Node, x: Value, w: Value, b: Value = None) -> Tensor:
    x = tensor(x)
    axis = node.get("axis", -1)
    shape = x.shape[axis:]
    bias = None if b is None else tensor(b).expand(shape)
    return F.layer_norm(x, shape, tensor(w).expand(shape), bias, node.get("epsilon", 1e-5))


def _rms_norm(node: Node, x: Value, w: Value) -> Tensor:
    x = tensor(x)
    shape = x.shape[node.get("axis", -1) :]
    return F.rms_norm(x, list(shape), tensor(w).expand(shape), node.get("epsilon", 1e-5))


def _group_norm(node: Node, x: Value, w: Value, b: Value) -> Tensor:
    x, w, b = tensor(x), tensor(w), tensor(b)
    groups = node.get("num_groups")
    if len(w) != x.shape[1]:
        w, b = (t.repeat_interleave(x.shape[1] // groups) for t in (w, b))
    return F.group_norm(x, groups, w, b, node.get("epsilon", 1e-5))


def _softmax(function: Callable[..., Tensor]) -> Operation:
    def run(node: Node, x: Value) -> Tensor:
        x = tensor(x)
        axis = node.get("axis", -1 if node.opset >= 13 else 1)
        if node.opset >= 13 or axis in (-1, x.dim() - 1):
            return function(x, dim=axis)
        return function(x.flatten(axis), dim=-1).reshape(x.shape)

    return run


def _clip(node: Node, x: Value, low: Value = None, high: Value = None) -> Tensor:
    bounds = [node.get("min") if low is None else operand(low)]
    bounds.append(node.get("max") if high is None else operand(high))
    x = tensor(x)
    if bounds == [None, None]:
        return x
    numbers = [b.item() if isinstance(b, Tensor) and b.numel() == 1 else b for b in bounds]
    if numbers == [0, 6]:
        return F.relu6(x)
    return torch.clamp(x, *numbers)


def _reduced(function: Callable[..., Tensor]) -> Operation:
    def run(node: Node, x: Value, axes: Value = None) -> Tensor:
        x, keep = tensor(x), bool(node.get("keepdims", 1))
        over = _ints(node, axes, "axes")
        if not over:
            if node.get("noop_with_empty_axes", 0):
                return x
            over = list(range(x.dim()))
        return function(x, over, keep)

    return run


def _reshape(node: Node, x: Value, shape: Value = None) -> Tensor:
    x, wanted = tensor(x), _ints(node, shape, "shape") or []
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.dim() > 1 else x.reshape(-1, 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(node: Node, x: Value, axes: Value = None) -> Tensor:
    over = _ints(node, axes, "axes")
    return tensor(x).squeeze() if over is None else tensor(x).squeeze(tuple(over))


def _unsqueeze(node: Node, x: Value, axes: Value = None) -> Tensor:
    x, over = tensor(x), _ints(node, axes, "axes") or []
    rank = x.dim() + len(over)
    for axis in sorted(a + rank if a < 0 else a for a in over):
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node, *args: Value) -> Tensor:
    return torch.cat([tensor(arg) for arg in args], dim=node.get("axis", 1))


def _split(node: Node, x: Value, sizes: Value = None) -> tuple[Tensor, ...]:
    x, axis = tensor(x), node.get("axis", 0)
    given = _ints(node, sizes, "split")
    if given is None:
        return torch.split(x, math.ceil(x.shape[axis] / len(node.outputs)), axis)
    return torch.split(x, given, axis)


def _slice(
    node: Node,
    x: Value,
    starts: Value = None,
    ends: Value = None,
    axes: Value = None,
    steps: Value = None,
) -> Tensor:
    x = tensor(x)
    first, last = _ints(node, starts, "starts") or [], _ints(node, ends, "ends") or []
    over = _ints(node, axes, "axes") or list(range(len(first)))
    for axis, a, b, step in zip(
        over, first, last, _ints(node, steps, "steps") or [1] * len(over), strict=True
    ):
        at = range(x.shape[axis])[a:b:step]
        if step > 0:
            length = len(at)
            x = (
                x.narrow(axis, at.start, max(0, (length - 1) * step + 1))
                if length
                else x.narrow(axis, 0, 0)
            )
            x = x if step == 1 else x.index_select(axis, torch.arange(0, x.shape[axis], step))
        else:
            x = x.index_select(axis, torch.tensor(list(at)))
    return x


def _gather(node: Node, x: Value, index: Value) -> Tensor:
    x, axis = tensor(x), node.get("axis", 0)
    if isinstance(index, np.ndarray) and index.ndim == 0:
        return x.select(axis, int(index))
    at = tensor(index).long()
    size = x.shape[axis]
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 0 and x.dim() == 2 and not isinstance(index, np.ndarray):
        return F.embedding(at, x)
    at = torch.where(at < 0, at + size, at)
    picked = x.index_select(axis, at.flatten())
    return picked.reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])


def _pad(node: Node, x: Value, pads: Value = None, fill: Value = None, axes: Value = None) -> Any:
    x, sizes = tensor(x), _ints(node, pads, "pads") or []
    over = _ints(node, axes, "axes") or list(range(x.dim()))
    half = len(sizes) // 2
    before, after = [0] * x.dim(), [0] * x.dim()
    for axis, a, b in zip(over, sizes[:half], sizes[half:], strict=True):
        before[axis], after[axis] = a, b
    while before and before[0] == after[0] == 0:
        before, after = before[1:], after[1:]
    if not before:
        return x
    mode = node.get("mode", "constant")
    if mode == "constant":
        value = node.get("value", 0.0) if fill is None else float(operand(fill))
        return _padded(x, before, after, value)
    kinds = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    pairs = list(zip(before, after, strict=True))[::-1]
    return F.pad(x, [n for pair in pairs for n in pair], mode=kinds[mode])


def _expand(node: Node, x: Value, shape: Value) -> Tensor:
    x = tensor(x)
    return x.expand(torch.broadcast_shapes(x.shape, known_ints(node, shape, "a shape")))


def _tile(node: Node, x: Value, repeats: Value) -> Tensor:
    return tensor(x).repeat(known_ints(node, repeats, "repeats"))


def _dropout(node: Node, x: Value, ratio: Value = None, training: Value = None) -> Any:
    if training is not None and (not isinstance(training, np.ndarray) or bool(training)):
        raise node.refuse("is in training mode; export the network after model.eval()")
    x = tensor(x)
    return (x, torch.ones_like(x, dtype=torch.bool)) if len(node.outputs) > 1 else x


def _cast(node: Node, x: Tensor) -> Tensor:
    if node.get("to") not in DTYPES:
        raise node.refuse("casts to a type that is not read")
    return x.to(DTYPES[node.get("to")])


def _prelu(node: Node, x: Value, slope: Value) -> Tensor:
    x, slope = tensor(x), tensor(slope)
    per_channel = slope.numel() == 1 or slope.shape == (x.shape[1], *[1] * (x.dim() - 2))
    return F.prelu(x, slope.flatten()) if per_channel else torch.where(x > 0, x, slope * x)


def _selu(node: Node, x: Tensor) -> Tensor:
    if not {"alpha", "gamma"} & node.attributes.keys():
        return F.selu(x)
    return node.get("gamma", 1.0507009873554805) * F.elu(x, node.get("alpha", 1.6732632423543772))


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    b, (n, c, h, w) = node.get("blocksize"), x.shape
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, b)
    x = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    b, (n, c, h, w) = node.get("blocksize"), x.shape
    x = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * b**2, h // b, w // b)


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


OPERATIONS: dict[str, Operation] = {
    # Mixing.
    "Gemm": _gemm,
    "MatMul": lambda node, a, b: torch.matmul(tensor(a), tensor(b)),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": lambda node, *args: torch.einsum(node.get("equation"), *map(tensor, args)),
    # Between values.
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
    "Pow": _elementwise(torch.pow),
    "Sum": _folded(torch.add),
    "Mean": lambda node, *args: reduce(torch.add, map(tensor, args)) / len(args),
    "Min": _folded(torch.minimum),
    "Max": _folded(torch.maximum),
    "Where": _elementwise(torch.where),
    "Equal": _elementwise(lambda a, b: a == b),
    "Greater": _elementwise(lambda a, b: a > b),
    "GreaterOrEqual": _elementwise(lambda a, b: a >= b),
    "Less": _elementwise(lambda a, b: a < b),
    "LessOrEqual": _elementwise(lambda a, b: a <= b),
    "And": _folded(torch.logical_and),
    "Or": _folded(torch.logical_or),
    "Not": _first(lambda node, x: torch.logical_not(x)),
    # Of one value.
    "Relu": _first(lambda node, x: F.relu(x)),
    "LeakyRelu": _first(lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01))),
    "PRelu": _prelu,
    "Elu": _first(lambda node, x: F.elu(x, node.get("alpha", 1.0))),
    "Celu": _first(lambda node, x: F.celu(x, node.get("alpha", 1.0))),
    "Selu": _first(_selu),
    "Gelu": _first(lambda node, x: F.gelu(x, approximate=node.get("approximate", "none"))),
    "HardSwish": _first(lambda node, x: F.hardswish(x)),
    "HardSigmoid": _first(
        lambda node, x: (x * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0, 1)
    ),
    "Mish": _first(lambda node, x: F.mish(x)),
    "Swish": _first(
        lambda node, x: F.silu(x) if node.get("alpha", 1.0) == 1
        else x * torch.sigmoid(node.get("alpha") * x)
    ),
    "Softplus": _first(lambda node, x: F.softplus(x)),
    "Softsign": _first(lambda node, x: F.softsign(x)),
    "Sigmoid": _first(lambda node, x: torch.sigmoid(x)),
    "Tanh": _first(lambda node, x: torch.tanh(x)),
    "Erf": _first(lambda node, x: torch.erf(x)),
    "Exp": _first(lambda node, x: torch.exp(x)),
    "Log": _first(lambda node, x: torch.log(x)),
    "Sqrt": _first(lambda node, x: torch.sqrt(x)),
    "Reciprocal": _first(lambda node, x: torch.reciprocal(x)),
    "Abs": _first(lambda node, x: torch.abs(x)),
    "Neg": _first(lambda node, x: torch.neg(x)),
    "Sign": _first(lambda node, x: torch.sign(x)),
    "Sin": _first(lambda node, x: torch.sin(x)),
    "Cos": _first(lambda node, x: torch.cos(x)),
    "Floor": _first(lambda node, x: torch.floor(x)),
    "Ceil": _first(lambda node, x: torch.ceil(x)),
    "Clip": _clip,
    "Softmax": _softmax(F.softmax),
    "LogSoftmax": _softmax(F.log_softmax),
    "Cast": _first(_cast),
    "Dropout": _dropout,
    "Identity": _first(lambda node, x: x),
    # Normalisations.
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": lambda node, x, w, b: F.instance_norm(
        tensor(x), weight=tensor(w), bias=tensor(b), eps=node.get("epsilon", 1e-5)
    ),
    # Over positions or axes.
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _first(lambda node, x: x.mean(_spatial(x), keepdim=True)),
    "GlobalMaxPool": _first(lambda node, x: x.amax(_spatial(x), keepdim=True)),
    "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceProd": _reduced(
        lambda x, axes, keep: reduce(lambda y, a: y.prod(a, keepdim=keep), sorted(axes)[::-1], x)
    ),
    # Moving data.
    "Flatten": _first(_flatten),
    "Reshape": _reshape,
    "Transpose": _first(lambda node, x: x.permute(node.get("perm", [*range(x.dim())][::-1]))),
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _first(_depth_to_space),
    "SpaceToDepth": _first(_space_to_depth),
}  # fmt: skip
"""Name of an operation -> what runs it."""

KNOWN_ONLY = ("Shape", "Size", "Constant", "ConstantOfShape", "Range", "Mod")
"""Operations whose values must be known before the network runs, beside those above."""
