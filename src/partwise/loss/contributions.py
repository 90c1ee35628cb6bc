"""Contribution shares: what share of a unit's input another unit provides.

|w_ij|·rms(a_i) over all that unit j reads cannot be gamed by rescaling, compares between matrices,
and is differentiable in the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.graph.activity import InputScales
from partwise.loss.in_force import InForce
from partwise.loss.sharding import block_weights, is_sharded, sharded_inputs, whole
from partwise.loss.share_inputs import Senders, module_inputs


class Contributions:
    """The contribution shares of a network, between the modules in force.

    Args:
        in_force: the partition.

    Attributes:
        scales: what weights read, as far as it was watched.
    """

    def __init__(self, in_force: InForce):
        self.in_force = in_force
        self.scales = InputScales(in_force.model, in_force.units)

    def masses(self) -> Tensor:
        """(k, k) share of the inputs of module a's rows that module b provides, summed over rows.

        Every row of every weight matrix counts 1, so that no matrix hides behind a larger one.
        Differentiable in the weights: one pass over each, no graph in sight. Of a model that FSDP
        shards, all processes must ask; each gets the same masses, and its own shards' gradient.
        """
        model, units = self.in_force.model, self.in_force.units
        own, members = self.in_force.derived(self._members)
        senders = [
            Senders(module, self.scales[i].to(module.device), block.transposed)
            for i, (block, module) in enumerate(zip(units.blocks, own, strict=True))
        ]
        inputs = sharded_inputs if is_sharded(model) else module_inputs
        into = inputs(block_weights(model, units), senders, members.shape[1])
        shares = into / into.sum(1, keepdim=True).clamp_min(1e-12)
        return members.to(shares).T @ shares

    def _members(self) -> tuple[list[Tensor], Tensor]:
        """Per block the modules of the senders, and (rows, k) one-hot those of all receivers.

        They are where the weights are: a GPU that is handed indices at every step waits for each.
        """
        now, blocks = self.in_force, self.in_force.units.blocks
        device = next(now.model.parameters()).device
        rows = now.labels[torch.cat([block.receivers for block in blocks])]
        members = torch.nn.functional.one_hot(rows, now.modules).float().to(device)
        return [now.labels[block.senders].to(device) for block in blocks], members

    @torch.no_grad()
    def pull(self, labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        """(n, k) shares between each unit and the units of each module, a few passes over weights.

        Units with label -1 belong to none.
        """
        model, units = self.in_force.model, self.in_force.units
        members = torch.nn.functional.one_hot(torch.from_numpy(labels) + 1, k + 1)[:, 1:].float()
        pull = torch.zeros(units.n, k)
        weights = block_weights(model, units)
        for i, block in enumerate(units.blocks):
            matrix = whole(weights[i]).abs().float()
            matrix = matrix.T if block.transposed else matrix  # receivers x senders
            matrix = matrix * self.scales[i].to(matrix)
            share = matrix / matrix.sum(1, keepdim=True).clamp_min(1e-12)
            read, written = (members[ends].to(share) for ends in (block.senders, block.receivers))
            pull.index_add_(0, block.receivers, (share @ read).cpu())
            pull.index_add_(0, block.senders, (share.T @ written).cpu())
        return pull.double().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on bit for bit."""
        squares = {f"squares/{i}": square for i, square in enumerate(self.scales.squares)}
        return {"seen": torch.tensor(self.scales.seen), **squares}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        self.scales.seen = bool(state["seen"])
        blocks = range(len(self.in_force.units.blocks))
        self.scales.squares = [state[f"squares/{i}"] for i in blocks]
