"""Reading a model's structure: any `nn.Module` that runs on an example.

The model runs once, and every operation is followed (see `running` and `rules`): which unit each
entry is, where weights mix units, where gains scale them, where two become one. What cannot be
read is refused, by the name of the operation and of the module it happens in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from partwise.errors import UnreadableModelError, first_line
from partwise.graph import rules as rules  # registers them
from partwise.graph.activity import evaluating
from partwise.graph.channels import Ids
from partwise.graph.examples import Example, as_arguments, guesses, refuse_without_weights
from partwise.graph.running import Run, plain_operations
from partwise.graph.settling import settle
from partwise.graph.transformer import is_transformer, transformer_map
from partwise.graph.unit_graph import UnitGraph
from partwise.graph.unit_map import UnitMap

Equivalent = Callable[..., Any]
_equivalents: dict[type[nn.Module], Equivalent] = {}


def register(layer: type[nn.Module], equivalent: Equivalent) -> None:
    """Makes a layer of your own readable.

    Needed only for layers whose inside PyTorch cannot see: compiled kernels, foreign code.

    Args:
        layer: the layer's class; subclasses are meant too.
        equivalent: `equivalent(layer, *inputs, **named)` computes what the layer computes, by
            torch's own operations and the layer's parameters. It is used for reading only.

    >>> class Doubled(nn.Linear):
    ...     def forward(self, x):
    ...         return torch.from_numpy(2 * (x.numpy() @ self.weight.detach().numpy().T))
    >>> register(Doubled, lambda layer, x: 2 * torch.nn.functional.linear(x, layer.weight))
    >>> unit_graph(nn.Sequential(Doubled(3, 2, bias=False))).m
    6
    """
    _equivalents[layer] = equivalent


def unit_map(model: nn.Module, example: Example = None, *, inputs: int | None = None) -> UnitMap:
    """Reads which units a model has, and which of its weights join them.

    A unit is an input, what one row of a weight matrix writes, or an output; a channel of a
    feature map is one unit, and so is a head of softmax attention. The model is run once, in
    evaluation mode and without gradients.

    Args:
        model: any module that runs on the example. `torch.compile` and `DataParallel` are seen
            through.
        example: what the model is run on: a tensor, a tuple of positional inputs, or a dictionary
            of named ones; the first axis is samples. Left out, inputs are tried that the sizes of
            its layers allow.
        inputs: number of input features or channels, in place of an example.

    Raises:
        UnreadableModelError: naming the first operation that cannot be read, and where.
    """
    bare = unwrapped(model)
    refuse_without_weights(bare)
    if isinstance(example, int):
        example, inputs = None, example
    return _read_guessing(bare, inputs) if example is None else _read(bare, example)


def unit_graph(
    model: nn.Module,
    example: Example = None,
    *,
    inputs: int | None = None,
    balanced: bool = True,
) -> UnitGraph:
    """The unit graph of a model: a vertex per unit, and capacities |w| between them.

    Units are numbered inputs first, then layer by layer, outputs last. A conv channel is one
    unit; its capacity is summed over the kernel. Transformers that `transformer_map` knows are
    read by it.

    Args:
        model: see `unit_map`.
        example: see `unit_map`.
        inputs: see `unit_map`.
        balanced: remove the scale that ReLU units can trade between their incoming and outgoing
            weights for free (see `UnitMap.gauge`).

    Raises:
        UnreadableModelError: naming the first operation that cannot be read, and where.
        GraphError: if a weight is NaN or infinite.

    >>> graph = unit_graph(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    >>> graph.n, graph.m, [group.kind for group in graph.groups]
    (6, 9, ['input', 'hidden', 'output'])
    """
    units = units_of(model, example, inputs=inputs)
    model = unwrapped(model)
    return units.graph(model, None if balanced else torch.ones(units.n, dtype=torch.float64))


def units_of(model: nn.Module, example: Example = None, *, inputs: int | None = None) -> UnitMap:
    """The units of any model: a transformer by its layout, any other by running it.

    Args:
        model: a language model that `transformer_map` knows, or what `unit_map` reads.
        example: see `unit_map`; a known transformer needs none.
        inputs: see `unit_map`.

    Raises:
        UnreadableModelError: see `unit_map` and `transformer_map`.
    """
    bare = unwrapped(model)
    if is_transformer(bare):
        return transformer_map(bare)
    return unit_map(bare, example, inputs=inputs)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that `torch.compile` or `DataParallel` was given."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


class _DoesNotRun(UnreadableModelError):
    """A model that its example does not fit."""


def _read_guessing(model: nn.Module, inputs: int | None) -> UnitMap:
    """The units of a model, read on the first input of a likely shape that it runs on.

    Raises:
        UnreadableModelError: if it runs on none of them, or cannot be read.
    """
    why = ""
    for guess in guesses(model, inputs):
        try:
            return _read(model, guess)
        except _DoesNotRun as error:
            why = why or f" ({error})"
    raise UnreadableModelError(
        f"{type(model).__name__} has no Linear or Conv layer that tells its input's shape, or "
        f"runs on no likely one{why}; pass example=INPUT, or inputs=NUMBER_OF_FEATURES"
    )


def _read(model: nn.Module, example: Example) -> UnitMap:
    args, kwargs = as_arguments(model, example)
    run = Run(model)
    given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    kept = [_enter(run, tensor, place) for place, tensor in enumerate(given)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(plain_operations(model))
        stack.enter_context(_readable(model))
        stack.enter_context(run.watching(model))
        try:
            with run:
                output = model(*args, **kwargs)
        except UnreadableModelError:
            raise
        except Exception as error:
            raise _DoesNotRun(
                f"{run.title} does not run on the example: {first_line(error)}"
            ) from error
    results = [each for each in _leaves(output) if isinstance(each, Tensor)]
    known = [run.known(each) for each in results]
    outputs = [each for each in known if isinstance(each, Tensor)]
    if not run.channels.mixes:
        raise UnreadableModelError(f"{run.title} has no Linear or Conv layer, so no capacities")
    if not outputs:
        raise UnreadableModelError(f"no output of {run.title} depends on its inputs")
    rows = [units.ravel() for units in kept if units.ndim == 1]
    pictures = [units for units in kept if units.ndim > 1]
    return settle(run.channels, outputs, np.concatenate([*rows, np.zeros(0, np.int64)]), pictures)


def _enter(run: Run, tensor: Tensor, place: int) -> Ids:
    """Makes an input's entries units, the same for all samples.

    Returns:
        (entries,) units of a row of features, (channels, positions) of a picture or a sequence;
        of what is no number none.
    """
    shape = torch.Size([1, *tensor.shape[1:]]) if tensor.dim() > 1 else tensor.shape
    name = "input" if place == 0 else f"input {place + 1}"
    made = run.channels.new_units(name, "input", shape.numel())
    run.values[tensor] = torch.from_numpy(made).reshape(shape).expand(tensor.shape)
    units: Ids = run.channels.unit[made]
    if not tensor.dtype.is_floating_point:
        return units[:0]
    return units if tensor.dim() <= 2 else units.reshape(tensor.shape[1], -1)


def _leaves(output: Any) -> list[Any]:
    """The tensors of an output: of tuples, dictionaries, and what libraries wrap them in."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if hasattr(output, "values") else output
    if hasattr(output, "__dataclass_fields__") and not hasattr(output, "values"):
        values = vars(output).values()
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        return []
    return [leaf for value in values for leaf in _leaves(value)]


@contextlib.contextmanager
def _readable(model: nn.Module) -> Iterator[None]:
    """Has registered layers run by their equivalents."""
    changed = []
    for module in model.modules():
        for kind, equivalent in _equivalents.items():
            if isinstance(module, kind):
                changed.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = partial(equivalent, module)
    try:
        yield
    finally:
        for module, before in changed:
            del module.__dict__["forward"]
            if before is not None:
                module.__dict__["forward"] = before
