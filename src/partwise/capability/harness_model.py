"""A model of our own as the lm-evaluation-harness sees it; needs `partwise[eval]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lm_eval.api.model import LM
from torch import nn

from partwise.graph.activity import logits_of


class LogitsModel(LM):
    """Log-likelihoods of texts under any module that maps (b, t) token ids to logits.

    Long texts keep their last `context` tokens. Without a context the first token is not scored,
    since the model has no token that begins a text.

    Args:
        model: the network, in evaluation mode.
        encode: text -> token ids.
        context: longest sequence.
    """

    def __init__(self, model: nn.Module, encode: Callable[[str], list[int]], context: int):
        super().__init__()
        self.model, self.encode, self.context = model, encode, context

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether it is the greedy one) per request."""
        return [self._score(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Not offered: none of the tasks need it."""
        raise NotImplementedError("this model scores continuations only")

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Not offered: none of the tasks need it."""
        raise NotImplementedError("this model scores continuations only")

    @torch.no_grad()
    def _score(self, context: str, continuation: str) -> tuple[float, bool]:
        ids = self.encode(context + continuation)
        scored = min(max(0, len(ids) - len(self.encode(context))), len(ids) - 1, self.context)
        if scored < 1:
            return 0.0, False
        ids = ids[-self.context - 1 :]
        logits = logits_of(self.model(torch.tensor([ids[:-1]])))[0, -scored:]
        targets = torch.tensor(ids[-scored:])
        log_likelihoods = logits.log_softmax(1)[torch.arange(scored), targets]
        return float(log_likelihoods.sum()), bool((logits.argmax(1) == targets).all())
