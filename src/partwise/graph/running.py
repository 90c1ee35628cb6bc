"""Running a model once, and following which unit every entry of every tensor is.

The model runs on an example. Below Python, PyTorch breaks all it does into some hundred ATen
operations; a dispatch mode sees each as it happens. So branches, loops, in-place idioms and shapes
need no rules of their own, and the order in which weights are applied is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from partwise.errors import UnreadableModelError
from partwise.graph.activity import removing
from partwise.graph.channels import Channels, Ids, channels_of
from partwise.graph.expressions import KINDS, Computed, Constant, Expression, Stored

HOOKABLE = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding)
"""Layers that read one tensor with one weight; and transformers' Conv1D, known by its name."""

Rule = Callable[["Call"], Any]
RULES: dict[str, Rule] = {}
"""What to do about an ATen operation, by its name without overload and final underscore."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers what to do about some operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Call:
    """One operation: its arguments by name, and its results.

    Attributes:
        run: the run that it is part of.
        name: the operation's name, without overload and final underscore.
        at: arguments by name, defaults included.
        out: what it returned.
    """

    def __init__(
        self, run: Run, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ):
        self.run, self.func, self.args, self.kwargs, self.out = run, func, args, kwargs, out
        self.name = func._opname.removesuffix("_") if func._schema.is_mutable else func._opname
        self.channels = run.channels

    @cached_property
    def at(self) -> dict[str, Any]:
        """Arguments by name."""
        known = {}
        for place, argument in enumerate(self.func._schema.arguments):
            value = argument.default_value if argument.has_default_value() else None
            if place < len(self.args):
                value = self.args[place]
            known[argument.name] = self.kwargs.get(argument.name, value)
        return known

    @property
    def shape(self) -> torch.Size:
        """Shape of the first result."""
        first = self.out if isinstance(self.out, Tensor) else self.out[0]
        shape: torch.Size = first.shape
        return shape

    def flows(self, value: Any) -> bool:
        """Whether a value depends on the model's inputs."""
        return isinstance(value, Tensor) and isinstance(self.run.known(value), Tensor)

    def ids(self, value: Tensor) -> Tensor:
        """The channels of a tensor; zeros where it depends on no input."""
        return self.run.channels_held(value)

    def expression(self, value: Any) -> Expression:
        """How to compute what depends on no input; numbers are constants."""
        if not isinstance(value, Tensor):
            return Constant(torch.tensor(float(value)))
        known = self.run.known(value)
        assert not isinstance(known, Tensor)
        return known

    def refuse(self, what: str) -> UnreadableModelError:
        """The error that says where in the model something cannot be read, and what."""
        module, _ = self.run.site
        where = f" in '{module}'" if module else ""
        return UnreadableModelError(
            f"cannot read {what}{where} of {self.run.title}; a layer of your own can be made "
            "readable with partwise.graph.register"
        )


class Run(TorchDispatchMode):
    """Follows a model's run on an example.

    Attributes:
        channels: what flows, as far as the run has come.
        site: name of the module that runs, and how many times it was called before.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, torch would have to import it: two seconds

    def __init__(self, model: nn.Module):
        super().__init__()
        self.title = type(model).__name__
        self.channels = Channels()
        self.stack: list[tuple[str, int]] = []
        self.calls: dict[str, int] = {}
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self._tokens: dict[tuple[bytes, int], Ids] = {}
        self.values: Any = WeakTensorKeyDictionary()
        for name, buffer in model.named_buffers(remove_duplicate=False):
            self.values[buffer] = Stored(name, False)
        for name, parameter in reversed(list(model.named_parameters(remove_duplicate=False))):
            self.values[parameter] = Stored(name)

    @property
    def site(self) -> tuple[str, int]:
        """Name of the module that runs, and how many times it was called before."""
        return self.stack[-1] if self.stack else ("", 0)

    @property
    def hookable(self) -> bool:
        """Whether hooks on the module that runs see what its weight reads."""
        module = self.modules.get(self.site[0])
        return isinstance(module, HOOKABLE) or type(module).__name__ == "Conv1D"

    def tokens(self, indices: Tensor, count: int) -> Ids:
        """Channels of what can be looked up by indices that the model is given."""
        own = channels_of(self.channels_held(indices))
        key = (own.tobytes(), count)
        if key not in self._tokens:
            self._tokens[key] = self.channels.new_units("tokens", "input", count)
        self.channels.used(self._tokens[key])
        return self._tokens[key]

    def channels_held(self, value: Tensor) -> Tensor:
        """The channels of a tensor; zeros where it depends on no input."""
        known = self.known(value)
        return known if isinstance(known, Tensor) else zeros(value.shape)

    def known(self, value: Tensor) -> Tensor | Expression:
        """Channels of a tensor that depends on inputs; how to compute one that does not."""
        found: Tensor | Expression | None = self.values.get(value)
        if found is None:
            found = self.values[value] = Constant(value.detach())
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs an operation, and follows what it does to channels."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        call = Call(self, func, args, kwargs, out)
        if any(call.flows(each) for each in tensors):
            self._follow(call)
        elif tensors:
            self._compute(call)
        return out

    def _compute(self, call: Call) -> None:
        """Notes how to compute what depends on parameters and constants alone."""
        if call.func._schema.is_mutable:
            self._write(call.args[0], None)
            return
        args, kwargs = tree_map_only(Tensor, self.known, (call.args, call.kwargs))
        fixed = not any(
            next(each.names(), None)
            for each in tree_leaves((args, kwargs))
            if isinstance(each, KINDS)
        )
        for place, result in enumerate(_results(call.out)):
            if isinstance(result, Tensor) and self.values.get(result) is None:
                where = None if isinstance(call.out, Tensor) else place
                self.values[result] = (
                    Constant(result.detach()) if fixed else Computed(call.func, args, kwargs, where)
                )

    def _follow(self, call: Call) -> None:
        found = find_rule(call)(call)
        if call.func._schema.is_mutable:
            target = call.args[0]
            self._write(target, found if isinstance(found, Tensor) else found[0])
            if isinstance(call.out, Tensor) and call.out is not target:
                self.values[call.out] = self.values[target]
            return
        results = _results(call.out)
        ids = [found] if isinstance(found, Tensor) else list(found or [])
        for result, each in zip(results, ids, strict=False):
            if isinstance(result, Tensor) and each is not None:
                self.values[result] = each.expand(result.shape)

    def _write(self, target: Tensor, ids: Tensor | None) -> None:
        """Takes note of a tensor that was changed in place, and of what it is a view of."""
        base = target._base if target._is_view() else None
        flows = ids is not None or (base is not None and isinstance(self.known(base), Tensor))
        if base is None:
            self.values[target] = Constant(target) if ids is None else ids.expand(target.shape)
            return
        if not flows:
            self.values[base], self.values[target] = Constant(base), Constant(target)
            return
        room = laid_out(self.channels_held(base), base)
        seen_in(room, target).copy_(zeros(target.shape) if ids is None else ids)
        self.values[base], self.values[target] = seen_in(room, base), seen_in(room, target)

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keeps `site` up to date while the model runs."""
        handles = []
        for name, module in model.named_modules():

            def enter(module: nn.Module, inputs: Any, name: str = name) -> None:
                call = self.calls.get(name, 0)
                self.calls[name] = call + 1
                self.stack.append((name, call))

            def leave(module: nn.Module, inputs: Any, output: Any) -> None:
                self.stack.pop()

            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
        with removing(handles):
            yield


def laid_out(ids: Tensor, like: Tensor) -> Tensor:
    """Room for the channels of all memory that a tensor lies in, with its own in their places."""
    room = torch.zeros(like.untyped_storage().nbytes() // like.element_size(), dtype=torch.long)
    seen_in(room, like).copy_(ids)
    return room


def seen_in(room: Tensor, tensor: Tensor) -> Tensor:
    """What a tensor sees of the room that its memory has."""
    return room.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())


def zeros(shape: torch.Size) -> Tensor:
    """Channels of what depends on no input; takes no memory."""
    return torch.zeros((), dtype=torch.long).expand(shape)


def _results(out: Any) -> list[Any]:
    return [out] if isinstance(out, Tensor) else list(out) if isinstance(out, tuple | list) else []


def find_rule(call: Call) -> Rule:
    """The rule for an operation.

    Raises:
        UnreadableModelError: if there is none, naming the operation.
    """
    found = RULES.get(call.name)
    if found is not None:
        return found
    schema = call.func._schema
    if not schema.is_mutable and any(each.alias_info is not None for each in schema.returns):
        return RULES["view"]
    if torch.Tag.inplace_view in call.func.tags:
        return RULES["inplace_view"]
    if torch.Tag.pointwise in call.func.tags:
        return RULES["pointwise"]
    raise call.refuse(f"the operation '{schema.name.removeprefix('aten::')}'")


@contextlib.contextmanager
def plain_operations(model: nn.Module) -> Iterator[None]:
    """Has PyTorch take no shortcuts: what it does is then made of operations that have rules."""
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(fused and not recurrent)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)
