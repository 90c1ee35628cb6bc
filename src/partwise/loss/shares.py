"""A penalty on contribution shares, for networks whose parts all write to one residual stream.

Which units belong together is found from co-usage (see `partwise.graph.activity`): it needs no
training to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from partwise.errors import TrainingError
from partwise.graph import UnitMap
from partwise.graph.activity import silenced
from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import is_inside, layers_keeping
from partwise.loss.co_usage import CoUsageFinder
from partwise.loss.contributions import Contributions
from partwise.loss.control import FixedStrength, ShareSchedule
from partwise.loss.in_force import InForce
from partwise.loss.penalty import Penalty
from partwise.loss.press import newman_q_of_masses
from partwise.loss.sharding import is_sharded, mean_over_ranks, ranks

ABSENT = 0.02
"""A sequence does without modules that less than this share of its tokens belongs to."""


class SharePenalty(Penalty):
    """Penalty that rewards a transformer for the modules that its co-usage tree shows.

    Every `refresh_every` steps the usage of units over probe sequences becomes a co-usage graph,
    the graph a cut tree and the tree a partition of tokens, heads and neurons; residual channels
    are shared out between the modules. The tree may be built in a thread, beside the next `lag`
    steps; the same steps, whatever it takes. Between refreshes the penalty is strength · (1 - Q) of
    that partition over contribution shares.

        penalty = SharePenalty(model, probe)

    Masked steps run without interface weights, silenced ones without modules that a sequence has
    no tokens of; the latter only where the first input, or the one named `input_ids`, holds (b, t)
    token ids. The first run of a step measures what weights read.

    Args:
        model: the network.
        probe: step -> (s, t) token ids that usage is measured over.
        schedule: when and how hard it presses; the keyword arguments override single fields.
        units: the model's unit map; that of `transformer_map` when left out.
        wrapped: the model inside a wrapper that must see the forward pass, such as
            `DistributedDataParallel`. In a process group the first rank finds the partition and
            all ranks take it, and input scales are averaged: every rank has the same penalty. A
            model that `fully_shard` sharded needs no wrapper; `probe` is then asked on every rank
            and must give tensors of the same shape.
    """

    capacity: Contributions
    finder: CoUsageFinder
    controller: FixedStrength

    def __init__(
        self,
        model: nn.Module,
        probe: Callable[[int], Tensor],
        schedule: ShareSchedule | None = None,
        *,
        units: UnitMap | None = None,
        wrapped: nn.Module | None = None,
        **fields: Any,
    ):
        schedule = replace(ShareSchedule() if schedule is None else schedule, **fields)
        in_force = InForce(model, transformer_map(model) if units is None else units)
        capacity, controller = Contributions(in_force), FixedStrength(schedule)
        finder = CoUsageFinder(in_force, capacity, controller, probe)
        super().__init__(in_force, capacity, finder, controller)
        self.wrapped = model if wrapped is None else wrapped
        self._watched = -1

    @property
    def active(self) -> bool:
        """Whether the penalty has any part in this run."""
        return self.schedule.strength > 0 or self.schedule.mask_share > 0

    def _begin(self, optimizer: torch.optim.Optimizer | None) -> None:
        if self.active:
            self.finder.keep_up()

    def _term(self) -> Tensor:
        every = self.schedule.press_every
        weight = self.controller.weight * every * (self.steps_done % every == 0)
        if weight == 0 or self.modules == 1:
            return next(self.model.parameters()).new_zeros(())
        return weight * (1 - newman_q_of_masses(self.capacity.masses()))

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

    @property
    def _isolates(self) -> bool:
        """Whether this step may be masked or silenced."""
        some = self.schedule.mask_share > 0 or self.schedule.silence_share > 0
        return some and self.modules > 1 and self.controller.isolates

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        first, self._watched = self.steps_done != self._watched, self.steps_done
        if not first or not self.active or self.steps_done % self.schedule.watch_every:
            yield
            return
        scales = self.capacity.scales
        with scales.watching():
            yield
        if ranks() > 1:
            scales.squares = mean_over_ranks(scales.squares)

    def _silencing(self, ids: Tensor | None) -> contextlib.AbstractContextManager[None]:
        drawn = self.modules > 1 and self.controller.silences(self.schedule.silence_share)
        if ids is None or not drawn:
            return contextlib.nullcontext()
        return silenced(self.model, self.units, self.unused(ids))

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
