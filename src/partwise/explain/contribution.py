"""What a module writes, and which tokens that makes likelier (Elhage et al., 2021: direct paths).

Heads and neurons write into the residual stream, which the last layer reads through a
normalisation. With the normalisation's scale held at what it is, logits are sums of what the units
wrote: so each module has a share in every logit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.explain.chance import OUTER, random_members
from partwise.explain.subject import Subject
from partwise.graph.activity import reading_inputs, removing
from partwise.graph.unit_map import NormGain, WeightBlock
from partwise.tasks import Split

DRAWS = 20
EPSILON = 1e-6


def promotion(subject: Subject, split: Split, members: Tensor) -> Tensor:
    """(tokens,) how much what some units write raises the logit of the token that comes next.

    That is relative to the mean over all tokens' logits, and to what they write on average in the
    same stream.

    Args:
        subject: the network, taken apart.
        split: which documents.
        members: (n,) bool, heads and neurons.
    """
    written = _written(subject, split, members)
    target = subject.rows(split).y[:, 0].long()
    rise: Tensor = (written * _directions(subject)[target]).sum(1)
    return rise


def promoted(subject: Subject, split: Split, members: Tensor) -> Tensor:
    """(vocabulary,) the mean of `promotion` where each token comes next; 0 where none does."""
    rise, target = promotion(subject, split, members), subject.rows(split).y[:, 0].long()
    size = len(subject.text.vocabulary)
    total = torch.zeros(size).index_add_(0, target, rise)
    return total / torch.bincount(target, minlength=size).clamp_min(1)


def random_promotions(
    subject: Subject, split: Split, module: int, among: NDArray[np.bool_]
) -> float:
    """The mean of `promotion` that nineteen in twenty sets of as many random units stay below."""

    def drawn() -> Tensor:
        rng = np.random.default_rng((subject.seed, 41))
        members = [random_members(subject, module, rng) for _ in range(DRAWS)]
        return torch.stack([promotion(subject, split, torch.as_tensor(m)) for m in members])

    values = subject.once(("promotions", split, module), drawn)
    return float(np.quantile(values[:, torch.from_numpy(among)].mean(1).numpy(), 1 - OUTER))


def _written(subject: Subject, split: Split, members: Tensor) -> Tensor:
    """(tokens, width) what units write less its mean in the stream, as the last layer scales."""
    total = torch.zeros(())
    for read, weight, senders in _writes(subject, split):
        own = members[senders]
        total = total + read[:, own] @ weight[own]
    streams = torch.from_numpy(subject.text_rows(split).streams)
    written = total - _means(total, streams)[streams]
    norm, scale = _last_norm(subject, split)
    if isinstance(norm, nn.LayerNorm):
        written = written - written.mean(1, keepdim=True)
    return written / scale[:, None]


def _means(values: Tensor, streams: Tensor) -> Tensor:
    """(streams, width) the mean of (tokens, width) values over each stream."""
    count = int(streams.max()) + 1
    total = torch.zeros(count, values.shape[1]).index_add_(0, streams, values)
    return total / torch.bincount(streams, minlength=count)[:, None]


def _writes(subject: Subject, split: Split) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What heads and neurons send (tokens, c), the weights (c, width), and each channel's unit."""

    def found() -> list[tuple[Tensor, Tensor, Tensor]]:
        hidden, reads = subject.units.hidden, dict[int, list[Tensor]]()

        def see(position: int, block: WeightBlock, x: Tensor) -> None:
            if hidden[int(block.senders[0])]:
                reads.setdefault(position, []).append(x.flatten(0, -2).float())

        with torch.no_grad(), reading_inputs(subject.model, subject.units, see):
            subject.losses_of(split, subject.model)
        writes = []
        for position, parts in reads.items():
            block = subject.units.blocks[position]
            weight = block.weight(subject.model).detach().float()
            writes.append((torch.cat(parts), weight if block.transposed else weight.T,
                           block.senders))  # fmt: skip
        return writes

    return subject.once(("writes", split), found)


def _last_norm(subject: Subject, split: Split) -> tuple[nn.Module, Tensor]:
    """The normalisation before the logits, and (tokens,) what it divides by."""

    def found() -> tuple[nn.Module, Tensor]:
        norm, scales = _norm_of(subject), list[Tensor]()

        def see(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].detach().flatten(0, -2).float()
            if isinstance(layer, nn.LayerNorm):
                x = x - x.mean(1, keepdim=True)
            scales.append((x.square().mean(1) + EPSILON).sqrt())

        with removing([norm.register_forward_pre_hook(see)]):
            subject.losses_of(split, subject.model)
        return norm, torch.cat(scales)

    return subject.once(("last norm", split), found)


def _norm_of(subject: Subject) -> nn.Module:
    source = next((gain.source for gain in subject.units.blocks[-1].gains), None)
    if not isinstance(source, NormGain):
        raise UnreadableModelError("the last layer reads through no normalisation that is known")
    return subject.model.get_submodule(source.name)


def _directions(subject: Subject) -> Tensor:
    """(vocabulary, width) what each logit reads of the normalised stream, less their mean."""

    def found() -> Tensor:
        block, norm = subject.units.blocks[-1], _norm_of(subject)
        weight = block.weight(subject.model).detach().float()
        weight = weight.T if block.transposed else weight
        gain = norm.get_parameter("weight").detach().float()
        return (weight - weight.mean(0)) * gain

    return subject.once("directions", found)
