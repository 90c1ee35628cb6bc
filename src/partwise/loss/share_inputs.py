# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""What every row of a network's weights reads from each module: one pass, and one for gradients.

The gradient of an entry is looked up by its row and its sender's module, so the backward pass
keeps nothing but the weights and makes nothing but the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from partwise.compiled import compiled
from partwise.loss.press import COMPILED


@dataclass(frozen=True, eq=False)
class Senders:
    """The side of a weight tensor that is read.

    Attributes:
        module: (s,) long, module of each sender.
        scale: (s,) what each sender's weights are multiplied by; a constant.
        transposed: whether the tensor is (senders, receivers).
    """

    module: Tensor
    scale: Tensor
    transposed: bool


def module_inputs(weights: Sequence[Tensor], senders: Sequence[Senders], modules: int) -> Tensor:
    """Capacity that enters each row of weight tensors from each module.

    Args:
        weights: (receivers, senders) tensors; (senders, receivers) where transposed.
        senders: of each tensor.
        modules: number k of modules.

    Returns:
        (rows, k), the receivers of all tensors one after the other; differentiable once.
    """
    return _ModuleInputs.apply(tuple(senders), modules, *weights)


class _ModuleInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, senders: tuple[Senders, ...], modules: int, *weights: Tensor) -> Tensor:
        ctx.senders, ctx.modules = senders, modules
        ctx.save_for_backward(*weights)
        rows = [
            w.shape[1] if s.transposed else w.shape[0]
            for w, s in zip(weights, senders, strict=True)
        ]
        kind = torch.promote_types(weights[0].dtype, torch.float32)
        into = torch.zeros(sum(rows), modules, dtype=kind, device=weights[0].device)
        for part, weight, sent in zip(into.split(rows), weights, senders, strict=True):
            if _is_compiled(weight):
                kernel = _add_transposed if sent.transposed else _add
                kernel(weight.numpy(), sent.module.numpy(), sent.scale.numpy(), part.numpy())
            else:
                magnitude = weight.abs().T if sent.transposed else weight.abs()
                part += (magnitude @ _members(sent, modules, weight)).to(kind)
        ctx.rows = rows
        return into

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads: list[Tensor | None] = []
        parts = grad.contiguous().split(ctx.rows)
        for part, weight, sent in zip(parts, ctx.saved_tensors, ctx.senders, strict=True):
            if _is_compiled(weight):
                out = torch.empty_like(weight)
                kernel = _spread_transposed if sent.transposed else _spread
                arrays = sent.module.numpy(), sent.scale.numpy(), part.numpy(), out.numpy()
                kernel(weight.numpy(), *arrays)
            else:
                table = part.to(weight) @ _members(sent, ctx.modules, weight).T
                out = weight.sign() * (table.T if sent.transposed else table)
            grads.append(out)
        return None, None, *grads


def _is_compiled(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in COMPILED and weight.is_contiguous()


def _members(senders: Senders, modules: int, like: Tensor) -> Tensor:
    """(s, k) scale of each sender, in the column of its module."""
    members = torch.nn.functional.one_hot(senders.module, modules)
    return members.to(like) * senders.scale.to(like)[:, None]


@compiled(fastmath=True)
def _add(weight, module, scale, into):
    """Adds |weight| of (receivers, senders) times the sender's scale into (receivers, k)."""
    for r in range(weight.shape[0]):
        for s in range(weight.shape[1]):
            into[r, module[s]] += abs(weight[r, s]) * scale[s]


@compiled(fastmath=True)
def _add_transposed(weight, module, scale, into):
    """`_add` for a tensor of (senders, receivers)."""
    for s in range(weight.shape[0]):
        m, factor = module[s], scale[s]
        for r in range(weight.shape[1]):
            into[r, m] += abs(weight[s, r]) * factor


@compiled(fastmath=True)
def _spread(weight, module, scale, grad, out):
    """The gradient of `_add` by the weights, given that by its result."""
    for r in range(weight.shape[0]):
        for s in range(weight.shape[1]):
            out[r, s] = np.sign(weight[r, s]) * grad[r, module[s]] * scale[s]


@compiled(fastmath=True)
def _spread_transposed(weight, module, scale, grad, out):
    """`_spread` for a tensor of (senders, receivers)."""
    by_module = np.ascontiguousarray(grad.T)
    for s in range(weight.shape[0]):
        m, factor = module[s], scale[s]
        for r in range(weight.shape[1]):
            out[s, r] = np.sign(weight[s, r]) * by_module[m, r] * factor
