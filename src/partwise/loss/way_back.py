"""A network as it once was, to go back to, with what its optimiser remembered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class WayBack:
    """Copies of a network's tensors, once they are kept; going back takes them once.

    Attributes:
        parameters: by name.
        buffers: by name.
        moments: what the optimiser kept of a parameter, by `parameter/name`; none, if it was not
            known.
    """

    parameters: dict[str, Tensor] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def keep(self, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Copies all there is."""
        self.moments = {}
        for name, parameter in model.named_parameters():
            kept = {} if optimizer is None else optimizer.state.get(parameter, {})
            kept = {f"{name}/{k}": v.clone() for k, v in kept.items() if isinstance(v, Tensor)}
            self.moments |= kept
        self.parameters = {name: each.clone() for name, each in model.named_parameters()}
        self.buffers = {name: each.clone() for name, each in model.named_buffers()}

    @torch.no_grad()
    def take(self, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Sets the network back, if it was kept. Moments that were not known are forgotten."""
        if not self.parameters:
            return
        for name, parameter in model.named_parameters():
            parameter.data.copy_(self.parameters[name])
            if optimizer is None:
                continue
            kept = optimizer.state.pop(parameter, {})
            known = {k: v for k, v in kept.items() if f"{name}/{k}" in self.moments}
            for key, moment in known.items():
                moment.copy_(self.moments[f"{name}/{key}"])
            if known:
                optimizer.state[parameter] = known
        for name, buffer in model.named_buffers():
            buffer.data.copy_(self.buffers[name])
        self.parameters, self.buffers, self.moments = {}, {}, {}

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, by names that begin with `plain/`."""
        return {
            f"plain/{kind}/{name}": tensor
            for kind, table in vars(self).items()
            for name, tensor in table.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up the state of an earlier run."""
        for kind in vars(self):
            start = f"plain/{kind}/"
            own = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
            setattr(self, kind, own)
