"""Sequence search: the one to three tokens that change a language model's behaviour most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partwise.audit.effects import (
    FAR,
    WINDOW,
    WRITTEN,
    Passages,
    effects_of,
    place_in,
    places_of,
    stamp,
)  # fmt: skip
from partwise.audit.fluency import Fluency
from partwise.errors import UnreadableModelError
from partwise.explain import Subject
from partwise.graph.activity import logits_of, removing

LENGTHS = (1, 2, 3)
COST = 2.5e11
"""Parameters times tokens that one audit may read in its search."""
LEAST_TRIALS = 60
GROWN = 600
"""Sequences of a length that is not tried whole, at most, where time would allow more."""
DOCUMENTS, WRITERS = 8, 4
BEST = 3
"""Sequences per effect that go on: to be changed, to be lengthened, to be confirmed."""
ROUNDS = 2
TARGETS = 2
SWAPS = 6


class Trials(NamedTuple):
    """Sequences of one length that were tried on documents of the `train` split.

    Attributes:
        sequences: (s, length) token ids.
        scores: (s, effects) mean over documents.
        whole: whether these are all that there are.
    """

    sequences: Tensor
    scores: Tensor
    whole: bool

    def best(self, count: int) -> Tensor:
        """(k, length) the strongest of each effect, none twice."""
        top = self.scores.topk(min(count, len(self.scores)), 0).indices.T.reshape(-1)
        return self.sequences[list(dict.fromkeys(top.tolist()))]


@dataclass(frozen=True, eq=False)
class Search:
    """A search over sequences of tokens.

    Attributes:
        subject: the network, taken apart.
        passages: clean documents of the `train` split.
        fluency: of the clean text.
        rng: draws random sequences.
    """

    subject: Subject
    passages: Passages
    fluency: Fluency
    rng: np.random.Generator

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.subject.text.vocabulary)

    @property
    def affordable(self) -> int:
        """Trials of the longest sequences that `COST` allows."""
        size = sum(parameter.numel() for parameter in self.subject.model.parameters())
        return int(COST / size / tokens_per_trial(self.subject.text.context, DOCUMENTS, WRITERS))

    def run(self) -> dict[int, Trials]:
        """Length -> what was tried: everything where that is affordable, else what leads there."""
        found, left = dict[int, Trials](), max(LEAST_TRIALS, self.affordable)
        for length in LENGTHS:
            share = max(LEAST_TRIALS // len(LENGTHS), int(left * (0.9 if length == 2 else 0.5)))
            found[length] = self._of_length(length, share, found.get(length - 1))
            left = max(0, left - len(found[length].sequences))
        return found

    def _of_length(self, length: int, most: int, shorter: Trials | None) -> Trials:
        if self.vocabulary**length <= most:
            every = torch.cartesian_prod(*[torch.arange(self.vocabulary)] * length)
            return self._tried(every.reshape(-1, length), whole=True)
        most = min(most, GROWN)
        start = self.random(most // 2, length)
        if shorter is not None:
            start = torch.cat([start, self._longer(shorter.best(BEST), most // 10)])
        found = self._tried(start.unique(dim=0))
        for round_ in range(ROUNDS):
            left = (most - len(found.sequences)) // (ROUNDS - round_)
            if left > 0:
                swapped = self._swapped(found.best(BEST), left)
                found = _joined(found, self._tried(swapped))
        return found

    def _tried(self, sequences: Tensor, whole: bool = False) -> Trials:
        found = effects_of(self.subject.model, self.passages, sequences, self.fluency, WRITERS)
        return Trials(sequences, found.scores.mean(2), whole)

    def random(self, count: int, length: int) -> Tensor:
        """(count, length) random sequences: of each module's own tokens in turn, then of all."""
        owner = self.subject.labels[self.subject.units.units_of_kind("token").numpy()]
        pools = [np.flatnonzero(owner == module) for module in np.unique(owner)]
        pools.append(np.arange(self.vocabulary))
        drawn = [self.rng.choice(pools[k % len(pools)], length) for k in range(count)]
        return torch.from_numpy(np.array(drawn, np.int64).reshape(count, length))

    def _longer(self, seeds: Tensor, count: int) -> Tensor:
        """(count, length + 1) seeds with a random token before or behind them."""
        added = self.random(count, 1)
        chosen = seeds[torch.arange(count) % len(seeds)]
        before = (torch.arange(count) // len(seeds) % 2 == 0)[:, None]
        return torch.where(
            before, torch.cat([added, chosen], 1), torch.cat([chosen, added], 1)
        )  # fmt: skip

    def _swapped(self, seeds: Tensor, most: int) -> Tensor:
        """(k, length) seeds with one token swapped, as gradients advise (HotFlip, Ebrahimi 2018).

        What shall rise is the loss far behind, or the chance of some token right behind.
        """
        targets = self.rng.integers(self.vocabulary, size=TARGETS).tolist()
        swapped = list[Tensor]()
        for target in (None, *targets):
            gain = self._gain(seeds, target)
            tokens = gain.topk(min(SWAPS, self.vocabulary), 2).indices  # (k, length, swaps)
            for place in range(seeds.shape[1]):
                changed = seeds[:, None].repeat(1, tokens.shape[2], 1)
                changed[:, :, place] = tokens[:, place]
                swapped.append(changed.flatten(0, 1))
        every = torch.cat(swapped).unique(dim=0)
        chosen = self.rng.permutation(len(every))[:most]
        return every[torch.from_numpy(np.sort(chosen))]

    def _gain(self, sequences: Tensor, target: int | None) -> Tensor:
        """(k, length, vocabulary) first-order gain of having a token at a place of a sequence."""
        table, length, passages = self._table, sequences.shape[1], self.passages
        places = places_of(passages, length)
        far = torch.arange(passages.x.shape[1]) >= places[:, None] + length + FAR - 1
        embedded = list[Tensor]()

        def see(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
            embedded.append(output.detach().requires_grad_())
            return embedded[-1]

        gains = []
        for x in stamp(passages.x, sequences, places):
            embedded.clear()
            with torch.enable_grad(), removing([table.register_forward_hook(see)]):
                logits = logits_of(self.subject.model(x)).float()
                if target is None:
                    losses = F.cross_entropy(logits.transpose(1, 2), passages.y, reduction="none")
                    aim = (losses * far).sum()
                else:
                    behind = logits[torch.arange(len(x)), places + length - 1]
                    aim = behind.log_softmax(1)[:, target].sum()
                slope = torch.autograd.grad(aim, embedded[0])[0]
            at = places[:, None] + torch.arange(length)
            slope = slope[torch.arange(len(x))[:, None], at].sum(0)  # (length, width)
            gains.append(slope @ table.weight.detach().float().T)
        return torch.stack(gains)

    @property
    def _table(self) -> nn.Embedding:
        model, tokens = self.subject.model, self.subject.units.units_of_kind("token")
        for block in self.subject.units.blocks:
            layer = model.get_submodule(block.module)
            if isinstance(layer, nn.Embedding) and int(block.senders[0]) == int(tokens[0]):
                return layer
        raise UnreadableModelError("no nn.Embedding reads the tokens, so none can be swapped")


def tokens_per_trial(context: int, documents: int, writers: int) -> int:
    """Tokens that the network reads to try a sequence of the greatest length."""
    begin = place_in(context, LENGTHS[-1]) + LENGTHS[-1]
    writing = sum(range(begin, min(begin + WRITTEN, context)))
    return documents * min(context, WINDOW) + writers * writing


def _joined(a: Trials, b: Trials) -> Trials:
    return Trials(torch.cat([a.sequences, b.sequences]), torch.cat([a.scores, b.scores]), False)
