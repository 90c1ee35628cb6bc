"""A penalty on contribution shares, for networks whose parts all write to one residual stream.

The share of unit j's input that unit i provides, |w_ij|·rms(a_i) over j's total, cannot be gamed
by rescaling, compares between matrices, and is differentiable in the weights. Which units belong
together is found from co-usage (see `partwise.graph.activity`): it needs no training to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import CheckpointError
from partwise.graph import UnitGraph, UnitMap
from partwise.graph.activity import (
    InputScales,
    Usage,
    co_usage_graph,
    share_graph,
    unit_usage,
)
from partwise.loss.masses import interface_share, newman_q_of_masses
from partwise.modules import search_modules


@dataclass(frozen=True)
class ShareSchedule:
    """When and how hard the penalty presses.

    Attributes:
        strength: weight of the penalty, in nats per unit of Newman's Q.
        start: steps of plain training before the first partition.
        ramp: steps over which the strength rises from 0 to full.
        refresh_every: steps between partitions.
        freeze_after: steps after `start` from which the partition no longer changes.
        inflations: powers of the co-usage capacities that trees are built for.
        min_gain: Q that a split must earn to be kept.
        min_contrast: how distinct a split must be to be kept (see `search_modules`).
        min_correlation: weakest correlation of usages that is an edge.
        quota_power: heads, neurons and channels go to modules in proportion to the loss at their
            tokens to this power.
        mask_share: share of steps in which the network runs without its interface weights.
        mask_after: steps after `start` before masking begins.
        isolate_after: steps after `start` from which every step is masked.
        probes: sequences that usage is measured over.
        watch_every: steps between measurements of input scales.
        seed: seed of the choice of masked steps.
    """

    strength: float = 3.0
    start: int = 400
    ramp: int = 600
    refresh_every: int = 50
    freeze_after: int = 300
    inflations: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    min_gain: float = 0.05
    min_contrast: float = 0.7
    min_correlation: float = 0.12
    quota_power: float = 0.5
    mask_share: float = 0.6
    mask_after: int = 800
    isolate_after: int = 1800
    probes: int = 768
    watch_every: int = 4
    seed: int = 0


class _ModuleInputs(torch.autograd.Function):
    """(receivers, k) |weight| summed over the senders of each module, in one pass.

    The gradient of an entry is looked up by its receiver and its sender's module, so backward is
    one pass as well and keeps nothing but the weights.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, senders: Tensor, transposed: bool) -> Tensor:
        ctx.save_for_backward(weight, senders)
        ctx.transposed = transposed
        magnitude = weight.abs()
        return (magnitude.T if transposed else magnitude) @ senders

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, senders = ctx.saved_tensors
        table = senders @ grads[0].T if ctx.transposed else grads[0] @ senders.T
        return weight.sign() * table, None, None


def module_inputs(weight: Tensor, senders: Tensor, transposed: bool = False) -> Tensor:
    """Capacity that enters each receiver of a weight tensor from each module.

    Args:
        weight: (receivers, senders) tensor; (senders, receivers) if `transposed`.
        senders: (senders, k) module of each sender times its scale; a constant.
        transposed: which of the two the tensor is.

    Returns:
        (receivers, k).
    """
    return _ModuleInputs.apply(weight, senders, transposed)


def share_masses(
    model: nn.Module, units: UnitMap, labels: Tensor, scales: InputScales | None
) -> Tensor:
    """(k, k) share of the inputs of module a's rows that module b provides, summed over rows.

    Every row of every weight matrix counts 1, so that no matrix hides behind a larger one.
    Differentiable in the weights: one pass over each, no graph in sight.
    """
    k = int(labels.max()) + 1
    like = next(model.parameters())
    members = torch.nn.functional.one_hot(labels.to(like.device), k).float()
    masses = members.new_zeros(k, k)
    for i, block in enumerate(units.blocks):
        senders = members[block.senders]
        if scales is not None:
            senders = senders * scales[i].to(senders)[:, None]
        weight = model.get_parameter(block.parameter).float()
        into = module_inputs(weight, senders, block.transposed)
        shares = into / into.sum(1, keepdim=True).clamp_min(1e-12)
        masses = masses + members[block.receivers].T @ shares
    return masses


class SharePenalty:
    """Penalty that rewards a transformer for the modules that its co-usage tree shows.

    Every `refresh_every` steps the usage of units over probe sequences becomes a co-usage graph,
    the graph a cut tree and the tree a partition of tokens, heads and neurons; residual channels
    are shared out between the modules. Between refreshes the penalty is strength · (1 - Q) of
    that partition over contribution shares.

        penalty = SharePenalty(model, units, probe)
        for ids in batches:
            loss = criterion(penalty.run(ids[:, :-1]), ids[:, 1:]) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()

    Args:
        model: the network.
        units: its unit map.
        probe: step -> (s, t) token ids that usage is measured over.
        schedule: when and how hard it presses.
        wrapped: the model inside a wrapper that must see the forward pass, such as
            `DistributedDataParallel`. In a process group the first rank finds the partition and
            all ranks take it, and input scales are averaged: every rank has the same penalty.
    """

    def __init__(
        self,
        model: nn.Module,
        units: UnitMap,
        probe: Callable[[int], Tensor],
        schedule: ShareSchedule | None = None,
        wrapped: nn.Module | None = None,
    ):
        self.model, self.units, self.probe = model, units, probe
        self.wrapped = model if wrapped is None else wrapped
        names = (name for name, module in self.wrapped.named_modules() if module is model)
        self._prefix = "".join(f"{name}." for name in names if name)
        self.schedule = ShareSchedule() if schedule is None else schedule
        self.scales = InputScales(model, units)
        self.step = 0
        self.labels = torch.zeros(units.n, dtype=torch.long)
        self._masks: dict[str, Tensor] = {}

    @property
    def modules(self) -> int:
        """Number of modules in the partition now in force."""
        return int(self.labels.max()) + 1

    @property
    def weight(self) -> float:
        """Strength at the current step, ramp included."""
        since = self.step - self.schedule.start
        return self.schedule.strength * min(1.0, max(0.0, since / max(1, self.schedule.ramp)))

    @property
    def active(self) -> bool:
        """Whether the penalty has any part in this run."""
        return self.schedule.strength > 0 or self.schedule.mask_share > 0

    def __call__(self) -> Tensor:
        """The penalty at this step, a scalar; advances the schedule by one step."""
        weight = self.weight
        self.step += 1
        if weight == 0 or self.modules == 1:
            return next(self.model.parameters()).new_zeros(())
        masses = share_masses(self.model, self.units, self.labels, self.scales)
        return weight * (1 - newman_q_of_masses(masses))

    def run(self, *inputs: Any, **named: Any) -> Any:
        """The model's output; in a share of the steps with its interface weights masked.

        Finds the partition anew first, when that is due.
        """
        since = self.step - self.schedule.start
        in_time = self.active and 0 <= since <= self.schedule.freeze_after
        if in_time and since % self.schedule.refresh_every == 0:
            self.refresh()
        with self._watching():
            if not self._masks_this_step():
                output = self.wrapped(*inputs, **named)
            else:
                weights = {self._prefix + name: w for name, w in self.masked().items()}
                output = torch.func.functional_call(self.wrapped, weights, inputs, named)
        return output

    def refresh(self) -> None:
        """Finds the partition anew from usage over the probe sequences."""
        labels = torch.zeros(self.units.n, dtype=torch.long)
        if _rank() == 0:
            usage = unit_usage(self.model, self.units, self.probe(self.step))
            graph = share_graph(self.model, self.units, self.scales)
            labels = torch.from_numpy(co_usage_labels(self.units, usage, graph, self.schedule))
        if _ranks() > 1:
            here = labels.to(next(self.model.parameters()).device)
            torch.distributed.broadcast(here, 0)
            labels = here.cpu()
        self.set_labels(labels)

    def set_labels(self, labels: Tensor) -> None:
        """Puts a partition in force, (n,) long."""
        self.labels = labels
        self._masks = interface_masks(self.model, self.units, labels)

    def masked(self) -> dict[str, Tensor]:
        """The weights without their interface entries, for `torch.func.functional_call`."""
        if not self._masks:
            self.set_labels(self.labels)
        return {name: self.model.get_parameter(name) * mask for name, mask in self._masks.items()}

    @torch.no_grad()
    def interface_frac(self) -> float:
        """Share of all contribution that joins two modules of the partition in force."""
        masses = share_masses(self.model, self.units, self.labels, self.scales)
        return float(interface_share(masses))

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        state = {"step": torch.tensor(self.step), "labels": self.labels}
        state["seen"] = torch.tensor(self.scales.seen)
        return state | {f"squares/{i}": square for i, square in enumerate(self.scales.squares)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run.

        Raises:
            CheckpointError: if the state is of a network with another number of units.
        """
        if len(state["labels"]) != self.units.n:
            raise CheckpointError(
                f"the penalty's state has {len(state['labels'])} units, the model {self.units.n}"
            )
        self.step = int(state["step"])
        self.scales.seen = bool(state["seen"])
        self.scales.squares = [state[f"squares/{i}"] for i in range(len(self.units.blocks))]
        self.set_labels(state["labels"])

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        if not self.active or self.step % self.schedule.watch_every:
            yield
            return
        with self.scales.watching():
            yield
        if _ranks() > 1:
            for square in self.scales.squares:
                torch.distributed.all_reduce(square)
                square /= _ranks()

    def _masks_this_step(self) -> bool:
        s = self.schedule
        since = self.step - s.start
        if self.modules == 1 or s.mask_share == 0 or since < s.mask_after:
            return False
        if since >= s.isolate_after:
            return True
        return bool(np.random.default_rng((s.seed, self.step)).random() < s.mask_share)


def _ranks() -> int:
    """Number of processes that train together."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def _rank() -> int:
    return torch.distributed.get_rank() if _ranks() > 1 else 0


def interface_masks(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    pair: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """Parameter name -> mask that is 0 on weights between modules, 1 elsewhere."""
    masks = {}
    for block in units.blocks:
        weight = model.get_parameter(block.parameter)
        rows, columns = block.pick(labels)
        keep = rows == columns
        if pair is not None:
            a, b = pair
            keep = ~((rows == a) & (columns == b) | (rows == b) & (columns == a))
        masks[block.parameter] = keep.expand(weight.shape).to(weight)
    return masks


def graph_masses(graph: UnitGraph) -> Callable[[NDArray[np.int64], int], NDArray[np.float64]]:
    """`(labels, k) -> (n, k)` capacity between each unit and the units of each module.

    Units with label -1 belong to none.
    """

    def masses(labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        out = np.zeros((graph.n, k + 1))
        np.add.at(out, (graph.sources, labels[graph.targets]), graph.capacities)
        np.add.at(out, (graph.targets, labels[graph.sources]), graph.capacities)
        return out[:, :k]

    return masses


def co_usage_labels(
    units: UnitMap,
    usage: Usage,
    graph: UnitGraph,
    schedule: ShareSchedule,
) -> NDArray[np.int64]:
    """(n,) modules: how many and which tokens by the cut tree of co-usage, the rest by quota.

    The tree is built over tokens, heads and neurons. Where it shows more than one module, every
    layer's heads and neurons, and the residual channels, are shared out in proportion to what
    the modules' tokens are hard to predict: heads and neurons to the module they are used with,
    channels to the module they share most capacity with. Without quotas a module can end up
    without a head in a layer.

    Args:
        units: the unit map.
        usage: from `unit_usage`.
        graph: the network's share graph.
        schedule: how the tree is cut, and the power of the quotas.
    """
    kinds = np.repeat([g.kind for g in units.groups], [len(g) for g in units.groups])
    own = np.flatnonzero(kinds != "residual")
    together = co_usage_graph(usage.units[own], schedule.min_correlation)
    alive = together.degrees() > 0
    labels = np.full(units.n, -1)
    if not alive.any():
        return np.zeros(units.n, np.int64)
    found = search_modules(
        together, schedule.min_gain, schedule.inflations, min_contrast=schedule.min_contrast
    ).labels
    is_text = kinds == "token"
    text = is_text[own] & alive
    labels[own[text]] = np.unique(found[text], return_inverse=True)[1]
    k = int(labels.max()) + 1
    if k < 2:
        return np.zeros(units.n, np.int64)
    first = next(g for g in units.groups if g.kind == "token")
    tokens = labels[first.start : first.stop]
    need = np.full(k, 1e-9)
    np.add.at(need, tokens[tokens >= 0], usage.nats[tokens >= 0])
    need **= schedule.quota_power
    used_with = np.zeros((units.n, k))
    used_with[own] = graph_masses(together)(labels[own], k)
    used_with /= np.maximum(used_with[own].sum(0), 1e-12)
    for group in units.groups:
        if group.kind in ("head", "neuron"):
            place = slice(group.start, group.stop)
            labels[place] = by_quota(used_with[place], shared_out(need, len(group)))
    pull = graph_masses(graph)(labels, k)
    residual = np.flatnonzero(kinds == "residual")
    channels = pull[residual] / np.maximum(pull[residual].sum(0), 1e-12)
    labels[residual] = by_quota(channels, shared_out(need, len(residual)))
    loners = np.flatnonzero(labels < 0)
    labels[loners] = graph_masses(graph)(labels, k)[loners].argmax(1)
    return labels


def shared_out(weights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """`count` things shared out in proportion to `weights`, at least one each.

    >>> shared_out(np.array([3.0, 1.0]), 8).tolist()
    [6, 2]
    """
    exact = np.maximum(1.0, weights / weights.sum() * count)
    parts = np.floor(exact).astype(np.int64)
    while parts.sum() > count:
        parts[parts.argmax()] -= 1
    for i in np.argsort(parts - exact, kind="stable")[: count - parts.sum()]:
        parts[i] += 1
    return parts


def by_quota(pull: NDArray[np.float64], quotas: NDArray[np.int64]) -> NDArray[np.int64]:
    """(c,) a module for each channel, most decided channels first, as many as each quota allows.

    >>> by_quota(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), np.array([1, 2])).tolist()
    [0, 1, 1]
    """
    share = pull / np.maximum(pull.sum(1, keepdims=True), 1e-12)
    left, labels = quotas.copy(), np.zeros(len(pull), np.int64)
    for channel in np.argsort(-share.max(1), kind="stable"):
        open_modules = np.flatnonzero(left > 0)
        labels[channel] = open_modules[share[channel, open_modules].argmax()]
        left[labels[channel]] -= 1
    return labels
