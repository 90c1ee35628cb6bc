"""Is an interface idle? Loss added without all of it, without random parts, and at the worst.

Deleting all wires at once cannot see wires that cancel: two that carry the same with opposite
signs cost nothing together and everything apart. So parts of an interface are removed as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from partwise.capability.held_out import HELD_OUT_SEED
from partwise.graph import UnitMap
from partwise.graph.activity import evaluating, in_single_precision
from partwise.graph.unit_map import parameter_of
from partwise.interventions.lesions import separate_uses, uses_are_apart
from partwise.interventions.masks import MaskedRun, inside_modules, wide
from partwise.loss.idle import Run
from partwise.tasks import Split, Task

LossOf = Callable[[Run], Tensor]
"""The function that runs a network -> its mean loss over fixed samples, differentiable."""
STRIDES = (0.3, 0.02)
"""How far a mask moves at the first step of an ascent, and at the last; a mask is 0 to 1."""


@dataclass(frozen=True)
class CausalInterface:
    """Held-out loss added by removing the wires between modules, in the loss's own unit.

    An interface is idle only if none of them is large. All are 0 where no wire crosses.

    Attributes:
        joint: all wires removed.
        random_mean: random parts of them removed; the mean over masks.
        random_high: the 95th percentile over these masks.
        worst: the most that any mask tried adds, those that gradient ascent found among them; 0
            where none adds anything, and never below `joint` or `random_high`.
        wires: number of wires: weights between modules that are not 0, or whole kernels.
    """

    joint: float
    random_mean: float
    random_high: float
    worst: float
    wires: int

    def scores(self, name: str, unit: str = "") -> dict[str, float]:
        """The four losses as a record has them: the joint one under `name` itself.

        Args:
            name: begins each key.
            unit: ends each key, such as `_nats`.
        """
        return {
            f"{name}{unit}": self.joint,
            f"{name}_random{unit}": self.random_mean,
            f"{name}_random_95{unit}": self.random_high,
            f"{name}_worst{unit}": self.worst,
        }


@dataclass(frozen=True)
class Effort:
    """How hard the worst mask is looked for.

    Attributes:
        draws: random masks. Each removes a share of the wires that is itself drawn from 0 to 1.
        starts: ascents: from no wire, from all of them, the others from random masks.
        steps: gradient steps of each ascent.
        seed: seed of masks and starts.
    """

    draws: int = 64
    starts: int = 4
    steps: int = 50
    seed: int = 0


class InterfaceMasks:
    """A network run with parts of its interfaces removed; its own weights are never changed.

    A wire is an entry of a weight matrix, or a whole kernel of a conv layer, that joins units of
    two modules and is not 0. A mask says for each how much of it stays, 0 to 1.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
    """

    def __init__(self, model: nn.Module, units: UnitMap, labels: Tensor):
        self.model = model
        self._crossing = {
            name: _live(model.get_parameter(parameter_of(name))) & ~kept.flatten(1)
            for name, kept in inside_modules(model, units, labels).items()
        }
        self._counts = [int(crossing.sum()) for crossing in self._crossing.values()]
        self.wires = sum(self._counts)

    def mask(self, value: float) -> Tensor:
        """(wires,) the same for every wire."""
        return next(self.model.parameters()).new_full((self.wires,), value).detach()

    def run(self, mask: Tensor) -> Run:
        """What runs the network with (wires,) `mask`; differentiable in it."""
        kept = {}
        parts = mask.split(self._counts)
        for (name, crossing), part in zip(self._crossing.items(), parts, strict=True):
            weight = self.model.get_parameter(parameter_of(name))
            whole = torch.ones_like(crossing, dtype=weight.dtype)
            kept[name] = wide(whole.masked_scatter(crossing, part.to(weight)), weight)
        return MaskedRun(self.model, kept)


def _live(weight: Tensor) -> Tensor:
    """(r, c) bool, entries or kernels that are not 0."""
    return weight.detach().reshape(*weight.shape[:2], -1).ne(0).any(2)


def causal_interface(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    task: Task,
    split: Split = "final",
    size: int = 4000,
    seed: int = HELD_OUT_SEED,
    effort: Effort | None = None,
) -> CausalInterface:
    """Held-out loss added by removing the weights between modules: all, random parts, the worst.

    The worst mask is looked for on 2,000 samples of `claims`, and all losses are those on `split`:
    samples that no mask was fitted to.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        task: whose loss it is, mean over samples and heads.
        split: where the samples come from that the losses are reported on.
        size: at most how many.
        seed: seed of these samples.
        effort: how hard the worst mask is looked for.
    """
    model = in_single_precision(model)
    if not uses_are_apart(units):
        model, units = separate_uses(model, units, task.rows("claims", 2, seed).x)

    def loss_on(split: Split, size: int) -> LossOf:
        x, y, _ = task.rows(split, size, seed)
        return lambda run: task.losses(run(x), y).mean()

    masks = InterfaceMasks(model, units, labels)
    return added_losses(masks, loss_on("claims", 2000), loss_on(split, size), effort)


def added_losses(
    masks: InterfaceMasks, search_loss: LossOf, held_loss: LossOf, effort: Effort | None = None
) -> CausalInterface:
    """What removing the interface, and parts of it, adds to `held_loss`.

    One mask serves all samples. Ascents climb `search_loss` by the signs of its slopes (projected
    gradient ascent; Madry et al., 2018), which does not depend on how large the weights are, and
    each gives its best mask, as it is and rounded. Masks stay between 0 and 1, where the worst
    need not be at an end: of two wires, half of one may be what the loss bears least. `worst` is
    the largest held-out loss of all masks.

    Args:
        masks: the network and its interface.
        search_loss: on the samples that ascents see.
        held_loss: on other samples, that all losses are reported on.
        effort: how hard the worst mask is looked for.
    """
    if masks.wires == 0:
        return CausalInterface(0.0, 0.0, 0.0, 0.0, 0)
    effort = Effort() if effort is None else effort
    order = torch.Generator().manual_seed(effort.seed)
    with evaluating(masks.model):
        whole = _value(held_loss, masks, masks.mask(1))

        def added(mask: Tensor) -> float:
            return _value(held_loss, masks, mask) - whole

        joint = added(masks.mask(0))
        random = [added(_random(masks, order)) for _ in range(effort.draws)]
        found = []
        for start in _starts(masks, effort.starts, order):
            best = climbed(masks, search_loss, start, effort.steps)
            found += [added(best), added(best.round())]
    high = float(np.quantile(random, 0.95)) if random else joint
    mean = float(np.mean(random)) if random else joint
    return CausalInterface(joint, mean, high, max(0.0, joint, *random, *found), masks.wires)


@torch.no_grad()
def _value(loss: LossOf, masks: InterfaceMasks, mask: Tensor) -> float:
    return float(loss(masks.run(mask)))


def _random(masks: InterfaceMasks, order: torch.Generator) -> Tensor:
    """(wires,) 0 or 1; how many stay is itself random, or most masks would keep half of them."""
    share = torch.rand((), generator=order)
    kept = torch.rand(masks.wires, generator=order) < share
    return kept.to(masks.mask(0))


def _starts(masks: InterfaceMasks, count: int, order: torch.Generator) -> Iterator[Tensor]:
    """Where ascents begin: near none, near all, then anywhere.

    A little off the ends, since exactly there wires that cancel may have no slope.
    """
    for place in range(count):
        noise = torch.rand(masks.wires, generator=order).to(masks.mask(0))
        yield (0.1 * noise, 1 - 0.1 * noise)[place] if place < 2 else noise


def climbed(masks: InterfaceMasks, loss: LossOf, start: Tensor, steps: int) -> Tensor:
    """(wires,) the mask with the highest loss that an ascent from `start` comes across."""
    mask, best, highest = start, start, -np.inf
    for stride in np.linspace(*STRIDES, steps):
        mask = mask.detach().requires_grad_()
        value = loss(masks.run(mask))
        (slope,) = torch.autograd.grad(value, mask)
        if value.item() > highest:
            best, highest = mask.detach(), value.item()
        mask = (mask.detach() + float(stride) * slope.sign()).clamp(0, 1)
    return best
