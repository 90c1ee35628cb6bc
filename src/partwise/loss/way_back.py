"""A network as it once was, to go back to, with what its optimiser remembered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class WayBack:
    """Copies of a network's tensors.

    Attributes:
        parameters: by name.
        buffers: by name.
        moments: what the optimiser kept of a parameter, by `parameter/name`; none, if it was not
            known.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> WayBack:
        """Copies all there is."""
        moments: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            kept = {} if optimizer is None else optimizer.state.get(parameter, {})
            moments |= {f"{name}/{k}": v for k, v in kept.items() if isinstance(v, Tensor)}
        found = dict(model.named_parameters()), dict(model.named_buffers()), moments
        return cls(*({k: v.detach().clone() for k, v in each.items()} for each in found))

    @torch.no_grad()
    def take(self, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Sets the network back. Moments that were not known then are forgotten."""
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

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, by names that begin with `plain/`."""
        return {
            f"plain/{kind}/{name}": tensor
            for kind, table in vars(self).items()
            for name, tensor in table.items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], model: nn.Module) -> WayBack | None:
        """What a state holds; None if there is nothing to go back to."""
        device = next(model.parameters()).device
        kinds: dict[str, dict[str, Tensor]] = {"parameters": {}, "buffers": {}, "moments": {}}
        for name, tensor in state.items():
            if name.startswith("plain/"):
                _, kind, own = name.split("/", 2)
                kinds[kind][own] = tensor.to(device)
        return cls(**kinds) if kinds["parameters"] else None
