"""What each ATen operation does to the channels that flow through it.

Operations that only move data are run on the channels' numbers. Only those that mix, scale or
combine have rules; what has none is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only

from partwise.graph.channels import Channels, Ids, Mix, compact
from partwise.graph.expressions import Computed, Constant, Expression, normalising_gain
from partwise.graph.running import Call, laid_out, rule, seen_in, zeros

TURN = torch.ops.aten.t.default
MOST_MATRICES = 512
"""Weight matrices in one batched product, at most."""


# Moving data.


@rule(
    "view", "cat", "stack", "clone", "contiguous", "_to_copy", "constant_pad_nd", "pad",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "roll", "flip", "repeat", "repeat_interleave",
    "index_select", "index", "gather", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "im2col", "_unsafe_view", "_reshape_alias", "tril", "triu", "slice_scatter", "select_scatter",
    "unsafe_split", "unsafe_chunk", "split_with_sizes_copy", "_reshape_copy", "index_put",
    "take_along_dim", "native_channel_shuffle", "copy", "slice_copy", "expand_copy", "unfold_copy",
    "_unsafe_index", "rot90", "diagonal_copy", "take",
)  # fmt: skip
def move(call: Call) -> Any:
    """Runs the operation on the channels themselves."""
    if any(call.flows(each) for each in _indices(call)):
        raise call.refuse(f"'{call.name}' by indices that depend on the input")
    return _moved(call, call.func, torch.long)


def _moved(call: Call, function: Callable[..., Any], kind: torch.dtype) -> Any:
    selecting = {id(each) for each in _indices(call)}

    def channels(value: Tensor) -> Tensor:
        if id(value) in selecting:
            return value.cpu()
        return call.ids(value).to(kind)

    args, kwargs = tree_map_only(Tensor, channels, (call.args, call.kwargs))
    for name in ("dtype", "device", "memory_format", "pin_memory", "layout"):
        kwargs.pop(name, None)
    if call.name in ("_to_copy", "contiguous"):
        return args[0]
    if call.name == "constant_pad_nd":
        args = args[:2]
    try:
        found = function(*args, **kwargs)
    except RuntimeError:  # a view of memory that repeats, or no kernel for whole numbers
        if kind is torch.long and call.name in ("view", "_unsafe_view", "_reshape_alias"):
            return args[0].reshape(args[1])
        if kind is torch.long:
            found = _moved(call, function, torch.float64)
            return tree_map_only(Tensor, lambda each: each.long(), found)
        raise
    return found


def _indices(call: Call) -> list[Tensor]:
    """The arguments that say where to, not what."""
    if call.name in ("cat", "stack"):
        return []
    at = call.at
    found = [at.get("index"), *(at.get("indices") or [])]
    return [each for each in found if isinstance(each, Tensor)]


@rule("inplace_view")
def turn(call: Call) -> Tensor:
    """A tensor that becomes another view of itself."""
    found: Tensor = call.func(call.ids(call.args[0]).clone(), *call.args[1:], **call.kwargs)
    return found


@rule("as_strided")
def as_strided(call: Call) -> Tensor:
    """Another way to lay out the same memory."""
    x, ids = call.args[0], call.ids(call.args[0])
    if call.shape == ids.shape:
        return ids
    assert isinstance(call.out, Tensor)
    return seen_in(laid_out(ids, x), call.out)


@rule("copy")
def copy(call: Call) -> Tensor:
    """Writing one tensor into another."""
    return call.ids(call.at["src"]).expand(call.shape)


@rule("fill", "zero", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros",
      "new_ones", "new_full", "new_empty", "rand_like", "randn_like", "bernoulli",
      "new_empty_strided", "empty_strided")  # fmt: skip
def forget(call: Call) -> Tensor:
    """What takes only its shape from an input."""
    return zeros(call.shape)


@rule("masked_fill")
def masked_fill(call: Call) -> Tensor:
    """Entries replaced by a constant, where a mask says so."""
    at = call.at
    ids, mask = call.ids(at["self"]).expand(call.shape), at["mask"]
    if call.flows(mask):
        return _joined(call, ids, call.ids(mask))
    return torch.where(mask.cpu(), 0, ids)


@rule("where")
def where(call: Call) -> Tensor:
    """One value or another."""
    at = call.at
    condition, first, second = at["condition"], _ids(call, at["self"]), _ids(call, at["other"])
    if call.flows(condition):
        return _joined(call, _joined(call, first, second), call.ids(condition))
    return torch.where(condition.cpu(), first, second)


@rule("_local_scalar_dense", "equal", "is_nonzero")
def branch(call: Call) -> None:
    """A number that Python sees: what it decides is as it was on the example."""
    note = "a branch depends on the data; read as the example takes it"
    if note not in call.channels.notes:
        call.channels.notes.append(note)


# Elementwise.


@rule("relu", "leaky_relu", "neg", "positive", "_prelu_kernel", "prelu", "abs", "dropout",
      "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine",
      "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
      "fake_quantize_per_tensor_affine_cachemask", "rrelu_with_noise", "real")  # fmt: skip
def keep(call: Call) -> Tensor:
    """What a factor in front of it passes through, and no unit is told from."""
    return call.ids(call.args[0])


@rule("clamp", "clamp_min", "threshold")
def clamp(call: Call) -> Tensor:
    """ReLU by another name, or a bend."""
    at = call.at
    low = at.get("min", at.get("threshold"))
    if at.get("max") is None and isinstance(low, int | float) and low == 0 and not at.get("value"):
        return call.ids(call.args[0])
    return pointwise(call)


@rule("pointwise", "_softmax", "_log_softmax", "softmax", "log_softmax", "_safe_softmax", "cumsum",
      "log_sigmoid_forward", "celu", "logcumsumexp", "gelu", "hardtanh")  # fmt: skip
def pointwise(call: Call) -> Any:
    """Any other function of each entry; of several, what they hold becomes one."""
    flows = [each for each in call.args if call.flows(each)]
    flows += [each for each in call.kwargs.values() if call.flows(each)]
    ids = call.ids(flows[0]).expand(call.shape)
    for other in flows[1:]:
        ids = _joined(call, ids, call.ids(other))
    return _bent(call.channels, ids)


@rule("softplus", "silu", "mish", "elu", "hardswish", "hardsigmoid")
def activation(call: Call) -> Tensor:
    """An activation that is not homogeneous."""
    return _bent(call.channels, call.ids(call.args[0]))


@rule("add", "sub", "rsub")
def add(call: Call) -> Tensor:
    """A sum: with a constant nothing changes; of two units it is one."""
    at = call.at
    first, second = at["self"], at["other"]
    if not call.flows(first) or not call.flows(second):
        flowing = first if call.flows(first) else second
        is_second = flowing is second and call.name != "rsub"
        ids = call.ids(flowing).expand(call.shape)
        return _times(call, ids, at.get("alpha")) if is_second else ids
    if call.name == "rsub":
        first, second = second, first
    ids = _times(call, call.ids(second), at.get("alpha"))
    return _joined(call, call.ids(first), ids, product=False)


@rule("mul")
def multiply(call: Call) -> Tensor:
    """A gain, or a gate."""
    first, second = call.args[0], call.at["other"]
    if call.flows(first) and call.flows(second):
        return _joined(call, call.ids(first), call.ids(second))
    flowing, factor = (first, second) if call.flows(first) else (second, first)
    return _gained(call, flowing, call.expression(factor), getattr(factor, "shape", torch.Size([])))


@rule("div", "true_divide")
def divide(call: Call) -> Tensor:
    """A gain, if by a constant."""
    first, second = call.args[0], call.at["other"]
    if call.at.get("rounding_mode") or not call.flows(first):
        return pointwise(call)
    if call.flows(second):
        return _joined(call, call.ids(first), call.ids(second))
    inverse = Computed(torch.reciprocal, (call.expression(second),))
    factor = inverse if isinstance(second, Tensor) else Constant(torch.tensor(1.0 / second))
    return _gained(call, first, factor, getattr(second, "shape", torch.Size([])))


@rule("addcmul", "addcdiv", "lerp")
def blended(call: Call) -> Tensor:
    """Sums of products in one operation."""
    ids = zeros(call.shape)
    for each in call.args:
        if call.flows(each):
            ids = _joined(call, ids, call.ids(each))
    return ids


def _gained(call: Call, flowing: Tensor, factor: Expression, shape: torch.Size) -> Tensor:
    return _scaled(call.channels, call.ids(flowing).expand(call.shape), factor, shape)


def _ids(call: Call, value: Any) -> Tensor:
    ids = call.ids(value) if isinstance(value, Tensor) else zeros(torch.Size([]))
    return ids.expand(call.shape)


def _bent(channels: Channels, ids: Tensor) -> Tensor:
    """Each channel behind an activation that is not homogeneous."""
    small = compact(ids)
    own, place = _distinct(small.numpy(), channels.count)
    made = channels.bent(own)
    return _looked_up(made, place, small.shape).expand(ids.shape)


def _scaled(channels: Channels, ids: Tensor, factor: Expression, shape: torch.Size) -> Tensor:
    """Channels times a factor of this shape, broadcast over them."""
    ids = ids.expand(torch.broadcast_shapes(ids.shape, shape))
    if isinstance(factor, Constant):
        if factor.tensor.numel() and bool((factor.tensor.abs() == 1).all()):
            return ids
        values, entries = factor.tensor.detach().cpu().unique(return_inverse=True)
        factor = Constant(values)
    else:
        entries = torch.arange(shape.numel()).reshape(shape)
    small, entry = _compact_both(ids, entries.expand(ids.shape))
    size = int(entry.max()) + 1 if entry.numel() else 1
    keys, place = np.unique((small * size + entry).numpy(), return_inverse=True)
    made = channels.scaled(keys // size, keys % size, factor)
    return _looked_up(made, place, small.shape).expand(ids.shape)


def _distinct(values: Ids, bound: int) -> tuple[Ids, Ids]:
    """Different values below a bound, sorted, and the place of each; without sorting if it can."""
    if bound > 8 * values.size + 2**20:
        return np.unique(values, return_inverse=True)
    there = np.zeros(bound, np.bool_)
    there[values.ravel()] = True
    number = np.cumsum(there) - 1
    return np.flatnonzero(there), number[values]


def _looked_up(made: Ids, place: Ids, shape: torch.Size) -> Tensor:
    return torch.from_numpy(made[place.reshape(-1)]).reshape(shape)


def _compact_both(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape, cut to one entry along axes where both only repeat."""
    for axis, size in enumerate(first.shape):
        if size > 1 and first.stride(axis) == 0 and second.stride(axis) == 0:
            first, second = first.narrow(axis, 0, 1), second.narrow(axis, 0, 1)
    return first, second


def _joined(call: Call, first: Tensor, second: Tensor, product: bool = True) -> Tensor:
    """The channels of a sum or a product of two tensors, broadcast."""
    shape = torch.broadcast_shapes(first.shape, second.shape)
    a, b = _compact_both(first.expand(shape), second.expand(shape))
    size = call.channels.count
    (firsts, i), (seconds, j) = (_distinct(each.numpy(), size) for each in (a, b))
    keys, place = _distinct(i * len(seconds) + j, len(firsts) * len(seconds))
    pairs = firsts[keys // len(seconds)], seconds[keys % len(seconds)]
    made = call.channels.joined(_name(call), *pairs, product)
    return _looked_up(made, place, a.shape).expand(shape)


def _name(call: Call) -> str:
    """What units are called that no layer writes: the module and the operation."""
    return ".".join(part for part in (call.run.site[0], call.name) if part)


# Normalising.


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
      "cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update")  # fmt: skip
def batch_norm(call: Call) -> tuple[Tensor, None, None]:
    """A gain for each channel; by the statistics of the sample also a bend."""
    at = call.at
    weight, variance = at.get("weight"), at.get("running_var")
    if at.get("training") or variance is None:
        return _normalised(call, _of_channels(call))
    known = None if weight is None else call.expression(weight)
    factor = normalising_gain(known, call.expression(variance), float(at["eps"]))
    return _scaled(call.channels, call.ids(call.args[0]), factor, _of_channels(call)), None, None


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(call: Call) -> tuple[Tensor, None, None]:
    """A bend, since units share a statistic, and then a gain for each entry."""
    return _normalised(call, torch.Size(call.at["normalized_shape"]))


@rule("native_group_norm")
def group_norm(call: Call) -> tuple[Tensor, None, None]:
    """A bend, since channels of a group share a statistic, and then a gain for each."""
    return _normalised(call, _of_channels(call))


def _of_channels(call: Call) -> torch.Size:
    """Shape of a factor for each channel."""
    x = call.args[0]
    return torch.Size([x.shape[1], *[1] * (x.dim() - 2)])


def _normalised(call: Call, shape: torch.Size) -> tuple[Tensor, None, None]:
    """Channels bent by a statistic, and scaled by a weight of this shape if there is one."""
    ids, weight = _bent(call.channels, call.ids(call.args[0])), call.at.get("weight")
    if weight is not None:
        ids = _scaled(call.channels, ids, call.expression(weight), shape)
    return ids, None, None


# Reducing.


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "norm",
      "linalg_vector_norm", "logsumexp", "prod", "any", "all", "argmax", "argmin", "median",
      "nansum", "nanmean", "aminmax")  # fmt: skip
def reduce(call: Call) -> Any:
    """Over positions a unit stays what it is; over units there is a new one, their statistic."""
    at = call.at
    if call.name in ("max", "min") and call.flows(at.get("other")):
        return pointwise(call)
    ids = call.ids(call.args[0])
    axes = at.get("dim")
    axes = list(range(ids.dim())) if axes is None or axes == [] else axes
    axes = sorted(
        {axis % max(1, ids.dim()) for axis in ([axes] if isinstance(axes, int) else axes)}
    )
    rest = [axis for axis in range(ids.dim()) if axis not in axes]
    turned = ids.permute(*rest, *axes)
    small = compact(turned)
    kept = small.shape[: len(rest)]
    sets = small.reshape(kept.numel(), -1).numpy()
    share = 1 / max(1, sets.shape[1]) if call.name == "mean" else 1.0
    own = _reduced(call, sets, share, positions=ids.dim() > 2 and len(rest) - (0 in rest) > 0)
    found = torch.from_numpy(own).reshape(kept).expand(turned.shape[: len(rest)])
    found = found.reshape(call.shape)
    if call.name not in ("mean", "sum", "amax", "amin", "max", "min", "nansum", "nanmean"):
        found = _bent(call.channels, found)
    return [found for _ in call.out] if isinstance(call.out, tuple | list) else found


def _reduced(call: Call, sets: Ids, share: float, positions: bool) -> Ids:
    """One channel for each row of (rows, entries) channels.

    Entries of an input that are averaged are positions of one unit, where other axes are left.
    """
    high = sets.max(1)
    low = np.where(sets > 0, sets, np.iinfo(np.int64).max).min(1)
    several = (high > 0) & (low < high)
    if not several.any():
        return high
    positions &= bool(call.channels.is_input[call.channels.unit[sets[several]]].all())
    if positions and not _gains_differ(call.channels, sets.T):
        _unify(call.channels, sets.T)
        return high
    found = high.copy()
    rows, place = np.unique(sets[several], axis=0, return_inverse=True)
    made = call.channels.taken_over(_name(call), [np.unique(row) for row in rows], share)
    found[several] = made[place.reshape(-1)]
    return found


@rule("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices",
      "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
      "adaptive_avg_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "mkldnn_max_pool2d",
      "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d",
      "upsample_linear1d", "upsample_trilinear3d", "upsample_bicubic2d",
      "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_bilinear2d_aa",
      "_upsample_bicubic2d_aa", "fractional_max_pool2d")  # fmt: skip
def pool(call: Call) -> list[Tensor | None]:
    """Positions of a channel are pooled or spread; what is pooled together is one unit."""
    ids = call.ids(call.args[0])
    shape = call.shape
    lead = 2 if ids.dim() > 3 or (ids.dim() == 3 and "1d" in call.name) else 1
    small = compact(ids)
    if all(size == 1 for size in small.shape[lead:]):
        return [small.expand(*ids.shape[:lead], *shape[lead:])]
    sets = small.reshape(small.shape[:lead].numel(), -1).numpy()
    alike = bool((sets == sets[:, :1]).all())
    windows = call.name in ("avg_pool2d", "max_pool2d_with_indices") and lead == 2
    if windows and not alike and not call.at.get("ceil_mode"):
        return [_pooled(call, ids)]
    if _gains_differ(call.channels, sets.T):
        raise call.refuse(f"'{call.name}' behind a gain that differs by position")
    _unify(call.channels, sets.T)
    own = torch.from_numpy(sets.max(1)).reshape(*small.shape[:lead], *[1] * (ids.dim() - lead))
    return [own.expand(*ids.shape[:lead], *shape[lead:])]


def _pooled(call: Call, ids: Tensor) -> Tensor:
    """Windows of an image's own positions; those of one window are one unit."""
    at = call.at
    stride = at["stride"] or at["kernel_size"]
    windows = F.unfold(
        F.pad(ids.double(), [each for size in reversed(at["padding"]) for each in (size, size)]),
        at["kernel_size"],
        dilation=at.get("dilation", 1),
        stride=stride,
    )
    n, c = ids.shape[:2]
    windows = windows.reshape(n, c, -1, windows.shape[-1]).long()  # samples, channels, entries
    sets = windows.transpose(2, 3).reshape(n * c * windows.shape[-1], -1)
    _unify(call.channels, sets.numpy().T)
    high = sets.amax(1).reshape(n, c, -1)
    return high.reshape(n, c, *call.shape[2:])


# Mixing.


@rule("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot")
def matmul(call: Call) -> Tensor:
    """A matrix of weights at work, or a product of two units' values."""
    at = call.at
    first, second = (
        (at.get("self"), at.get("mat2", at.get("vec", at.get("tensor", at.get("other")))))
        if call.name in ("mm", "bmm", "mv", "dot", "vdot")
        else (
            at.get("mat1", at.get("batch1", at.get("mat"))),
            at.get("mat2", at.get("batch2", at.get("vec"))),
        )
    )
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    if call.flows(first) and call.flows(second):
        found = _product(call, call.ids(first), call.ids(second))
    elif first.dim() == 3:
        found = _batched(call, first, second)
    elif call.flows(first):
        weight = call.expression(second)
        wide = second.dim() > 1
        weight = Computed(TURN, (weight,)) if wide else Computed(torch.unsqueeze, (weight, 0))
        found = _mixed(call, call.ids(first), weight, -1, second.shape[-1] if wide else 1)
    else:
        ids, weight = call.ids(second), call.expression(first)
        ids = ids if second.dim() > 1 else ids[:, None]
        weight = weight if first.dim() > 1 else Computed(torch.unsqueeze, (weight, 0))
        found = _mixed(call, ids, weight, -2, len(first) if first.dim() > 1 else 1)
    found = _times(call, found.reshape(call.shape), at.get("alpha"))
    if call.name in ("addmm", "baddbmm", "addmv") and call.flows(at["self"]):
        added = _times(call, call.ids(at["self"]), at.get("beta"))
        return _joined(call, found, added, product=False)
    return found


def _times(call: Call, ids: Tensor, factor: float | None) -> Tensor:
    """Channels times a number; None stands for 1."""
    if factor is None or abs(factor) == 1:
        return ids
    return _scaled(call.channels, ids, call.expression(factor), torch.Size([]))


def _batched(call: Call, first: Tensor, second: Tensor) -> Tensor:
    """A batched product with a weight: one matrix for all, or a matrix for each."""
    left = not call.flows(first)  # whether the weight stands on the left
    weight, x = (first, second) if left else (second, first)
    known, ids = call.expression(weight), call.ids(x)
    select = torch.ops.aten.select.int
    axis, rows = (-2, weight.shape[1]) if left else (-1, weight.shape[2])
    if len(weight) == 1 or weight.stride(0) == 0 or bool((weight == weight[:1]).all()):
        one: Expression = _without_repeats(known) or Computed(select, (known, 0, 0))
        one = one if left else Computed(TURN, (one,))
        return _mixed(call, ids, one, axis, rows)
    if len(weight) > MOST_MATRICES:
        raise call.refuse(f"a product with {len(weight)} weight matrices")
    parts = []
    for place in range(len(weight)):
        one = Computed(select, (known, 0, place))
        one = one if left else Computed(TURN, (one,))
        parts.append(_mixed(call, ids[place], one, axis, rows))
    return torch.stack(parts)


def _without_repeats(weight: Expression) -> Expression | None:
    """The matrix that an expanded batch of it repeats."""
    while isinstance(weight, Computed):
        name = getattr(weight.function, "_opname", "")
        if name not in ("expand", "view", "_unsafe_view", "_reshape_alias", "unsqueeze"):
            return None
        weight = weight.args[0]
        if isinstance(weight, Computed) and getattr(weight.function, "_opname", "") == "t":
            return weight
    return None


def _mixed(call: Call, ids: Tensor, weight: Expression, axis: int, rows: int) -> Tensor:
    """Channels of new units, written by a matrix (rows, c) that reads along an axis of size c."""
    columns, positions = _read(call, ids, axis)
    made = _written(call, weight, rows, columns[None], positions)
    shape = [1] * ids.dim()
    shape[axis] = rows
    out = list(ids.shape)
    out[axis] = rows
    return torch.from_numpy(made).reshape(shape).expand(out)


def _written(
    call: Call,
    weight: Expression,
    count: int,
    columns: Ids,
    positions: Ids | None = None,
    transposed: bool = False,
    groups: int = 1,
) -> Ids:
    """Channels of new units that a weight writes.

    Args:
        call: the operation.
        weight: the weight.
        count: how many it writes.
        columns: (r or 1, c) channels that it reads.
        positions: see `Mix`.
        transposed: whether its rows are read: each writes to all units of its group.
        groups: how many there are then.
    """
    run = call.run
    layer, _ = run.site
    name = layer or next(weight.names(), call.name)
    made = call.channels.new_units(name, "hidden", count)
    rows, read = made, columns
    if transposed:
        rows, read = columns[0], made.reshape(groups, -1)
        read = read if groups == 1 else read.repeat(len(rows) // groups, 0)
    order = call.channels.tick()
    call.channels.mixes.append(
        Mix(name, weight, rows, read, transposed, run.site, run.hookable, order, positions)
    )
    return made


def _read(call: Call, ids: Tensor, axis: int) -> tuple[Ids, Ids | None]:
    """(c,) channels along an axis, and (p, c) of all positions where their gains differ.

    What one weight reads at several positions is one unit.
    """
    turned = ids.movedim(axis, -1)
    size = turned.shape[-1]
    small = compact(turned)
    small = small.expand(*small.shape[:-1], size)
    table = small.reshape(-1, size).numpy()
    own, _ = _distinct(table, call.channels.count)
    call.channels.used(own[own > 0])
    if len(table) == 1 or bool((table == table[0]).all()):
        return table[0].copy(), None
    if _mixes_positions(call.channels, table):
        raise call.refuse("a weight that mixes positions, and not units,")
    positions = np.unique(table, axis=0) if _gains_differ(call.channels, table) else None
    _unify(call.channels, table)
    return table.max(0), positions


def _gains_differ(channels: Channels, table: Ids) -> bool:
    """Whether entries of a column of (positions, columns) channels are scaled differently."""
    scales = channels.scale[table]
    return bool(((scales != channels.scale[table.max(0)]) & (table > 0)).any())


def _mixes_positions(channels: Channels, table: Ids) -> bool:
    """Whether columns differ by position, and hold the same units all the same."""
    units = channels.unit[table]
    odd = ((units != units.max(0)) & (units > 0)).any(0)
    if odd.sum() < 2:
        return False
    place = np.broadcast_to(np.flatnonzero(odd), (len(table), int(odd.sum())))
    pairs = np.unique(np.stack([units[:, odd].ravel(), place.ravel()]), axis=1)
    pairs = pairs[:, pairs[0] > 0]
    _, counts = np.unique(pairs[0], return_counts=True)
    return bool((counts > 1).any())


def _unify(channels: Channels, table: Ids) -> None:
    """Makes what is in a column of (positions, columns) channels one unit."""
    high = np.broadcast_to(table.max(0), table.shape)
    odd = (table != high) & (table > 0)
    if odd.any():
        pairs = np.unique(np.stack([table[odd], high[odd]]), axis=1)
        channels.unify(pairs[0], pairs[1])


@rule("convolution", "mkldnn_convolution", "_convolution")
def convolve(call: Call) -> Tensor:
    """A convolution of any kind; its kernel's positions are one weight between two channels."""
    at = call.at
    weight, groups, turned = at["weight"], at.get("groups", 1), bool(at.get("transposed"))
    if call.flows(weight):
        raise call.refuse("a convolution whose kernel depends on the input")
    columns, positions = _read(call, call.ids(at["input"]), 1)
    count = call.shape[1]
    known = call.expression(weight)
    if turned:
        made = _written(call, known, count, columns[None], positions, True, groups)
    else:
        read = columns.reshape(groups, -1).repeat(count // groups, 0)
        if groups > 1 and positions is not None:
            positions = positions.reshape(len(positions), groups, -1).repeat(count // groups, 1)
        made = _written(call, known, count, read[:1] if groups == 1 else read, positions)
    shape = torch.Size([1, count, *[1] * (len(call.shape) - 2)])
    return torch.from_numpy(made).reshape(shape).expand(call.shape)


@rule("embedding")
def embed(call: Call) -> Tensor:
    """A table of vectors; every entry that can be looked up is an input of the network."""
    at = call.at
    if call.flows(at["weight"]):
        raise call.refuse("a table of vectors that depends on the input")
    tokens = call.run.tokens(at["indices"], len(at["weight"]))
    made = _written(call, call.expression(at["weight"]), call.shape[-1], tokens[None], None, True)
    return torch.from_numpy(made).expand(call.shape)


@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
      "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math")  # fmt: skip
def attend(call: Call) -> list[Tensor]:
    """Softmax attention: a head's queries, keys and values are one unit."""
    query, key, value = (call.ids(each) for each in call.args[:3])
    return [_product(call, _product(call, query, key.transpose(-1, -2)), value)]


def _product(call: Call, first: Tensor, second: Tensor) -> Tensor:
    """A matrix product of two inputs' values: all that one matrix holds is one unit."""
    lead = first.dim() - 2 if first.dim() > 2 else 0
    batch = torch.broadcast_shapes(first.shape[:lead], second.shape[:lead])
    a = first.expand(*batch, *first.shape[lead:])
    b = second.expand(*batch, *second.shape[lead:])
    flat = [compact(each) if not lead else each for each in (a, b)]
    rows = [each.reshape(max(1, batch.numel()), -1) for each in flat]
    sets = _row_sets(torch.cat(rows, 1).numpy())
    made = torch.from_numpy(call.channels.merged(_name(call), sets))
    shape = [*batch, *[1] * (len(call.shape) - lead)]
    out = [*batch, a.shape[-2], b.shape[-1]] if a.dim() > 1 and b.dim() > 1 else list(call.shape)
    return made.reshape(shape).expand(out)


def _row_sets(rows: Ids) -> Sequence[Ids]:
    """The different channels of each row; rows that repeat are looked at once."""
    known: dict[bytes, Ids] = {}
    found = []
    for row in rows:
        key = row.tobytes()
        if key not in known:
            known[key] = np.unique(row)
        found.append(known[key])
    return found


@rule("glu")
def glu(call: Call) -> Tensor:
    """One half gates the other."""
    ids, axis = call.ids(call.args[0]), call.at["dim"]
    first, second = ids.chunk(2, axis)
    return _joined(call, first, _bent(call.channels, second))
