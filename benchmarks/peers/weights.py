"""Peers that set weights rather than add a term: sparse weights, pruning, starts and blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from partwise.graph import UnitMap


def top_weights(model: nn.Module, units: UnitMap, share: float) -> dict[str, Tensor]:
    """A model's weight tensors with all but the largest `share` of each set to 0, differentiable.

    Weight-sparse training keeps the top k of every matrix after each step; Gao et al. (2025),
    "Weight-sparse transformers have interpretable circuits", section 2.

    Returns:
        Parameter name -> tensor, for `torch.func.functional_call`.
    """
    parameters = dict(model.named_parameters())
    kept = {}
    for block in units.blocks:
        weight = parameters[block.parameter]
        size = max(1, round(share * weight.numel()))
        least = weight.detach().abs().flatten().topk(size).values[-1]
        kept[block.parameter] = torch.where(weight.detach().abs() >= least, weight, 0)
    return kept


@torch.no_grad()
def keep_only(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Writes `weights` into the model, in place."""
    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


def pruned_share(step: int, start: int, stop: int, final: float) -> float:
    """Share of weights that gradual magnitude pruning has removed by `step`.

    final (1 - (1 - (step - start) / (stop - start))³); Zhu and Gupta (2017), "To prune, or not
    to prune", equation 1. Filan et al. (2021) prune 90% so, after training with dropout.

    >>> [round(pruned_share(s, 100, 200, 0.9), 4) for s in (0, 100, 150, 200, 300)]
    [0.0, 0.0, 0.7875, 0.9, 0.9]
    """
    into = min(1.0, max(0.0, (step - start) / (stop - start)))
    return final * (1 - (1 - into) ** 3)


@torch.no_grad()
def modular_start(
    model: nn.Module, units: UnitMap, labels: Tensor, cross: float = 0.6
) -> dict[str, Tensor]:
    """Initial weights scaled by `cross` between modules, and up by as much within.

    Within, the factor is 1 + (1 - cross)(m - 1) for m modules, which leaves the mean |w| of
    equal blocks as it was; Filan et al. (2021), "Clusterability in neural networks", section 5.
    """
    parameters = dict(model.named_parameters())
    modules = int(labels.max()) + 1
    within = 1 + (1 - cross) * (modules - 1)
    started = {}
    for block in units.blocks:
        rows, columns = block.pick(labels)
        weight = parameters[block.parameter]
        factor = torch.where(rows == columns, within, cross)
        started[block.parameter] = weight * factor.reshape(*factor.shape, *[1] * (weight.dim() - 2))
    return started


def true_blocks(units: UnitMap, true_inputs: Tensor, true_outputs: Tensor) -> Tensor:
    """(n,) the partition that knows the answer: inputs and outputs as told, hidden units evenly.

    Hidden layers are cut into runs in proportion to the modules' shares of the outputs.
    """
    modules = int(torch.cat([true_inputs, true_outputs]).max()) + 1
    share = torch.bincount(true_outputs, minlength=modules).double()
    ends = (share / share.sum()).cumsum(0)
    labels = [true_inputs]
    for group in units.groups[1:-1]:
        place = (torch.arange(len(group)).double() + 0.5) / len(group)
        labels.append(torch.searchsorted(ends, place).clamp(max=modules - 1))
    return torch.cat([*labels, true_outputs])
