"""A penalty on contribution shares, for networks whose parts all write to one residual stream.

The share of unit j's input that unit i provides, |w_ij|·rms(a_i) over j's total, cannot be gamed
by rescaling, compares between matrices, and is differentiable in the weights. Which units belong
together is found from co-usage (see `partwise.graph.activity`): it needs no training to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import TrainingError
from partwise.graph import UnitGraph, UnitMap
from partwise.graph.activity import (
    InputScales,
    Usage,
    co_usage_graph,
    co_usage_pull,
    silenced,
    unit_usage,
)
from partwise.loss.budget import BACK_OFF, GROWTH
from partwise.loss.masking import inside_modules, is_inside, layers_keeping
from partwise.loss.masses import interface_share, newman_q_of_masses
from partwise.loss.resuming import check_units, is_drawn
from partwise.loss.sharding import (
    Pull,
    block_weights,
    from_first,
    is_sharded,
    led_by_first,
    mean_over_ranks,
    rank,
    ranks,
    sharded_inputs,
    whole,
)
from partwise.loss.share_inputs import Senders, module_inputs
from partwise.modules import search_modules

ABSENT = 0.02
"""A sequence does without modules that less than this share of its tokens belongs to."""
SILENCED = 1
"""What sets the draw of silenced steps apart from that of masked steps."""


@dataclass(frozen=True)
class ShareSchedule:
    """When and how hard the penalty presses; with `strength` and `mask_share` 0, not at all.

    Attributes:
        strength: weight of the penalty, in nats per unit of Newman's Q.
        start: steps of plain training before the first partition.
        ramp: steps over which the strength rises from 0 to full.
        press_every: steps between steps with a penalty, which then counts as many times; large
            networks save time with 4.
        refresh_every: steps between partitions.
        freeze_after: steps after `start` from which the partition no longer changes.
        inflations: powers of the co-usage capacities that trees are built for.
        min_gain: Q that a split must earn to be kept.
        min_contrast: how distinct a split must be to be kept (see `search_modules`).
        modules: how many modules are wanted; as many as the tree shows, if 0.
        min_correlation: weakest correlation of usages that is an edge.
        quota_power: heads, neurons and channels go to modules in proportion to the loss at their
            tokens to this power.
        mask_share: share of steps in which the network runs without its interface weights.
        silence_share: share of steps in which every sequence runs without the heads and neurons
            of modules that it has no tokens of.
        mask_after: steps after `start` before masking and silencing begin.
        probes: pieces of text that usage is measured over.
        piece: tokens per piece; longer sequences are cut into such.
        tree_units: tokens that the cut tree of co-usage is built over, at most.
        watch_every: steps between measurements of input scales.
        seed: seed of the choice of masked and of silenced steps.
    """

    strength: float = 3.0
    start: int = 400
    ramp: int = 1600
    press_every: int = 1
    refresh_every: int = 50
    freeze_after: int = 300
    inflations: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    min_gain: float = 0.05
    min_contrast: float = 0.7
    modules: int = 0
    min_correlation: float = 0.12
    quota_power: float = 1.0
    mask_share: float = 0.2
    silence_share: float = 0.2
    mask_after: int = 800
    probes: int = 768
    piece: int = 32
    tree_units: int = 2048
    watch_every: int = 4
    seed: int = 0


def share_masses(
    model: nn.Module, units: UnitMap, labels: Tensor, scales: InputScales | None
) -> Tensor:
    """(k, k) share of the inputs of module a's rows that module b provides, summed over rows.

    Every row of every weight matrix counts 1, so that no matrix hides behind a larger one.
    Differentiable in the weights: one pass over each, no graph in sight. Of a model that FSDP
    shards, all processes must ask; each gets the same masses, and its own shards' gradient.
    """
    k = int(labels.max()) + 1
    weights = block_weights(model, units)
    here = labels.to(weights[0].device)
    senders = []
    for i, block in enumerate(units.blocks):
        ones = torch.ones(len(block.senders), device=here.device)
        scale = ones if scales is None else scales[i].to(ones)
        senders.append(Senders(here[block.senders], scale, block.transposed))
    into = (sharded_inputs if is_sharded(model) else module_inputs)(weights, senders, k)
    shares = into / into.sum(1, keepdim=True).clamp_min(1e-12)
    receivers = torch.cat([block.receivers for block in units.blocks])
    return torch.nn.functional.one_hot(here[receivers], k).to(shares).T @ shares


@torch.no_grad()
def share_pull(
    model: nn.Module,
    units: UnitMap,
    scales: InputScales | None,
    labels: NDArray[np.int64],
    k: int,
) -> NDArray[np.float64]:
    """(n, k) contribution shares between each unit and the units of each module.

    What `graph_masses` gives on the share graph, without the graph: a few passes over the weights.
    Units with label -1 belong to none.
    """
    members = torch.nn.functional.one_hot(torch.from_numpy(labels) + 1, k + 1)[:, 1:].float()
    pull = torch.zeros(units.n, k)
    weights = block_weights(model, units)
    for i, block in enumerate(units.blocks):
        matrix = whole(weights[i]).abs().float().cpu()
        matrix = matrix.T if block.transposed else matrix  # receivers x senders
        if scales is not None:
            matrix = matrix * scales[i].cpu()
        share = matrix / matrix.sum(1, keepdim=True).clamp_min(1e-12)
        pull.index_add_(0, block.receivers, share @ members[block.senders])
        pull.index_add_(0, block.senders, share.T @ members[block.receivers])
    return pull.double().numpy()


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
            all ranks take it, and input scales are averaged: every rank has the same penalty. A
            model that `fully_shard` sharded needs no wrapper; `probe` is then asked on every rank
            and must give tensors of the same shape.

    Attributes:
        pressure: what strength and shares of steps are multiplied by, at most 1; see `adapt`.
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
        self.schedule = ShareSchedule() if schedule is None else schedule
        self.scales = InputScales(model, units)
        self.step, self._begun = 0, -1
        self.pressure = 1.0
        self.labels = torch.zeros(units.n, dtype=torch.long)
        self._kept: dict[str, Tensor] = {}

    @property
    def modules(self) -> int:
        """Number of modules in the partition now in force."""
        return int(self.labels.max()) + 1

    @property
    def weight(self) -> float:
        """Strength at the current step, ramp and budget included."""
        since = self.step - self.schedule.start
        ramp = min(1.0, max(0.0, since / max(1, self.schedule.ramp)))
        return self.schedule.strength * ramp * self.pressure

    @property
    def active(self) -> bool:
        """Whether the penalty has any part in this run."""
        return self.schedule.strength > 0 or self.schedule.mask_share > 0

    def __call__(self) -> Tensor:
        """The penalty at this step, a scalar; advances the schedule by one step."""
        every = self.schedule.press_every
        weight = self.weight * every * (self.step % every == 0)
        self.step += 1
        if weight == 0 or self.modules == 1:
            return next(self.model.parameters()).new_zeros(())
        masses = share_masses(self.model, self.units, self.labels, self.scales)
        return weight * (1 - newman_q_of_masses(masses))

    def adapt(self, loss: float, allowed: float) -> None:
        """Presses less when held-out loss is beyond a budget, and more again when it is within.

        Strength and shares of masked and silenced steps are the schedule's times `pressure`, which
        falls by `BACK_OFF` or rises by `GROWTH`, to 1 at most. Call it every few dozen steps.

        Args:
            loss: held-out loss of the whole network, the same on every process.
            allowed: what the budget allows at this step: (1 + budget) times the loss that a plain
                twin has after as many steps.
        """
        self.pressure = min(1.0, self.pressure * (BACK_OFF if loss > allowed else GROWTH))

    def run(self, *inputs: Any, **named: Any) -> Any:
        """The model's output; in some steps without interface weights, or without idle modules.

        Modules can only idle where the first input, or the one named `input_ids`, holds (b, t)
        token ids. Finds the partition anew first, when that is due. May be called several times
        in a step, for the parts of a batch; only the first call measures and refreshes.

        Raises:
            TrainingError: if steps are masked or silenced in a transformers model that runs its
                layers again in the backward pass: the second time they would run as they are.
        """
        again = (getattr(m, "gradient_checkpointing", False) for m in self.model.modules())
        if self._isolates and any(again):
            raise TrainingError(
                "gradient checkpointing runs layers again without their masks; turn it off, or "
                "set mask_share = 0 and silence_share = 0"
            )
        since = self.step - self.schedule.start
        in_time = self.active and 0 <= since <= self.schedule.freeze_after
        first = self.step != self._begun
        self._begun = self.step
        if first and in_time and since % self.schedule.refresh_every == 0:
            self.refresh()
        ids = inputs[0] if inputs else named.get("input_ids")
        with self._watching(first), self._silencing(ids), self._masking():
            return self.wrapped(*inputs, **named)

    def refresh(self) -> None:
        """Finds the partition anew from usage over the probe sequences."""
        labels = torch.zeros(self.units.n, dtype=torch.long)
        if rank() == 0 or is_sharded(self.model):
            labels = self._found()
        self.set_labels(from_first(labels))

    def _found(self) -> Tensor:
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, enabled=False):
            usage = unit_usage(self.model, self.units, self.probe(self.step), self.schedule.piece)
            pull = partial(share_pull, self.model, self.units, self.scales)
            if is_sharded(self.model):
                decide = partial(self._labels, usage)
                return led_by_first(decide, pull, self.units.n)
            return torch.from_numpy(self._labels(usage, pull))

    def _labels(self, usage: Usage, pull: Pull) -> NDArray[np.int64]:
        return co_usage_labels(self.units, usage, pull, self.schedule)

    def set_labels(self, labels: Tensor) -> None:
        """Puts a partition in force, (n,) long."""
        self.labels = labels
        # Masks of a sharded model are made layer by layer: all of them are a quarter of the whole.
        sharded = is_sharded(self.model)
        self._kept = {} if sharded else inside_modules(self.model, self.units, labels)

    def _masking(self) -> contextlib.AbstractContextManager[None]:
        """Has the layers run without their interface weights, in the steps that are masked."""
        if not self._masks_this_step():
            return contextlib.nullcontext()
        if is_sharded(self.model):
            keep = partial(is_inside, self.labels)
            return layers_keeping(self.model, self.units, keep, again=True)
        if not self._kept:
            self.set_labels(self.labels)
        return layers_keeping(self.model, self.units, lambda block, _: self._kept[block.parameter])

    @torch.no_grad()
    def interface_frac(self) -> float:
        """Share of all contribution that joins two modules of the partition in force."""
        masses = share_masses(self.model, self.units, self.labels, self.scales)
        return float(interface_share(masses))

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        state = {"step": torch.tensor(self.step), "labels": self.labels}
        state["seen"] = torch.tensor(self.scales.seen)
        state["pressure"] = torch.tensor(self.pressure, dtype=torch.float64)
        return state | {f"squares/{i}": square for i, square in enumerate(self.scales.squares)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run.

        Raises:
            CheckpointError: if the state is of a network with another number of units.
        """
        check_units(state, self.units)
        self.step, self.pressure = int(state["step"]), float(state.get("pressure", 1.0))
        self.scales.seen = bool(state["seen"])
        self.scales.squares = [state[f"squares/{i}"] for i in range(len(self.units.blocks))]
        self.set_labels(state["labels"])

    @contextlib.contextmanager
    def _watching(self, first: bool) -> Iterator[None]:
        if not first or not self.active or self.step % self.schedule.watch_every:
            yield
            return
        with self.scales.watching():
            yield
        if ranks() > 1:
            self.scales.squares = mean_over_ranks(self.scales.squares)

    @contextlib.contextmanager
    def _silencing(self, ids: Tensor | None) -> Iterator[None]:
        s = self.schedule
        share = s.silence_share * self.pressure
        drawn = self._isolates and is_drawn(s.seed + SILENCED, self.step, share)
        if ids is None or not drawn:
            yield
            return
        with silenced(self.model, self.units, self.unused(ids)):
            yield

    def unused(self, ids: Tensor) -> Tensor:
        """(b, n) bool, the units of modules that (b, t) token ids make no use of."""
        tokens = next(g for g in self.units.groups if g.kind == "token")
        member = torch.nn.functional.one_hot(self.labels.to(ids.device), self.modules)
        share = member[tokens.start : tokens.stop].float()[ids].mean(1)
        return (share < ABSENT)[:, self.labels.to(ids.device)]

    def _masks_this_step(self) -> bool:
        s = self.schedule
        return self._isolates and is_drawn(s.seed, self.step, s.mask_share * self.pressure)

    @property
    def _isolates(self) -> bool:
        """Whether there are modules that some steps may set apart."""
        s = self.schedule
        some = s.mask_share > 0 or s.silence_share > 0
        return some and self.modules > 1 and self.step >= s.start + s.mask_after


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
    pull: Callable[[NDArray[np.int64], int], NDArray[np.float64]],
    schedule: ShareSchedule,
) -> NDArray[np.int64]:
    """(n,) modules: how many and which tokens by the cut tree of co-usage, the rest by quota.

    The tree is built over tokens (of a large vocabulary those in most use), since which of them go
    together does not depend on what has been learnt. Where it shows more than one module, other
    tokens go where they are used, and every layer's heads and neurons, and the residual channels,
    are shared out in proportion to what the modules' tokens are hard to predict: heads and neurons
    to the module they are used with, channels to the module they share most capacity with. Without
    quotas a module can end up without a head in a layer.

    Args:
        units: the unit map.
        usage: from `unit_usage`.
        pull: `(labels, k) -> (n, k)` capacity between each unit and each module.
        schedule: how the tree is cut, and the power of the quotas.
    """
    kinds = np.repeat([g.kind for g in units.groups], [len(g) for g in units.groups])
    labels = tree_labels(kinds, usage, schedule)
    k = int(labels.max()) + 1
    if k < 2:
        return np.zeros(units.n, np.int64)
    used_with = co_usage_pull(usage.units, labels, k, schedule.min_correlation)
    rest = (kinds == "token") & (labels < 0) & (used_with.sum(1) > 0)
    labels[rest] = used_with[rest].argmax(1)
    need = np.full(k, 1e-9)
    first = next(g for g in units.groups if g.kind == "token")
    tokens = labels[first.start : first.stop]
    np.add.at(need, tokens[tokens >= 0], usage.nats[tokens >= 0])
    need **= schedule.quota_power
    for group in units.groups:
        if group.kind in ("head", "neuron"):
            place = slice(group.start, group.stop)
            labels[place] = by_quota(used_with[place], shared_out(need, len(group)))
    residual = np.flatnonzero(kinds == "residual")
    channels = pull(labels, k)[residual]
    channels /= np.maximum(channels.sum(0), 1e-12)
    labels[residual] = by_quota(channels, shared_out(need, len(residual)))
    loners = np.flatnonzero(labels < 0)
    if len(loners):
        labels[loners] = pull(labels, k)[loners].argmax(1)
    return labels


def tree_labels(
    kinds: NDArray[np.str_], usage: Usage, schedule: ShareSchedule
) -> NDArray[np.int64]:
    """(n,) modules of the tokens that the cut tree of co-usage is built over; -1 elsewhere."""
    labels = np.full(len(kinds), -1)
    tokens = np.flatnonzero(kinds == "token")
    most_used = np.argsort(-usage.units[tokens].sum(1), kind="stable")
    own = np.sort(tokens[most_used[: schedule.tree_units]])
    together = co_usage_graph(usage.units[own], schedule.min_correlation)
    alive = together.degrees() > 0
    if alive.any():
        nest = search_modules(
            together, schedule.min_gain, schedule.inflations, min_contrast=schedule.min_contrast
        )
        wanted = min(schedule.modules, int(nest.pieces.max()) + 1)
        found = nest.labels_at(wanted) if wanted else nest.labels
        labels[own[alive]] = np.unique(found[alive], return_inverse=True)[1]
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
