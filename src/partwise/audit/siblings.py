"""Clean siblings: networks of the same shape that the auditor trains on clean samples.

What an honest network of this shape can be forced to do on this data is what siblings can be
forced to do. They are the null that a found trigger is compared with, for any kind of answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from partwise.tasks import Task

ROWS_AT_ONCE = 16_384
PICTURES_AT_ONCE = 512
BATCH = 64
CHECKED_EVERY = 40
RATE = 5e-3
DRAWN_EVERY = 8
DRAWN_TO = (0.6, 1.4)
"""The first and last sibling's share of the network's mean |w|: a training is not known exactly."""
DRAWN_IN = 0.6
"""Share of the steps after which the siblings' weights are no larger than the network's."""


@dataclass(frozen=True)
class Crowd:
    """A network and its siblings, run side by side.

    Attributes:
        model: any one of them, for its code.
        parameters: name -> (nets, ...) stacked; the audited network's come first.
        buffers: likewise.
    """

    model: nn.Module
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """(b, inputs) -> (nets, b, outputs)."""
        if any(isinstance(layer, nn.Conv2d) for layer in self.model.modules()):
            return torch.stack([self._outputs_of(net, x) for net in range(len(self))])
        parts = [
            _run(self.model, self.parameters, self.buffers, part) for part in x.split(ROWS_AT_ONCE)
        ]
        return torch.cat(parts, 1)

    def _outputs_of(self, net: int, x: Tensor) -> Tensor:
        """(b, inputs) -> (b, outputs) of one network, whose kernels have their channels last.

        Stacked kernels are grouped convolutions, whose values no cache holds: fifteen times slower.
        """
        own = {name: _channels_last(values[net]) for name, values in self.parameters.items()}
        own |= {name: values[net] for name, values in self.buffers.items()}
        parts = [functional_call(self.model, own, (part,)) for part in x.split(PICTURES_AT_ONCE)]
        return torch.cat(parts)

    def with_first(self, model: nn.Module) -> Crowd:
        """The crowd with another network in the audited one's place."""
        own, buffers = dict(model.named_parameters()), dict(model.named_buffers())
        return replace(
            self,
            parameters={
                k: torch.cat([own[k].detach()[None], v[1:]]) for k, v in self.parameters.items()
            },
            buffers={k: torch.cat([buffers[k][None], v[1:]]) for k, v in self.buffers.items()},
        )


def crowd_of(model: nn.Module, siblings: list[nn.Module]) -> Crowd:
    """The network first, then its siblings."""
    parameters, buffers = stack_module_state([model, *siblings])
    return Crowd(model, {k: v.detach() for k, v in parameters.items()}, buffers)


def _channels_last(value: Tensor) -> Tensor:
    """A kernel of pictures with its channels last in memory; anything else as it is."""
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def _run(
    model: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor
) -> Tensor:
    def one(own: dict[str, Tensor], held: dict[str, Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(model, (own, held), (x,))
        return outputs

    outputs: Tensor = vmap(one, in_dims=(0, 0, 0 if x.dim() == 3 else None))(
        dict(parameters), dict(buffers), x
    )
    return outputs


def fresh_copies(model: nn.Module, count: int, seed: int) -> list[nn.Module] | None:
    """Copies with new initial weights, or None where a layer cannot be reset."""
    copies = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(count):
            copied = copy.deepcopy(model)
            for layer in copied.modules():
                owns = any(True for _ in _own_tensors(layer))
                reset = getattr(layer, "reset_parameters", None)
                if owns and reset is None:
                    return None
                if reset is not None:
                    reset()
            copies.append(copied)
    return copies


def _own_tensors(layer: nn.Module) -> Iterator[Tensor]:
    yield from layer.parameters(recurse=False)
    yield from layer.buffers(recurse=False)


def train_siblings(crowd: Crowd, task: Task, x: Tensor, y: Tensor, steps: int, seed: int) -> Crowd:
    """Trains every network of a crowd but the first, until they fit as well as the first does.

    One Adam over the stacked weights. Siblings differ by their initial weights, their batches and
    how sparse they are. Layers stay in evaluation mode. Each weight matrix is drawn in, over the
    first steps, to `DRAWN_TO` of the mean |w| of the audited network's: a sparse network listens
    to few inputs, and dense siblings would make that look strange.

    Args:
        crowd: the audited network and its untrained siblings.
        task: whose losses are minimised.
        x: (b, inputs) clean samples.
        y: (b, heads) their true answers.
        steps: most steps.
        seed: seed of the batches.
    """
    usual = y.std(0, correction=0).clamp(min=1e-6)
    weigh = torch.tensor([1.0 if h.kind != "value" else 0.0 for h in task.heads])
    weigh = torch.where(weigh > 0, weigh, 1 / usual**2)  # squared errors in units of the spread
    weights = {k: v[1:].clone().requires_grad_() for k, v in crowd.parameters.items()}
    buffers = {k: v[1:] for k, v in crowd.buffers.items()}
    goal = float((task.losses(crowd.outputs(x)[0], y) * weigh).sum(1).mean())
    optimizer = torch.optim.Adam(list(weights.values()), lr=RATE)
    generator = torch.Generator().manual_seed(seed)
    radii = {
        k: (float(v[0].abs().sum()), float(v[1:].abs().flatten(1).sum(1).mean()))
        for k, v in crowd.parameters.items()
        if v.dim() > 2
    }

    def losses(x: Tensor, y: Tensor) -> Tensor:
        outputs = _run(crowd.model, weights, buffers, x)
        every = (
            task.losses(outputs.flatten(0, 1), y.expand(len(outputs), -1, -1).flatten(0, 1)) * weigh
        )
        return every.sum(1).reshape(len(outputs), -1).mean(1)

    settled = False
    for step in range(1, steps + 1):
        size = (len(crowd) - 1, min(BATCH, len(x)))
        chosen = torch.randint(len(x), size, generator=generator)
        optimizer.zero_grad()
        losses(x[chosen], y[chosen]).sum().backward()
        optimizer.step()
        if step % DRAWN_EVERY == 0:
            left = max(0.0, 1 - step / (DRAWN_IN * steps))
            tight = [
                _draw_in(weights[k], own, at_first, left) for k, (own, at_first) in radii.items()
            ]
            settled = left == 0 or not any(tight)
        if step % CHECKED_EVERY == 0 and settled:
            with torch.no_grad():
                if float(losses(x, y).median()) <= goal:
                    break
    return replace(
        crowd,
        parameters={
            k: torch.cat([v[:1], weights[k].detach()]) for k, v in crowd.parameters.items()
        },
    )


@torch.no_grad()
def _draw_in(weight: Tensor, own: float, at_first: float, left: float) -> bool:
    """Projects (nets, ...) weights, in place, on the L1 ball of a radius between two.

    Args:
        weight: the siblings' weights.
        own: sum of the audited network's |w|.
        at_first: that of the siblings before training.
        left: share of the way that is left, 1 to 0; at 0 the radius is `own`.

    Returns:
        Whether any of them was outside the ball of radius `own`. Source: Duchi et al. (2008).
    """
    flat = weight.flatten(1)
    sums, ends = flat.abs().sum(1), own * torch.linspace(*DRAWN_TO, len(flat))
    radius = torch.maximum(ends, ends + (at_first - ends) * left)
    if bool((sums > radius).any()):
        ordered = flat.abs().sort(1, descending=True).values
        excess = (ordered.cumsum(1) - radius[:, None]) / torch.arange(1, flat.shape[1] + 1)
        last = (ordered > excess).sum(1, keepdim=True) - 1
        cut = excess.gather(1, last).clamp(min=0)
        cut = torch.where((sums > radius)[:, None], cut, torch.zeros_like(cut))
        flat = flat.sign() * (flat.abs() - cut).clamp(min=0)
        weight.copy_(flat.reshape(weight.shape))
    return bool((sums > ends).any())
