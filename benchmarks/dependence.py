"""Which outputs of a network depend on which inputs, found by running it: the truth for readers.

An output depends on an input unit where it changes, by whatever little, as the unit's entries are
drawn anew. That is the support of the Jacobian over random inputs, with two differences, both
made on the way by a mode that replaces operations as they are called:

- activations have no flat parts, and maxima are means, so that no unit is dead by accident;
- the statistics of normalisations are constants: they couple all units of a sample, which a graph
  of units leaves out. So is the denominator of a softmax. A sine keeps values small instead.

Runs in double precision; an output that does not depend on what changed is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


def bent(x: Tensor) -> Tensor:
    """Strictly increasing, curved everywhere, and never steep: in place of any activation."""
    return x + 0.5 * torch.sin(x)


def gate(x: Tensor) -> Tensor:
    """Between 0.5 and 2.5, and never flat over an interval: in place of a sigmoid."""
    return 1.5 + torch.sin(_finite(x))


def _finite(x: Tensor) -> Tensor:
    """Without the infinities that padding and masks put where a maximum is taken."""
    return torch.where(torch.isinf(x), 0, x)


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    return (gate(q @ k.transpose(-2, -1)) @ v) / k.shape[-2]


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None, channel_first: bool) -> Tensor:
    x = torch.sin(x)
    for term, step in ((weight, torch.mul), (bias, torch.add)):
        if term is not None:
            shaped = term.reshape(-1, *[1] * (x.ndim - 2)) if channel_first else term
            x = step(x, shaped)
    return x


def _layer_norm(x: Tensor, _: Any, weight: Tensor | None, bias: Tensor | None, *__: Any) -> Any:
    none = x.new_zeros(0)
    return _affine(x, weight, bias, channel_first=False), none, none


def _rms_norm(x: Tensor, _: Any, weight: Tensor | None, *__: Any) -> Any:
    return _affine(x, weight, None, channel_first=False), x.new_zeros(0)


def _group_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *_: Any) -> Any:
    none = x.new_zeros(0)
    return _affine(x, weight, bias, channel_first=True), none, none


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *rest: Any
) -> Any:
    if not training:
        small = torch.sin(x)
        return aten.native_batch_norm(small, weight, bias, mean, variance, training, *rest)
    none = x.new_zeros(0)
    return _affine(x, weight, bias, channel_first=True), none, none


def _constant_statistic(name: str) -> Callable[..., Any]:
    original = getattr(aten, name)

    def ones(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if isinstance(found, Tensor):
            return torch.ones_like(found)
        return torch.ones_like(found[0]), torch.zeros_like(found[1])  # variance, mean

    return ones


def _max_pool(x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, *_: Any) -> Any:
    pool = {3: aten.avg_pool1d, 4: aten.avg_pool2d, 5: aten.avg_pool3d}[x.ndim]
    pooled = pool(_finite(x), kernel, stride or kernel, padding, bool(_ and _[-1] is True))
    return pooled, torch.zeros_like(pooled, dtype=torch.long)


def _adaptive_max(x: Tensor, size: Any) -> Any:
    pooled = aten._adaptive_avg_pool2d(x, size)
    return pooled, torch.zeros_like(pooled, dtype=torch.long)


def _max_along(x: Tensor, dim: int, keepdim: bool = False) -> Any:
    largest = x.mean(dim, keepdim)
    return largest, torch.zeros_like(largest, dtype=torch.long)


def _amax(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return x.mean(tuple(dim) or None, keepdim)


BENT = (
    "relu", "leaky_relu", "hardtanh", "silu", "gelu", "tanh", "hardswish", "elu", "softplus",
    "mish", "threshold", "_prelu_kernel", "rrelu_with_noise", "celu", "relu6", "clamp", "clamp_min",
    "log_sigmoid_forward",
)  # fmt: skip
GATES = ("sigmoid", "hardsigmoid", "_softmax", "_safe_softmax", "_log_softmax")
STATISTICS = ("var", "var_mean", "std", "std_mean", "linalg_vector_norm", "norm", "frobenius_norm")
REPLACED: dict[str, Callable[..., Any]] = {
    **{name: lambda x, *_, **__: bent(x) for name in BENT},
    **{name: lambda x, *_, **__: gate(x) for name in GATES},
    **{name: _constant_statistic(name) for name in STATISTICS if hasattr(aten, name)},
    "log_sigmoid_forward": lambda x: (bent(x), x.new_zeros(0)),
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "scaled_dot_product_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": lambda *a, **k: (_attention(*a[:3]), None),
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "adaptive_max_pool2d": _adaptive_max,
    "max": _max_along,
    "amax": _amax,
}
"""What runs in place of an ATen operation, by its name without the trailing underscore."""


class Smooth(TorchDispatchMode):
    """While it is entered, activations are bent and statistics are constant.

    Attributes:
        met: names of the operations that were replaced; "attention" where matrices of data are
            multiplied.
        fixed: where the model's own numbers lie; what is computed from them stays as it is
            (standardised weights).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.met: set[str] = set()
        own = [*model.parameters(), *model.buffers()]
        self.fixed = {x.untyped_storage().data_ptr() for x in own}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        in_place = name.endswith("_") and not name.endswith("__")
        if name in ("bmm", "baddbmm") and self._is_data(args) and self._is_data(args[1:]):
            self.met.add("attention")  # a product of what was computed with what was computed
        stands = REPLACED.get(name.removesuffix("_") if in_place else name)
        if stands is None or not self._is_data(args) or (name == "max" and len(args) < 2):
            return func(*args, **kwargs)
        self.met.add(name.removesuffix("_"))
        if name in ("_softmax", "_log_softmax", "_safe_softmax"):
            return gate(args[0])
        out = stands(*args, **{} if name in DROPS_OPTIONS else kwargs)
        return args[0].copy_(out) if in_place else out

    def _is_data(self, args: Sequence[Any]) -> bool:
        if not args or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
            return False
        return args[0].untyped_storage().data_ptr() not in self.fixed


DROPS_OPTIONS = frozenset({*BENT, *GATES})

Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


def call(model: nn.Module, example: Example) -> Any:
    """The model's answer to a tensor, to positional inputs or to keyword inputs."""
    if isinstance(example, Mapping):
        return model(**example)
    return model(example) if isinstance(example, Tensor) else model(*example)


def unit_axis(value: Tensor) -> int:
    """Which axis counts units: channels of feature maps of 4 and 5 axes, else the last."""
    return 1 if value.ndim >= 4 else value.ndim - 1


def dependence(
    model: nn.Module,
    example: Example,
    seed: int = 0,
    axes: Sequence[int | None] | None = None,
    out_axes: Sequence[int] | None = None,
    mode: Smooth | None = None,
) -> Tensor:
    """Which output units depend on which input units, as (outputs, inputs) bool.

    Args:
        model: in evaluation mode and double precision.
        example: floating-point inputs of the shapes to run with.
        seed: of the inputs.
        axes: for each input, the axis that counts its units, or None where each entry of a sample
            is one; told by `unit_axis` if left out.
        out_axes: the same for each output.
        mode: what replaces operations; tells afterwards which it met.
    """
    names = list(example) if isinstance(example, Mapping) else None
    given = [example] if isinstance(example, Tensor) else (
        list(example.values()) if isinstance(example, Mapping) else list(example)
    )  # fmt: skip
    drawn = torch.Generator().manual_seed(seed)
    base, other = (
        [torch.randn(x.shape, generator=drawn, dtype=torch.float64) for x in given] for _ in "ab"
    )
    axes = [unit_axis(x) for x in given] if axes is None else axes

    def run(inputs: list[Tensor]) -> list[Tensor]:
        fresh = [x.clone() for x in inputs]  # the model may work in place
        wrapped = dict(zip(names, fresh, strict=True)) if names else tuple(fresh)
        return [x for x in tree_leaves(call(model, wrapped)) if isinstance(x, Tensor)]

    columns, finite = [], True
    was, fast = torch.backends.mha.get_fastpath_enabled(), torch.backends.mha
    fast.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), mode or Smooth(model):
            before = run(base)
            finite &= all(bool(torch.isfinite(y).all()) for y in before)
            ends = [unit_axis(y) for y in before] if out_axes is None else out_axes
            for i, axis in enumerate(axes):
                entries = _by_unit(base[i], axis)
                for unit in range(entries.shape[1]):
                    changed = list(base)
                    changed[i] = base[i].clone()
                    place = _by_unit(changed[i], axis)
                    place[:, unit] = _by_unit(other[i], axis)[:, unit]
                    after = run(changed)
                    columns.append(_differs(before, after, ends))
                    finite &= all(bool(torch.isfinite(y).all()) for y in after)
    finally:
        fast.set_fastpath_enabled(was)
    if not finite:
        raise ValueError("the outputs are not finite, so nothing is known of their dependence")
    return torch.stack(columns, dim=1)


def _by_unit(x: Tensor, axis: int | None) -> Tensor:
    """A view of `x` whose axis 1 counts units."""
    return x.view(len(x), -1) if axis is None else x.movedim(axis, 1)


def _differs(a: list[Tensor], b: list[Tensor], axes: Sequence[int]) -> Tensor:
    """(outputs,) whether any entry of each unit differs."""
    rows = [
        (x != y).movedim(axis, 0).reshape(x.shape[axis], -1).any(1)
        for x, y, axis in zip(a, b, axes, strict=True)
    ]
    return torch.cat(rows)
