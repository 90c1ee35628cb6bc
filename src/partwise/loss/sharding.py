"""Weights that FSDP shards: every process works on its own entries, and small tables are summed.

Works with FSDP2 (`torch.distributed.fsdp.fully_shard`), whose parameters are DTensors. Nothing
here ever holds more than one whole weight tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import TrainingError
from partwise.graph import UnitMap
from partwise.loss.share_inputs import Senders, module_inputs

Pull = Callable[[NDArray[np.int64], int], NDArray[np.float64]]
"""`(labels, k) -> (n, k)` capacity between each unit and the units of each module."""


def ranks() -> int:
    """Number of processes that train together."""
    return torch.distributed.get_world_size() if _grouped() else 1


def rank() -> int:
    """Number of this process among them."""
    return torch.distributed.get_rank() if _grouped() else 0


def is_sharded(model: nn.Module) -> bool:
    """Whether `fully_shard` was applied to the model or a part of it."""
    if not _grouped():
        return False
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())


def block_weights(model: nn.Module, units: UnitMap) -> list[Tensor]:
    """The weight tensor of every block; where FSDP shards them, as shards.

    A forward pass leaves some of them gathered until the backward pass. Those are sharded again,
    and gathered once more by the backward pass: their gradients would not arrive otherwise.
    """
    if is_sharded(model):
        from torch.distributed.fsdp import FSDPModule

        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
    return [model.get_parameter(block.parameter) for block in units.blocks]


def whole(weight: Tensor) -> Tensor:
    """All of a weight tensor, without gradient; of a sharded one, all processes must ask."""
    from torch.distributed.tensor import DTensor

    return weight.full_tensor().detach() if isinstance(weight, DTensor) else weight.detach()


class Shard(NamedTuple):
    """What a process has of a weight tensor.

    Attributes:
        entries: (r, c) a rectangle of it, differentiable.
        rows, columns: where that is.
        group: the processes that have the rest; None where this is all of it.
    """

    entries: Tensor
    rows: slice
    columns: slice
    group: Any


def own_shard(weight: Tensor) -> Shard:
    """What this process has of a weight tensor; the gradient goes there and nowhere else.

    Raises:
        TrainingError: for a tensor that is sharded in more than one way.
    """
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor import Shard as Sharded

    sides = [slice(0, length) for length in weight.shape]
    if not isinstance(weight, DTensor):
        return Shard(weight, sides[0], sides[1], None)
    cuts = [(i, p.dim) for i, p in enumerate(weight.placements) if isinstance(p, Sharded)]
    exact = all(p.is_replicate() or type(p) is Sharded for p in weight.placements)
    if len(cuts) > 1 or not exact:
        raise TrainingError(
            f"weights placed {weight.placements} cannot be pressed; shard them by fully_shard "
            "alone, over one dimension of the mesh"
        )
    entries, group = weight.to_local(), None
    for axis, side in cuts:
        length, mesh = weight.shape[side], weight.device_mesh
        chunk = -(-length // mesh.size(axis))
        first = min(length, chunk * mesh.get_local_rank(axis))
        sides[side] = slice(first, first + entries.shape[side])
        group = mesh.get_group(axis)
    return Shard(entries, sides[0], sides[1], group)


def sharded_inputs(weights: Sequence[Tensor], senders: Sequence[Senders], modules: int) -> Tensor:
    """`module_inputs` of sharded tensors, the same on every process, for one all-reduce.

    Each process enters what its own entries carry in a table of all rows; the tables are summed.
    What is computed from the sum is the same everywhere, and so is the gradient by it: a shard
    gets its whole gradient from its own process, and must not be reduced again.

    Args:
        weights: as `module_inputs`, some of them DTensors.
        senders: of each whole tensor.
        modules: number k of modules.

    Returns:
        (rows, k), the receivers of all tensors one after the other; differentiable once.
    """
    shards = [own_shard(weight) for weight in weights]
    mine, places, first = [], [], 0
    for weight, shard, sent in zip(weights, shards, senders, strict=True):
        read, written = shard.columns, shard.rows
        if sent.transposed:
            read, written = written, read
        mine.append(Senders(sent.module[read], sent.scale[read], sent.transposed))
        places.append(torch.arange(first + written.start, first + written.stop))
        first += weight.shape[1 if sent.transposed else 0]
    own = module_inputs([shard.entries for shard in shards], mine, modules)
    here = torch.cat(places).to(own.device)
    lengths = [len(each) for each in places]
    divided = torch.tensor([shard.group is not None for shard in shards], device=own.device)
    divided = divided.repeat_interleave(torch.tensor(lengths, device=own.device))[:, None]
    table = own.new_zeros(first, modules)
    total = _Summed.apply(table.index_add(0, here, own * divided), _only_group(shards))
    result: Tensor = total.index_add(0, here, own * ~divided)
    return result


def _only_group(shards: Sequence[Shard]) -> Any:
    groups = [shard.group for shard in shards if shard.group is not None]
    if any(group is not groups[0] for group in groups):
        raise TrainingError("weights are sharded over several groups of processes; use one mesh")
    return groups[0] if groups else None


class _Summed(torch.autograd.Function):
    """The sum of the processes' tables; all have the same gradient, and each takes it whole."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, group: Any) -> Tensor:
        total = table.clone()
        torch.distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def led_by_first(decide: Callable[[Pull], NDArray[np.int64]], pull: Pull, n: int) -> Tensor:
    """What the first process decides, with a `pull` that all processes must work out together.

    Args:
        decide: gives (n,) labels; only the first process calls it, with `pull`.
        pull: `(labels, k) -> (n, k)`; every process calls it, in step.
        n: number of units.

    Returns:
        (n,) long, on the first process; zeros on the others.
    """

    def ask(labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        _told([k, *labels.tolist()], n)
        return pull(labels, k)

    if rank() == 0:
        try:
            return torch.from_numpy(decide(ask))
        finally:
            _told([0] * (n + 1), n)
    while (asked := _told(None, n))[0] > 0:
        pull(asked[1:].numpy(), int(asked[0]))
    return torch.zeros(n, dtype=torch.long)


def from_first(labels: Tensor) -> Tensor:
    """The first process's tensor, on all of them; from and to the CPU."""
    if ranks() == 1:
        return labels
    here = labels.to(_device())
    torch.distributed.broadcast(here, 0)
    return here.cpu()


def mean_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's mean over all processes, in one message."""
    flat = torch.cat([each.to(_device(), torch.float32) for each in tensors])
    torch.distributed.all_reduce(flat)
    parts = (flat / ranks()).split([len(each) for each in tensors])
    return [part.to(each) for part, each in zip(parts, tensors, strict=True)]


def _told(message: list[int] | None, n: int) -> Tensor:
    return from_first(torch.zeros(n + 1).long() if message is None else torch.tensor(message))


def _device() -> torch.device:
    """Where the process group's messages must lie."""
    nccl = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
