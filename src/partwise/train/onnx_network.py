"""ONNX files as PyTorch networks.

The reader is Partwise's own, on the `onnx` package alone. onnx2torch would bring torchvision and
had its last release in 2024; what is needed of it is one function per operation (`onnx_ops`). Own
code also keeps the file's names for weights, and refuses by name what it does not know.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import CheckpointError, MissingExtraError, UnreadableModelError
from partwise.train.onnx_ops import DTYPES, KNOWN_ONLY, OPERATIONS, Node, Value, tensor
from partwise.train.weight_files import BROKEN

DOMAINS = ("", "ai.onnx")
BATCH = 2
SIZES = (8, 32, 224)
"""What a symbolic axis that is no batch is tried at, in turn."""

Example = Tensor | tuple[Any, ...]


class OnnxNetwork(nn.Module):
    """A network that runs an ONNX graph node by node, with PyTorch's functions.

    Floating initialisers are parameters, running statistics and constants are buffers. They are
    named as in the file: a dot or slash opens a submodule (`fc1.weight`), other signs become `_`.
    Values that do not depend on the data, such as shapes, are known before the graph runs; they
    are computed with NumPy, by ONNX's own reference.

    Args:
        graph: an `onnx.GraphProto` without functions.
        opset: version of ONNX's operations that it was written for.

    Raises:
        MissingExtraError: if onnx is not installed.
        UnreadableModelError: naming operations that are not read, with those that are.
    """

    def __init__(self, graph: Any, opset: int):
        super().__init__()
        onnx = import_onnx()
        _refuse_unread(graph.node)
        self._nodes = [_node(onnx, proto, opset) for proto in graph.node]
        self._opset = opset
        self._protos = {
            node.outputs[0]: proto for node, proto in zip(self._nodes, graph.node, strict=True)
        }
        self._references: dict[str, Any] = {}
        self._known: dict[str, NDArray[Any]] = {}
        self._paths: dict[str, tuple[str, ...]] = {}
        statistics = {
            name
            for node in self._nodes
            if node.kind == "BatchNormalization"
            for name in node.inputs[3:5]
        }
        for initial in graph.initializer:
            array = onnx.numpy_helper.to_array(initial)
            self._hold(initial.name, array, trained=initial.name not in statistics)
        for node in [node for node in self._nodes if node.kind == "Constant"]:
            self._hold(node.outputs[0], _constant(onnx, node), trained=False)
        self._nodes = [node for node in self._nodes if node.kind != "Constant"]
        held = self._known.keys() | self._paths.keys()
        self._inputs = [value.name for value in graph.input if value.name not in held]
        self._outputs = [value.name for value in graph.output]

    def forward(self, *inputs: Tensor) -> Any:
        """The graph's outputs; a tuple where there are several."""
        if len(inputs) != len(self._inputs):
            names = ", ".join(self._inputs)
            raise ValueError(f"the network takes {len(self._inputs)} inputs ({names})")
        values: dict[str, Value] = {**self._known, **dict(zip(self._inputs, inputs, strict=True))}
        for name, path in self._paths.items():
            owner: Any = self
            for step in path:
                owner = getattr(owner, step)
            values[name] = owner
        for node in self._nodes:
            given = [values[name] if name else None for name in node.inputs]
            results = self._run(node, given)
            values.update(zip(node.outputs, results, strict=False))
        outputs = tuple(tensor(values[name]) for name in self._outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs that are no weights, in order."""
        return tuple(self._inputs)

    def operations(self) -> Counter[str]:
        """How often each operation occurs."""
        return Counter(node.kind for node in self._nodes)

    def _run(self, node: Node, given: Sequence[Value]) -> Sequence[Any]:
        first = given[0] if given else None
        if node.kind == "Shape" and isinstance(first, Tensor):
            sizes = [int(n) for n in first.shape][node.get("start", 0) : node.get("end")]
            return [np.array(sizes, np.int64)]
        if node.kind == "Size" and isinstance(first, Tensor):
            return [np.array(first.numel(), np.int64)]
        if not any(isinstance(value, Tensor) for value in given):
            if node.kind in ("Shape", "Size"):
                return [np.array(getattr(first, node.kind.lower()), np.int64)]
            names = [name for name in node.inputs if name]
            known = dict(zip(names, [v for v in given if v is not None], strict=True))
            return self._reference(node).run(None, known)
        if node.kind in KNOWN_ONLY:
            raise node.refuse("takes values that the network computes from its inputs")
        result = OPERATIONS[node.kind](node, *given)
        return result if isinstance(result, tuple) else (result,)

    def _reference(self, node: Node) -> Any:
        """ONNX's own evaluation of a node whose inputs are known."""
        if node.outputs[0] not in self._references:
            reference, proto = import_onnx().reference, self._protos[node.outputs[0]]
            made = reference.ReferenceEvaluator(proto, opsets={"": self._opset})
            self._references[node.outputs[0]] = made
        return self._references[node.outputs[0]]

    def _hold(self, name: str, array: NDArray[Any], trained: bool) -> None:
        """Keeps a value of the file: floating arrays as tensors, the rest as known."""
        value = _as_tensor(array)
        if value is None or value.dim() == 0 or not value.is_floating_point():
            self._known[name] = array
            return
        steps = [_legal(step) for step in re.split(r"[./]", name) if step] or ["_"]
        owner: nn.Module = self
        path = []
        for step in steps[:-1]:
            while hasattr(owner, step) and type(owner._modules.get(step)) is not nn.Module:
                step += "_"
            if step not in owner._modules:
                owner.add_module(step, nn.Module())
            owner = owner.get_submodule(step)
            path.append(step)
        last = steps[-1]
        while hasattr(owner, last):
            last += "_"
        if trained:
            owner.register_parameter(last, nn.Parameter(value))
        else:
            owner.register_buffer(last, value)
        self._paths[name] = (*path, last)


def load_onnx(path: Path) -> tuple[OnnxNetwork, Example]:
    """The network of an ONNX file, and an example of its inputs.

    The example has the shapes that the file gives; a symbolic first axis counts 2, other symbolic
    axes the first of 8, 32, 224 that the network runs on.

    Raises:
        MissingExtraError: if onnx is not installed.
        CheckpointError: if the file is damaged, or the network does not run.
        UnreadableModelError: naming what is not read.
    """
    onnx = import_onnx()
    try:
        proto = onnx.load(str(path))
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
    except (onnx.checker.ValidationError, _decode_error(), *BROKEN) as error:
        raise CheckpointError(f"{path} is no intact ONNX file ({_line(error)})") from error
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        raise CheckpointError(f"{path} is no intact ONNX file (it holds no whole graph)")
    opset = max([each.version for each in proto.opset_import if each.domain in DOMAINS] or [0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = OnnxNetwork(proto.graph, opset).eval()
    except UnreadableModelError as error:
        raise UnreadableModelError(f"{path}: {error}") from error
    except (onnx.checker.ValidationError, _decode_error(), *BROKEN) as error:
        raise CheckpointError(f"{path} is no intact ONNX file ({_line(error)})") from error
    return model, _example(proto.graph, model, path)


def import_onnx() -> Any:
    """The onnx package, with what is used of it.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import onnx
        import onnx.inliner
        import onnx.reference
    except ImportError as error:
        raise MissingExtraError(
            "reading .onnx files needs the onnx package: pip install 'partwise[onnx]'"
        ) from error
    return onnx


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError


def _line(error: Exception) -> str:
    return (next(iter(str(error).strip().splitlines()), "") or type(error).__name__)[:200]


def _node(onnx: Any, proto: Any, opset: int) -> Node:
    attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in proto.attribute}
    name = proto.name or next(iter(proto.output), "")
    kind = proto.op_type
    return Node(kind, name, tuple(proto.input), tuple(proto.output), attributes, opset)


def _plain(value: Any) -> Any:
    """An attribute as Python's values: text for bytes, lists for repeated fields."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str | int | float) or hasattr(value, "DESCRIPTOR"):
        return value
    return [_plain(each) for each in value]


def _refuse_unread(nodes: Sequence[Any]) -> None:
    unread = Counter(
        proto.op_type if proto.domain in DOMAINS else f"{proto.domain}::{proto.op_type}"
        for proto in nodes
        if proto.domain not in DOMAINS or proto.op_type not in (*OPERATIONS, *KNOWN_ONLY)
    )
    if unread:
        raise UnreadableModelError(
            f"ONNX's {', '.join(sorted(unread))} cannot be read; readable are "
            f"{', '.join(sorted((*OPERATIONS, *KNOWN_ONLY)))}"
        )


def _constant(onnx: Any, node: Node) -> NDArray[Any]:
    for name, value in node.attributes.items():
        if name == "value":
            return onnx.numpy_helper.to_array(value)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise node.refuse("holds a value that is not read")


def _as_tensor(array: NDArray[Any]) -> Tensor | None:
    """A copy as a tensor; None for types that PyTorch does not have."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    try:
        return torch.from_numpy(np.array(array))
    except TypeError:
        return None


def _legal(step: str) -> str:
    return re.sub(r"\W", "_", step)


def _example(graph: Any, model: OnnxNetwork, path: Path) -> Example:
    """Inputs of the shapes that the graph gives, on which the network runs.

    Raises:
        CheckpointError: if it runs on none.
    """
    shapes, dtypes = [], []
    for value in [value for value in graph.input if value.name in model.input_names]:
        kind = value.type.tensor_type
        if kind.elem_type not in DTYPES or not kind.HasField("shape"):
            raise CheckpointError(f"{path}: its input {value.name} is no tensor of known rank")
        shapes.append(
            [
                (d.dim_value, d.dim_param or f"{value.name}#{i}")
                for i, d in enumerate(kind.shape.dim)
            ]
        )
        dtypes.append(DTYPES[kind.elem_type])
    if not shapes:
        raise CheckpointError(f"{path}: its network takes no inputs")
    batches = {shape[0][1] for shape in shapes if shape and shape[0][0] <= 0}
    named = sorted({name for shape in shapes for n, name in shape if n <= 0} - batches)
    reason: Exception = CheckpointError("no size tried")
    generator = torch.Generator().manual_seed(0)
    for sizes in product(SIZES, repeat=len(named)) if len(named) < 4 else [(8,) * len(named)]:
        size = dict.fromkeys(batches, BATCH) | dict(zip(named, sizes, strict=True))
        example = tuple(
            _random([n if n > 0 else size[name] for n, name in shape], dtype, generator)
            for shape, dtype in zip(shapes, dtypes, strict=True)
        )
        try:
            with torch.no_grad():
                model(*example)
        except UnreadableModelError as error:
            raise UnreadableModelError(f"{path}: {error}") from error
        except BROKEN as error:
            reason = error
            continue
        return example[0] if len(example) == 1 else example
    tried = f"; its symbolic axes {', '.join(named)} were tried at {SIZES}" if named else ""
    raise CheckpointError(
        f"{path}: its network does not run on inputs of its shapes ({_line(reason)}){tried}"
    ) from reason


def _random(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if not dtype.is_floating_point:
        return torch.zeros(*shape, dtype=dtype)
    return torch.randn(*shape, generator=generator).to(dtype)
