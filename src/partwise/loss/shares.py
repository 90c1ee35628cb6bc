"""A penalty on contribution shares, for networks whose parts all write to one residual stream.

The share of unit j's input that unit i provides, |w_ij|·rms(a_i) over j's total, cannot be gamed
by rescaling, compares between matrices, and is differentiable in the weights. Which units belong
together is found from co-usage (see `partwise.graph.activity`): it needs no training to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import TrainingError
from partwise.graph import UnitMap
from partwise.graph.activity import InputScales, Usage, silenced, unit_usage
from partwise.interventions.masks import is_inside, layers_keeping
from partwise.loss.budget import BACK_OFF, GROWTH
from partwise.loss.co_usage import Pull, completed_labels, token_graph, tree_labels
from partwise.loss.masses import interface_share, newman_q_of_masses
from partwise.loss.penalty import Penalty, is_drawn
from partwise.loss.sharding import (
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
from partwise.loss.share_schedule import ShareSchedule

ABSENT = 0.02
"""A sequence does without modules that less than this share of its tokens belongs to."""
SILENCED = 1
"""What sets the draw of silenced steps apart from that of masked steps."""


def share_masses(
    model: nn.Module, units: UnitMap, labels: Tensor, scales: InputScales | None
) -> Tensor:
    """(k, k) share of the inputs of module a's rows that module b provides, summed over rows.

    Every row of every weight matrix counts 1, so that no matrix hides behind a larger one.
    Differentiable in the weights: one pass over each, no graph in sight. Of a model that FSDP
    shards, all processes must ask; each gets the same masses, and its own shards' gradient.
    """
    device = block_weights(model, units)[0].device
    return masses_between(model, units, Members.of(units, labels, device), scales)


@dataclass(frozen=True)
class Members:
    """Modules of the units at the ends of all weights, where the weights are.

    A GPU that is handed indices at every step waits for each of them.

    Attributes:
        senders: (senders,) module of each, per block.
        receivers: (rows, k) one-hot modules of the receivers of all blocks.
    """

    senders: tuple[Tensor, ...]
    receivers: Tensor

    @classmethod
    def of(cls, units: UnitMap, labels: Tensor, device: torch.device) -> Members:
        """Those of a partition, (n,) long."""
        senders = tuple(labels[block.senders].to(device) for block in units.blocks)
        rows = labels[torch.cat([block.receivers for block in units.blocks])]
        one_hot = torch.nn.functional.one_hot(rows, int(labels.max()) + 1)
        return cls(senders, one_hot.float().to(device))


def masses_between(
    model: nn.Module, units: UnitMap, members: Members, scales: InputScales | None
) -> Tensor:
    """`share_masses` of a partition whose members are known."""
    senders, k = [], members.receivers.shape[1]
    for i, (block, module) in enumerate(zip(units.blocks, members.senders, strict=True)):
        known = torch.ones(len(module)) if scales is None else scales[i]
        senders.append(Senders(module, known.to(module.device), block.transposed))
    inputs = sharded_inputs if is_sharded(model) else module_inputs
    into = inputs(block_weights(model, units), senders, k)
    shares = into / into.sum(1, keepdim=True).clamp_min(1e-12)
    return members.receivers.to(shares).T @ shares


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
        matrix = whole(weights[i]).abs().float()
        matrix = matrix.T if block.transposed else matrix  # receivers x senders
        if scales is not None:
            matrix = matrix * scales[i].to(matrix)
        share = matrix / matrix.sum(1, keepdim=True).clamp_min(1e-12)
        read, written = (members[ends].to(share) for ends in (block.senders, block.receivers))
        pull.index_add_(0, block.receivers, (share @ read).cpu())
        pull.index_add_(0, block.senders, (share.T @ written).cpu())
    return pull.double().numpy()


@dataclass
class Refresh:
    """A partition that is being looked for.

    Attributes:
        due: the step from which it is in force.
        usage: what it is made from; None on processes that have no part in it.
        tokens: what the cut tree says of tokens, as soon as it is known (see `tree_labels`).
    """

    due: int
    usage: Usage | None = None
    tokens: Future[NDArray[np.int64]] | None = None

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, once the tree is there."""
        state = {"refresh/due": torch.tensor(self.due)}
        if self.usage is not None and self.tokens is not None:
            state["refresh/usage"] = self.usage.units
            state["refresh/nats"] = torch.from_numpy(self.usage.nats)
            state["refresh/tokens"] = torch.from_numpy(self.tokens.result())
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], device: torch.device) -> Refresh | None:
        """What a state holds; None, if nothing was being looked for."""
        if "refresh/due" not in state:
            return None
        refresh = cls(int(state["refresh/due"]))
        if "refresh/tokens" in state:
            units, nats = state["refresh/usage"].to(device), state["refresh/nats"].numpy()
            refresh.usage, refresh.tokens = Usage(units, nats), Future()
            refresh.tokens.set_result(state["refresh/tokens"].numpy())
        return refresh


class SharePenalty(Penalty):
    """Penalty that rewards a transformer for the modules that its co-usage tree shows.

    Every `refresh_every` steps the usage of units over probe sequences becomes a co-usage graph,
    the graph a cut tree and the tree a partition of tokens, heads and neurons; residual channels
    are shared out between the modules. The tree may be built in a thread, beside the next `lag`
    steps; the same steps, whatever it takes. Between refreshes the penalty is strength · (1 - Q) of
    that partition over contribution shares.

        penalty = SharePenalty(model, units, probe)
        for ids in batches:
            run = penalty.step(optimizer)
            loss = criterion(run(ids[:, :-1]), ids[:, 1:]) + penalty()
            optimizer.zero_grad(); loss.backward(); optimizer.step()

    Masked steps run without interface weights, silenced ones without modules that a sequence has
    no tokens of; the latter only where the first input, or the one named `input_ids`, holds (b, t)
    token ids. The first run of a step measures what weights read.

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
        steps_done: steps so far.
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
        super().__init__(model, units)
        self.probe = probe
        self.wrapped = model if wrapped is None else wrapped
        self.schedule = ShareSchedule() if schedule is None else schedule
        self.scales = InputScales(model, units)
        self.steps_done, self._watched = 0, -1
        self.pressure = 1.0
        self._refresh: Refresh | None = None

    @property
    def weight(self) -> float:
        """Strength at the current step, ramp and budget included."""
        since = self.steps_done - self.schedule.start
        ramp = min(1.0, max(0.0, since / max(1, self.schedule.ramp)))
        return self.schedule.strength * ramp * self.pressure

    @property
    def active(self) -> bool:
        """Whether the penalty has any part in this run."""
        return self.schedule.strength > 0 or self.schedule.mask_share > 0

    @torch.no_grad()
    def interface_frac(self) -> float:
        """Share of all contribution that joins two modules of the partition in force."""
        return float(interface_share(self._masses()))

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

    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        s, since = self.schedule, self.steps_done - self.schedule.start
        if not self.active:
            return
        if 0 <= since <= s.freeze_after and since % s.refresh_every == 0:
            self._begin_refresh()
        if self._refresh is not None and self.steps_done >= self._refresh.due:
            self._end_refresh(self._refresh)

    def _end(self) -> Tensor:
        every = self.schedule.press_every
        weight = self.weight * every * (self.steps_done % every == 0)
        self.steps_done += 1
        if weight == 0 or self.modules == 1:
            return next(self.model.parameters()).new_zeros(())
        return weight * (1 - newman_q_of_masses(self._masses()))

    def _masses(self) -> Tensor:
        members = self.in_force.derived(self._members)
        return masses_between(self.model, self.units, members, self.scales)

    def _members(self) -> Members:
        return Members.of(self.units, self.in_force.labels, self._device)

    def _runner(self) -> Callable[..., Any]:
        """Runs the wrapped model, watched, masked and silenced as this step is.

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
        return self._run_isolated

    def _run_isolated(self, *inputs: Any, **named: Any) -> Any:
        ids = inputs[0] if inputs else named.get("input_ids")
        with self._watching(), self._silencing(ids), self._masking():
            return self.wrapped(*inputs, **named)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        first, self._watched = self.steps_done != self._watched, self.steps_done
        if not first or not self.active or self.steps_done % self.schedule.watch_every:
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
        drawn = self._isolates and is_drawn(s.seed + SILENCED, self.steps_done, share)
        if ids is None or not drawn:
            yield
            return
        with silenced(self.model, self.units, self.unused(ids)):
            yield

    def _masking(self) -> contextlib.AbstractContextManager[None]:
        """Has the layers run without their interface weights, in the steps that are masked."""
        if not self._masks_this_step():
            return contextlib.nullcontext()
        if is_sharded(self.model):  # all masks at once would be a quarter of the whole
            keep = partial(is_inside, self.in_force.labels)
            return layers_keeping(self.model, self.units, keep, again=True)
        kept = self.in_force.derived(self.in_force.kept)
        return layers_keeping(self.model, self.units, lambda block, _: kept[block.key])

    def unused(self, ids: Tensor) -> Tensor:
        """(b, n) bool, the units of modules that (b, t) token ids make no use of."""
        tokens = next(g for g in self.units.groups if g.kind == "token")
        labels = self.in_force.labels.to(ids.device)
        member = torch.nn.functional.one_hot(labels, self.modules)
        share = member[tokens.start : tokens.stop].float()[ids].mean(1)
        return (share < ABSENT)[:, labels]

    def _masks_this_step(self) -> bool:
        s = self.schedule
        return self._isolates and is_drawn(s.seed, self.steps_done, s.mask_share * self.pressure)

    @property
    def _isolates(self) -> bool:
        """Whether there are modules that some steps may set apart."""
        s = self.schedule
        some = s.mask_share > 0 or s.silence_share > 0
        return some and self.modules > 1 and self.steps_done >= s.start + s.mask_after

    def refresh(self) -> None:
        """Finds the partition anew from usage over the probe sequences."""
        self._end_refresh(self._begin_refresh())

    def _begin_refresh(self) -> Refresh:
        """Measures usage, and has a thread build the tree: on a GPU the next steps go on beside."""
        lag = min(self.schedule.lag, self.schedule.refresh_every - 1)
        self._refresh = refresh = Refresh(self.steps_done + lag)
        if rank() == 0 or is_sharded(self.model):
            probe, piece = self.probe(self.steps_done), self.schedule.piece
            with torch.autocast(self._device.type, enabled=False):
                refresh.usage = unit_usage(self.model, self.units, probe, piece)
                if rank() == 0:
                    seen = token_graph(self.units, refresh.usage, self.schedule)
                    thread = ThreadPoolExecutor(1)
                    refresh.tokens = thread.submit(tree_labels, *seen, self.schedule)
                    thread.shutdown(wait=False)
        return refresh

    def _end_refresh(self, refresh: Refresh) -> None:
        labels, self._refresh = torch.zeros(self.units.n, dtype=torch.long), None
        if rank() == 0 or is_sharded(self.model):
            with torch.autocast(self._device.type, enabled=False):
                labels = self._found(refresh)
        self.set_labels(from_first(labels))

    def _found(self, refresh: Refresh) -> Tensor:
        def decide(pull: Pull) -> NDArray[np.int64]:
            assert refresh.usage is not None
            assert refresh.tokens is not None
            tokens = refresh.tokens.result()
            return completed_labels(self.units, refresh.usage, tokens, pull, self.schedule)

        pull = partial(share_pull, self.model, self.units, self.scales)
        if is_sharded(self.model):
            return led_by_first(decide, pull, self.units.n)
        return torch.from_numpy(decide(pull))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _own_state(self) -> dict[str, Tensor]:
        return {
            "steps_done": torch.tensor(self.steps_done),
            "seen": torch.tensor(self.scales.seen),
            "pressure": torch.tensor(self.pressure, dtype=torch.float64),
            **({} if self._refresh is None else self._refresh.state_dict()),
            **{f"squares/{i}": square for i, square in enumerate(self.scales.squares)},
        }

    def _take_state(self, state: Mapping[str, Tensor]) -> None:
        self.steps_done, self.pressure = int(state["steps_done"]), float(state["pressure"])
        self.scales.seen = bool(state["seen"])
        self.scales.squares = [state[f"squares/{i}"] for i in range(len(self.units.blocks))]
        self._refresh = Refresh.from_state(state, self._device)
