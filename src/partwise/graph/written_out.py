"""A copy of a network in which every use of a weight is a layer of its own.

Hooks see whole layers. They cannot tell apart two calls of one layer's weight by functional code,
or reach a product inside `nn.MultiheadAttention` or `nn.GRU`. `written_out` exports the network to
a graph of ATen operations, and puts a plain layer in the place of every product with a weight.
"""

from __future__ import annotations

import contextlib
import operator
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from partwise.errors import UnreadableModelError, first_line
from partwise.graph.activity import evaluating
from partwise.graph.examples import Example, as_arguments, refuse_without_weights
from partwise.graph.reading import unwrapped
from partwise.graph.running import plain_operations

ATEN = torch.ops.aten

OPENED = {
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "_convolution", "_convolution_mode", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell",
    "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "scaled_dot_product_attention", "einsum",
    "_scaled_dot_product_attention_math", "_scaled_dot_product_flash_attention_for_cpu", "inner",
    "bilinear", "tensordot", "chain_matmul", "linalg_multi_dot", "linalg_matmul", "baddbmm",
}  # fmt: skip
"""Operations with products inside, or with many spellings; all others stay as they are."""

PRODUCTS = {
    "linear": (0, 1, 2),
    "matmul": (0, 1, None),
    "mm": (0, 1, None),
    "bmm": (0, 1, None),
    "mv": (0, 1, None),
    "dot": (0, 1, None),
    "addmm": (1, 2, 0),
    "addmv": (1, 2, 0),
}
"""Matrix products, and which of their arguments are the first, the second, and what is added."""

SIZES = ("sym_size", "sym_stride", "sym_numel", "sym_storage_offset")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
CONVOLUTIONS = {
    False: (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    True: (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
}


@torch.no_grad()
def written_out(model: nn.Module, example: Example) -> nn.Module:
    """A copy for evaluation, in which every use of a weight is a plain layer with its own tensor.

    The layers are `use_0`, `use_1` and so on, in the order in which they run, once each. Weights
    that are pruned, normalised or otherwise computed have their present value in the copy. A
    sequence that lies across samples is turned for its layer, so that layers read samples first.
    Products with several matrices at once, such as one for each head, stay operations.

    Args:
        model: any module that `torch.export` can trace.
        example: what the model is run on, as for `unit_map`; the first axis is samples. The copy
            takes the same inputs with any number of samples.

    Raises:
        UnreadableModelError: if the model cannot be exported, takes only as many samples as the
            example has, or computes something else for another number of samples.

    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.layer(torch.relu(self.layer(x)))
    >>> [name for name, _ in written_out(Twice(), torch.zeros(2, 3)).named_children()]
    ['use_0', 'use_1']
    """
    bare = unwrapped(model)
    refuse_without_weights(bare)
    small = _of_two(as_arguments(bare, example))
    large = _repeated(small)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(evaluating(bare))
        stack.enter_context(plain_operations(bare))
        stack.enter_context(_unchanged(bare))
        program = _exported(bare, small)
        copy = _Writer(type(bare).__name__, program, small, large).module().eval()
        _refuse_other(bare, copy, large)
    return copy


def _samples(arguments: Arguments) -> int:
    """How many samples the inputs hold."""
    given = [each for each in tree_leaves(arguments) if isinstance(each, Tensor) and each.dim()]
    if not given:
        raise UnreadableModelError("an example without tensors has no samples")
    return len(given[0])


def _of_two(arguments: Arguments) -> Arguments:
    """The same example, twice where it is one sample: exported graphs are special for one."""
    return _repeated(arguments) if _samples(arguments) == 1 else arguments


def _repeated(arguments: Arguments) -> Arguments:
    """An example with twice as many samples."""
    samples = _samples(arguments)

    def twice(value: Tensor) -> Tensor:
        return torch.cat([value, value]) if value.dim() and len(value) == samples else value

    found: Arguments = tree_map_only(Tensor, twice, arguments)
    return found


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Gives modules back the attributes that they had; tracing leaves tensors without values."""
    before = [(module, dict(module.__dict__)) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)


def _exported(model: nn.Module, arguments: Arguments) -> Any:
    """The model's graph, for any number of samples.

    Raises:
        UnreadableModelError: if there is none.
    """
    from torch.export import Dim, ShapesCollection, default_decompositions, export
    from torch.fx.experimental.symbolic_shapes import is_concrete_int

    title, samples = type(model).__name__, _samples(arguments)
    shapes = ShapesCollection()
    for each in tree_leaves(arguments):
        if isinstance(each, Tensor) and each.dim():
            shapes[each] = {0: Dim.AUTO}
    try:
        program = export(
            model,
            *arguments,
            dynamic_shapes=shapes.dynamic_shapes(model, *arguments),
            strict=False,
        )
        table = {
            operation: decomposition
            for operation, decomposition in default_decompositions().items()
            if _name(operation) in OPENED
        }
        program = program.run_decompositions(table)
    except Exception as error:
        raise UnreadableModelError(
            f"{title} cannot be written out, since torch.export fails on it: {first_line(error)}"
        ) from error
    for node in program.graph.nodes:
        given = node.name in program.graph_signature.user_inputs
        value = node.meta.get("val") if given and node.op == "placeholder" else None
        size = value.shape[0] if isinstance(value, Tensor) and value.dim() else 0
        if is_concrete_int(size) and size == samples:
            raise UnreadableModelError(
                f"{title} cannot be written out: its graph takes '{node.name}' with "
                f"{samples} samples only, since its code makes a constant of their number "
                "(write x.shape[0] for len(x))"
            )
    return program


def _refuse_other(model: nn.Module, copy: nn.Module, arguments: Arguments) -> None:
    """Stops at a copy that computes something else for another number of samples.

    Raises:
        UnreadableModelError: saying so.
    """
    args, kwargs = arguments
    devices = {each.device for each in model.parameters() if each.device.type == "cuda"}
    found = []
    for each in (model, copy):
        with torch.random.fork_rng(devices):  # what is random is so alike
            torch.manual_seed(0)
            try:
                found.append(tree_leaves(each(*args, **kwargs)))
            except Exception as error:
                raise _not_for_all(type(model).__name__, error) from error
    for one, other in zip(*found, strict=True):
        if isinstance(one, Tensor) and not _close(one, other):
            raise UnreadableModelError(
                f"{type(model).__name__} cannot be written out: for another number of samples "
                "its graph computes something else"
            )


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether tensors agree up to rounding, measured against the largest entry."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point() or not one.numel():
        return bool((one == other).all())
    scale = float(one[torch.isfinite(one)].abs().max()) if torch.isfinite(one).any() else 0.0
    loose = max(1e-4, 64 * torch.finfo(one.dtype).eps)
    return torch.allclose(one, other, rtol=loose, atol=loose * scale, equal_nan=True)


def _not_for_all(title: str, error: Exception) -> UnreadableModelError:
    return UnreadableModelError(
        f"{title} cannot be written out for any number of samples: {first_line(error)}"
    )


def _name(operation: Any) -> str:
    """An ATen operation's name without overload; empty for others."""
    schema = getattr(operation, "_schema", None)
    name: str = "" if schema is None else schema.name
    return name.removeprefix("aten::") if name.startswith("aten::") else ""


class _Seen(NamedTuple):
    """What a run of the graph showed: values of fixed nodes, and shapes of the others."""

    values: dict[fx.Node, Any]
    shapes: dict[fx.Node, torch.Size]


class _Recorder(fx.Interpreter):
    """Runs a graph, and keeps the values of some nodes and the shapes of all tensors."""

    def __init__(self, module: fx.GraphModule, wanted: set[fx.Node]):
        super().__init__(module)
        self.wanted, self.seen = wanted, _Seen({}, {})

    def run_node(self, n: fx.Node) -> Any:
        """See `fx.Interpreter`."""
        result = super().run_node(n)
        if n in self.wanted:
            self.seen.values[n] = result
        if isinstance(result, Tensor):
            self.seen.shapes[n] = result.shape
        return result


class _Writer:
    """Puts layers in the place of products with weights.

    Attributes:
        fixed: nodes that depend on no values of inputs, though maybe on their shapes.
        layers: the layers made so far.
    """

    def __init__(self, title: str, program: Any, small: Arguments, large: Arguments):
        self.title = title
        source: fx.GraphModule = program.module()
        self.graph: fx.Graph = source.graph
        self._drop_checks()
        source.recompile()
        self.fixed = self._fixed()
        rim = {node for node in self.fixed if any(user not in self.fixed for user in node.users)}
        self.small, self.large = (
            self._run(source, program.call_spec.in_spec, rim, each) for each in (small, large)
        )
        self.source = source
        self.held: set[str] = set()
        self.layers: list[nn.Module] = []

    def _run(
        self, module: fx.GraphModule, spec: Any, wanted: set[fx.Node], given: Arguments
    ) -> _Seen:
        from torch.fx._pytree import tree_flatten_spec

        recorder = _Recorder(module, wanted)
        try:
            recorder.run(*tree_flatten_spec(given, spec), enable_io_processing=False)
        except Exception as error:
            raise _not_for_all(self.title, error) from error
        return recorder.seen

    def _drop_checks(self) -> None:
        """Erases what only checks inputs, or changes buffers."""
        for node in reversed(list(self.graph.nodes)):
            schema = getattr(node.target, "_schema", None)
            checks = node.op == "call_module" or _name(node.target).startswith("_assert")
            writes = schema is not None and schema.is_mutable
            if node.op.startswith("call") and not node.users and (checks or writes):
                self.graph.erase_node(node)

    def _fixed(self) -> set[fx.Node]:
        found: set[fx.Node] = set()
        for node in self.graph.nodes:
            if node.op == "get_attr" or _name(node.target) in SIZES:
                found.add(node)
            elif node.op == "call_function" and all(each in found for each in node.all_input_nodes):
                tags = getattr(node.target, "tags", ())
                if torch.Tag.nondeterministic_seeded not in tags:
                    found.add(node)
        return found

    def module(self) -> fx.GraphModule:
        """The graph with layers."""
        for node in list(self.graph.nodes):
            if node.op != "call_function" or node in self.fixed:
                continue
            name = _name(node.target)
            if name in PRODUCTS:
                self._product(node, name)
            elif name == "convolution":
                self._convolution(node)
            elif name == "embedding":
                self._embedding(node)
        self._store()
        self.graph.eliminate_dead_code()
        return fx.GraphModule(self.source, self.graph, self.title)

    # Values.

    def _value(self, node: Any) -> Tensor | None:
        """The tensor that a node always is; None if it depends on inputs or on their number."""
        value = self.small.values.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(value, Tensor):
            return None
        other = self.large.values[node]
        return value if value.shape == other.shape and torch.equal(value, other) else None

    def _matrix(self, node: fx.Node) -> Tensor | None:
        """(rows, columns) or (size,) tensor that a node is, for all samples alike."""
        found = []
        for seen in (self.small, self.large):
            value = seen.values.get(node)
            if not isinstance(value, Tensor) or not value.numel():
                return None
            if value.dim() > 2:
                every = value.flatten(0, -3)
                if every.stride(0) != 0 and not bool((every == every[:1]).all()):
                    return None
                value = every[0]
            found.append(value)
        same = found[0].shape == found[1].shape and torch.equal(found[0], found[1])
        return found[0] if same else None

    def _flows(self, node: Any) -> bool:
        return isinstance(node, fx.Node) and node not in self.fixed

    def _store(self) -> None:
        """Makes buffers of what operations still take from parameters and constants."""
        for node in list(self.graph.nodes):
            value = self._value(node)
            users = [user for user in node.users if user not in self.fixed]
            if value is not None and users:
                self._hold(node, value, users)
        self.graph.eliminate_dead_code()
        for node in list(self.graph.nodes):
            if node.op == "get_attr" and node.target not in self.held:
                self._hold(node, operator.attrgetter(str(node.target))(self.source), None)

    def _hold(self, node: fx.Node, value: Any, users: list[fx.Node] | None) -> None:
        name = f"fixed_{node.name}"
        self.held.add(name)
        if isinstance(value, Tensor):
            self.source.register_buffer(name, value.detach().clone())
        else:
            setattr(self.source, name, value)
        with self.graph.inserting_before(node):
            held = self.graph.create_node("get_attr", name)
        node.replace_all_uses_with(held, lambda user: users is None or user in users)

    # Layers.

    def _layer(self, layer: nn.Module, weight: Tensor, bias: Tensor | None, x: fx.Node) -> fx.Node:
        for name, value in (("weight", weight), ("bias", bias)):
            if value is not None:
                own = value.detach().clone(memory_format=torch.contiguous_format)
                setattr(layer, name, nn.Parameter(own, own.is_floating_point()))
        name = f"use_{len(self.layers)}"
        self.layers.append(layer)
        self.source.add_module(name, layer)
        return self.graph.create_node("call_module", name, (x,))

    def _call(self, operation: Any, *args: Any, **kwargs: Any) -> fx.Node:
        return self.graph.call_function(operation, args, kwargs)

    def _replace(self, node: fx.Node, new: fx.Node) -> None:
        for seen in (self.small, self.large):
            seen.shapes[new] = seen.shapes[node]
        node.replace_all_uses_with(new)
        self.graph.erase_node(node)

    def _embedding(self, node: fx.Node) -> None:
        table, x = _arguments(node)["weight"], _arguments(node)["indices"]
        weight = self._value(table)
        if weight is None or not self._flows(x):
            return
        with self.graph.inserting_before(node):
            layer = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
            self._replace(node, self._layer(layer, weight, None, x))

    def _convolution(self, node: fx.Node) -> None:
        at = _arguments(node)
        weight, bias = self._value(at["weight"]), self._value(at["bias"])
        if weight is None or (at["bias"] is not None and bias is None):
            return
        if not self._flows(at["input"]):
            return
        groups, turned = at["groups"], at["transposed"]
        first, second = weight.shape[:2]
        ends = (first, second * groups) if turned else (second * groups, first)
        options = {"output_padding": tuple(at["output_padding"])} if turned else {}
        layer = CONVOLUTIONS[turned][weight.dim() - 3](
            *ends,
            tuple(weight.shape[2:]),
            stride=tuple(at["stride"]),
            padding=tuple(at["padding"]),
            dilation=tuple(at["dilation"]),
            groups=groups,
            bias=bias is not None,
            device="meta",
            **options,
        )
        with self.graph.inserting_before(node):
            self._replace(node, self._layer(layer, weight, bias, at["input"]))

    def _product(self, node: fx.Node, name: str) -> None:
        given = [*_arguments(node).values(), None]
        first, second, added = (given[-1 if at is None else at] for at in PRODUCTS[name])
        turned = name == "linear"  # whether it is the second's rows that are read
        left = not self._flows(first)
        if left == (not self._flows(second)):
            return
        weight, x = (first, second) if left else (second, first)
        matrix = self._matrix(weight)
        if matrix is None or not self._fits(node, weight, x, left, turned):
            return
        beta, alpha = (float(_arguments(node).get(each, 1)) for each in ("beta", "alpha"))
        matrix = matrix if alpha == 1 else matrix * alpha
        flat = matrix.dim() == 1
        rows = matrix[None] if flat else matrix if left or turned else matrix.mT
        bias = self._value(added)
        if bias is not None and not left and not flat and bias.dim() <= 1:
            bias = (bias if beta == 1 else bias * beta).expand(len(rows))
        else:
            bias = None
        layer = nn.Linear(rows.shape[1], rows.shape[0], bias is not None, device="meta")
        with self.graph.inserting_before(node):
            # W @ x reads columns of x; `linear` with a weight on the left reads its rows.
            across = left and not turned and len(self.small.shapes[x]) > 1
            read = self._call(ATEN.transpose.int, x, -2, -1) if across else x
            dims = len(self.small.shapes[x])
            axis = self._sample_axis(x, across)
            if axis:
                read = self._call(ATEN.transpose.int, read, 0, axis)
            out = self._layer(layer, rows, bias, read)
            if axis:
                out = self._call(ATEN.transpose.int, out, 0, axis)
            if flat:
                out = self._call(ATEN.squeeze.dim, out, -1)
            elif left and dims > 1:
                out = self._call(ATEN.transpose.int, out, -2, -1)
            if added is not None and bias is None:
                own = {} if beta == 1 else {"alpha": beta}
                out = self._call(ATEN.add.Tensor, out, added, **own)
        self._replace(node, out)

    def _sample_axis(self, x: fx.Node, across: bool) -> int:
        """The axis of what a layer reads that samples lie on, where it can be told; or 0."""
        shapes = [list(seen.shapes[x]) for seen in (self.small, self.large)]
        if across:
            shapes = [[*shape[:-2], shape[-1], shape[-2]] for shape in shapes]
        changed = [
            axis for axis, pair in enumerate(zip(*shapes, strict=True)) if pair[0] != pair[1]
        ]
        alone = len(changed) == 1 and changed[0] < len(shapes[0]) - 1 and len(shapes[0]) > 2
        return changed[0] if alone else 0

    def _fits(self, node: fx.Node, weight: fx.Node, x: fx.Node, left: bool, turned: bool) -> bool:
        """Whether one matrix on all of x gives the product: x is not repeated for the weight."""
        for seen in (self.small, self.large):
            of_weight, of_x, out = seen.values[weight].shape, seen.shapes[x], seen.shapes[node]
            if turned:
                if left and (len(of_weight) > 2 or len(of_x) != 2):
                    return False
                continue
            lead = of_x[:-2] if len(of_x) > 1 else torch.Size()
            if len(of_weight) > 2 and (
                len(of_x) == 1 or torch.broadcast_shapes(of_weight[:-2], lead) != lead
            ):
                return False
            if len(of_weight) > 2 and out[: len(lead)] != lead:
                return False
        return True


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by name, defaults included."""
    schema: Any = getattr(node.target, "_schema", None)
    found: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments):
        value = argument.default_value if argument.has_default_value() else None
        value = node.args[place] if place < len(node.args) else value
        found[argument.name] = node.kwargs.get(argument.name, value)
    return found
