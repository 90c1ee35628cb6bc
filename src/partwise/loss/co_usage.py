"""Modules of a transformer from co-usage: tokens by its cut tree, all other units by quota."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.compiled import compiled
from partwise.graph import UnitGraph, UnitMap
from partwise.graph.activity import Usage, co_usage_graph, co_usage_pull, unit_usage
from partwise.loss.contributions import Contributions
from partwise.loss.control import FixedStrength, ShareSchedule
from partwise.loss.in_force import InForce
from partwise.loss.sharding import Pull, from_first, is_sharded, led_by_first, rank
from partwise.modules import Partition, search_modules

INFLATIONS = (1.0, 2.0, 4.0, 8.0)
"""Powers of the co-usage that trees are built for."""
MIN_GAIN, MIN_CONTRAST = 0.05, 0.7
"""Q that a split must earn to be kept, and how distinct it must be (see `search_modules`)."""


class CoUsageFinder:
    """Finds modules in usage over probe sequences, the tree in a thread beside the next steps.

    Args:
        in_force: the partition in force.
        capacity: what the weights are worth.
        controller: what says when partitions are looked for, and how.
        probe: step -> (s, t) token ids.

    Attributes:
        due: the step from which a partition that is being looked for is in force, if one is.
        usage: what it is made from; None on processes that have no part in it.
        tokens: what the cut tree says of tokens, as soon as it is known (see `tree_labels`).
    """

    def __init__(
        self,
        in_force: InForce,
        capacity: Contributions,
        controller: FixedStrength,
        probe: Callable[[int], Tensor],
    ):
        self.in_force, self.capacity = in_force, capacity
        self.controller, self.probe = controller, probe
        self.due: int | None = None
        self.usage: Usage | None = None
        self.tokens: Future[NDArray[np.int64]] | None = None

    @property
    def schedule(self) -> ShareSchedule:
        """When partitions are looked for, and how."""
        schedule: ShareSchedule = self.controller.schedule
        return schedule

    def keep_up(self) -> None:
        """Does what is due at this step."""
        s, since = self.schedule, self.controller.since
        if 0 <= since <= s.freeze_after and since % s.refresh_every == 0:
            self._begin()
        if self.due is not None and self.controller.state.step >= self.due:
            self._end()

    def refresh(self) -> None:
        """Puts in force what usage shows now."""
        self._begin()
        self._end()

    def _begin(self) -> None:
        """Measures usage, and has a thread build the tree: on a GPU the next steps go on beside."""
        model, units, schedule = self.in_force.model, self.in_force.units, self.schedule
        step = self.controller.state.step
        self.due = step + min(schedule.lag, schedule.refresh_every - 1)
        self.usage = self.tokens = None
        if not self._takes_part:
            return
        with torch.autocast(self._device.type, enabled=False):
            self.usage = unit_usage(model, units, self.probe(step), schedule.piece)
            if rank() == 0:
                seen = token_graph(units, self.usage, schedule)
                thread = ThreadPoolExecutor(1)
                self.tokens = thread.submit(tree_labels, *seen, schedule)
                thread.shutdown(wait=False)

    def _end(self) -> None:
        """Puts in force what the tree says, once it is there."""
        n = self.in_force.units.n
        labels, self.due = torch.zeros(n, dtype=torch.long), None
        if self._takes_part:
            with torch.autocast(self._device.type, enabled=False):
                labels = self._found()
        self.in_force.put(Partition.of(from_first(labels), n))

    def _found(self) -> Tensor:
        def decide(pull: Pull) -> NDArray[np.int64]:
            assert self.usage is not None
            assert self.tokens is not None
            tokens, correlation = self.tokens.result(), self.schedule.min_correlation
            return completed_labels(self.in_force.units, self.usage, tokens, pull, correlation)

        if is_sharded(self.in_force.model):
            return led_by_first(decide, self.capacity.pull, self.in_force.units.n)
        return torch.from_numpy(decide(self.capacity.pull))

    @property
    def _takes_part(self) -> bool:
        """Whether this process has anything to do: the first decides, and shards are on all."""
        return rank() == 0 or is_sharded(self.in_force.model)

    @property
    def _device(self) -> torch.device:
        return next(self.in_force.model.parameters()).device

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit, once the tree is there."""
        if self.due is None:
            return {}
        state = {"refresh/due": torch.tensor(self.due)}
        if self.usage is not None and self.tokens is not None:
            state["refresh/usage"] = self.usage.units
            state["refresh/nats"] = torch.from_numpy(self.usage.nats)
            state["refresh/tokens"] = torch.from_numpy(self.tokens.result())
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.due = int(state["refresh/due"]) if "refresh/due" in state else None
        if "refresh/tokens" in state:
            units, nats = state["refresh/usage"].to(self._device), state["refresh/nats"].numpy()
            self.usage, self.tokens = Usage(units, nats), Future()
            self.tokens.set_result(state["refresh/tokens"].numpy())


def token_graph(
    units: UnitMap, usage: Usage, schedule: ShareSchedule
) -> tuple[UnitGraph, NDArray[np.int64]]:
    """Co-usage of the tokens that the cut tree is built over, and the (n,) place of each there.

    Which tokens go together does not depend on what has been learnt. Of a large vocabulary they
    are those in most use; the place of all other units is -1.
    """
    tokens = _of_kind(units, "token")
    used = usage.units.sum(1).cpu().numpy()[tokens]
    most_used = np.argsort(-used, kind="stable")
    own = np.sort(tokens[most_used[: schedule.tree_units]])
    place = np.full(units.n, -1)
    place[own] = np.arange(len(own))
    together = usage.units[torch.from_numpy(own).to(usage.units.device)]
    return co_usage_graph(together, schedule.min_correlation), place


def tree_labels(
    graph: UnitGraph, place: NDArray[np.int64], schedule: ShareSchedule
) -> NDArray[np.int64]:
    """(n,) modules by the cut tree of co-usage; -1 for units that it does not show.

    Args:
        graph: co-usage of some units.
        place: (n,) place of each unit in that graph; -1 for others.
        schedule: how the tree is cut.
    """
    found = np.full(graph.n + 1, -1)  # the last one is for units that are not in the graph
    alive = np.flatnonzero(graph.degrees() > 0)
    if len(alive):
        nest = search_modules(graph, MIN_GAIN, INFLATIONS, min_contrast=MIN_CONTRAST)
        wanted = min(schedule.modules, nest.finest)
        labels = nest.labels_at(wanted) if wanted else nest.labels
        found[alive] = np.unique(labels[alive], return_inverse=True)[1]
    return found[place]


def completed_labels(
    units: UnitMap,
    usage: Usage,
    labels: NDArray[np.int64],
    pull: Pull,
    min_correlation: float,
) -> NDArray[np.int64]:
    """(n,) modules of all units, given those of some tokens.

    Where there is more than one module, other tokens go where they are used, and every layer's
    heads and neurons, and the residual channels, are shared out in proportion to what the modules'
    tokens are hard to predict: heads and neurons to the module they are used with, channels to
    the module they share most capacity with. Without quotas a module can end up without a head in
    a layer.

    Args:
        units: the unit map.
        usage: from `unit_usage`.
        labels: (n,) modules of tokens; -1 for all other units.
        pull: capacity between units and modules, for what usage does not decide.
        min_correlation: weakest correlation of usages that counts.
    """
    labels, k = labels.copy(), int(labels.max()) + 1
    if k < 2:
        return np.zeros(units.n, np.int64)
    used_with = co_usage_pull(usage.units, labels, k, min_correlation)
    tokens = _of_kind(units, "token")
    rest = tokens[(labels[tokens] < 0) & (used_with[tokens].sum(1) > 0)]
    labels[rest] = used_with[rest].argmax(1)
    need = np.full(k, 1e-9)
    first = next(g for g in units.groups if g.kind == "token")
    own = labels[first.start : first.stop]
    np.add.at(need, own[own >= 0], usage.nats[own >= 0])
    for group in units.groups:
        if group.kind in ("head", "neuron"):
            place = slice(group.start, group.stop)
            labels[place] = by_quota(used_with[place], shared_out(need, len(group)))
    residual = _of_kind(units, "residual")
    channels = pull(labels, k)[residual]
    channels /= np.maximum(channels.sum(0), 1e-12)
    labels[residual] = by_quota(channels, shared_out(need, len(residual)))
    loners = np.flatnonzero(labels < 0)
    if len(loners):
        labels[loners] = pull(labels, k)[loners].argmax(1)
    return labels


def _of_kind(units: UnitMap, kind: str) -> NDArray[np.int64]:
    """The units of all groups of a kind."""
    kinds = np.repeat([g.kind for g in units.groups], [len(g) for g in units.groups])
    return np.flatnonzero(kinds == kind)


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
    order = np.argsort(-share.max(1), kind="stable")
    labels: NDArray[np.int64] = _dealt(share, order, quotas.copy())
    return labels


@compiled()
def _dealt(share, order, left):  # type: ignore[no-untyped-def]
    """`by_quota`, channels in this order; `left` counts down to 0."""
    labels = np.zeros(len(share), np.int64)
    for channel in order:
        best = -1
        for module in range(len(left)):
            if left[module] > 0 and (best < 0 or share[channel, module] > share[channel, best]):
                best = module
        labels[channel] = best
        left[best] -= 1
    return labels
