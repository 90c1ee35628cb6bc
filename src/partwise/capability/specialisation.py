"""Do modules do different things? Lesions against random lesions, and the weight of interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.capability.held_out import HELD_OUT_SEED
from partwise.graph import UnitMap
from partwise.graph.activity import in_single_precision
from partwise.interventions.lesions import Lesions
from partwise.tasks import Split, Task

LIVE = 1e-3
"""A unit whose lesion moves no output by more than this share of its spread is not live."""


@dataclass(frozen=True)
class Specialisation:
    """How selectively a network's heads suffer from the loss of its modules.

    Attributes:
        selectivity: mean over heads of how much one module's loss harms most (see `selectivity`).
        random_mean: the same for random lesions of as many live units in the same layers.
        p_value: (1 + random draws that are as selective) / (1 + draws).
        information: how much the module that is lost says about which heads suffer (see
            `information`).
        information_random: the same for the random lesions.
        information_p: as `p_value`, by information.
        damage: (modules, heads) loss added by each module's lesion, in nats.
        double: mean damage of lesioning two modules at once, less that of each alone; 0 if
            modules work apart from each other.
    """

    selectivity: float
    random_mean: float
    p_value: float
    information: float
    information_random: float
    information_p: float
    damage: NDArray[np.float64]
    double: float


def selectivity(damage: NDArray[np.float64]) -> float:
    """How much each head depends on one module, 0 to 1: per head (worst - mean of others) / worst.

    Averaged over the heads, weighted by the harm of the worst lesion. A module may serve several
    heads; that costs nothing.

    Args:
        damage: (modules, heads) loss added by each lesion.

    >>> selectivity(np.array([[2.0, 0.0], [1.0, 1.0]]))
    0.6666666666666666
    """
    harm = np.maximum(damage, 0)
    if len(harm) < 2 or not harm.any():
        return 0.0
    worst = harm.max(0)
    others = (harm.sum(0) - worst) / (len(harm) - 1)
    return float((worst - others).sum() / worst.sum())


def information(damage: NDArray[np.float64]) -> float:
    """How much the module that is lost says about which heads suffer, 0 to 1.

    The mutual information of module and head, each as likely as the harm done, as a share of the
    most there can be. 0 if every lesion harms the heads in the same proportions, 1 if each head
    needs a module of its own. Unlike `selectivity` it asks of no head that it depend on one module
    alone: where one answer builds on another, it cannot.

    Args:
        damage: (modules, heads) loss added by each lesion.

    >>> information(np.array([[2.0, 0.0], [0.0, 2.0]]))
    1.0
    >>> information(np.array([[2.0, 2.0], [1.0, 1.0]]))
    0.0
    """
    harm = np.maximum(damage, 0)
    if min(harm.shape) < 2 or not harm.any():
        return 0.0
    joint = harm / harm.sum()
    apart = np.outer(joint.sum(1), joint.sum(0))
    own = joint > 0
    nats = float((joint[own] * np.log(joint[own] / apart[own])).sum())
    return nats / float(np.log(min(harm.shape)))


@torch.no_grad()
def specialisation(
    model: nn.Module,
    units: UnitMap,
    labels: NDArray[np.int64],
    task: Task,
    draws: int = 999,
    size: int = 500,
    split: Split = "final",
    seed: int = 0,
) -> Specialisation:
    """Lesions every module's hidden units, and random ones: as many live units of the same layers.

    Inputs and outputs are spared: losing a head's outputs would be selective without proof. Units
    that do nothing are left out of the draw, or a random lesion that hits nothing but such units
    would count as a selective one.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) module of each unit.
        task: whose heads are scored.
        draws: random partitions with as many live units in every layer.
        size: samples.
        split: where they come from.
        seed: seed of the draws.
    """
    model = in_single_precision(model)
    x, y, _ = task.rows(split, size, HELD_OUT_SEED)
    lesions = Lesions(model, units, x)
    whole = model(x)
    intact = task.losses(whole, y).mean(0)
    hidden = np.zeros(units.n, bool)
    hidden[len(units.inputs) : units.outputs.start] = True

    def harm(held: NDArray[np.bool_]) -> NDArray[np.float64]:
        outputs = lesions.outputs(x, torch.as_tensor(held & hidden))
        return (task.losses(outputs, y).mean(0) - intact).double().numpy()

    modules = range(int(labels.max()) + 1)
    damage = np.array([harm(labels == m) for m in modules])
    live = _live(lesions, x, whole, hidden)
    rng = np.random.default_rng(seed)
    null = []
    for _ in range(draws):
        dealt = _dealt(labels, units, live, rng)
        null.append(np.array([harm(dealt == m) for m in modules]))
    double = [
        float((harm((labels == a) | (labels == b)) - damage[a] - damage[b]).mean())
        for a in modules
        for b in modules
        if a < b
    ]
    return Specialisation(
        *_against(selectivity, damage, null),
        *_against(information, damage, null),
        damage,
        float(np.mean(double)) if double else 0.0,
    )


def _against(
    score: Callable[[NDArray[np.float64]], float],
    damage: NDArray[np.float64],
    null: Sequence[NDArray[np.float64]],
) -> tuple[float, float, float]:
    """The score of the lesions, its mean over random ones, and the p-value of the difference."""
    found, others = score(damage), [score(each) for each in null]
    reached = sum(other >= found - 1e-12 for other in others)
    mean = float(np.mean(others)) if others else 0.0
    return found, mean, (1 + reached) / (1 + len(others))


def _live(
    lesions: Lesions, x: Tensor, whole: Tensor, hidden: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(n,) bool, the hidden units whose own lesion moves an output."""
    least, live = LIVE * whole.std(0), np.zeros(len(hidden), bool)
    for unit in np.flatnonzero(hidden):
        alone = torch.zeros(len(hidden), dtype=torch.bool)
        alone[unit] = True
        moved = (lesions.outputs(x, alone) - whole).abs().amax(0)
        live[unit] = bool((moved > least).any())
    return live


def _dealt(
    labels: NDArray[np.int64],
    units: UnitMap,
    live: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The labels, those of live units shuffled within every layer."""
    dealt = labels.copy()
    for group in units.groups:
        own = group.start + np.flatnonzero(live[group.start : group.stop])
        dealt[own] = rng.permutation(dealt[own])
    return dealt


@torch.no_grad()
def mean_ablated_interface(
    model: nn.Module, units: UnitMap, labels: Tensor, task: Task, size: int = 4000
) -> float:
    """Held-out loss added when weights between modules carry only their mean signal.

    Fairer than `causal_interface` to readers that rely on a constant: the mean of what crosses
    is added to the reader's bias, and only the variation is lost. Layers are cut one by one
    from the inputs on, each with the means that the layers before it now give.

    For networks of linear layers with biases and elementwise activations between them.
    """
    model = in_single_precision(model)
    x, y, _ = task.rows("final", size, HELD_OUT_SEED)
    before = task.losses(model(x), y).mean()
    blocks = {block.parameter.rpartition(".")[0]: block for block in units.blocks}
    value = x
    for name, layer in model.named_children():
        if name not in blocks:
            value = layer(value)
            continue
        assert isinstance(layer, nn.Linear)
        rows, columns = blocks[name].pick(labels)
        inside = torch.where(rows == columns, layer.weight, 0)
        crossing = nn.functional.linear(value.mean(0), layer.weight - inside)
        value = nn.functional.linear(value, inside, layer.bias) + crossing
    return float(task.losses(value, y).mean() - before)
