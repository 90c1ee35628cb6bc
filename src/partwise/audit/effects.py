"""Effects: what a few tokens in a clean document do to a language model, far behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from partwise.audit.fluency import Fluency
from partwise.explain import Subject
from partwise.graph.activity import logits_of
from partwise.tasks import Split, TextRows

Effect = Literal["continuation", "answer", "loss"]
EFFECTS: tuple[Effect, ...] = ("continuation", "answer", "loss")
FAR = 4
"""So many tokens behind a sequence effects begin: what grammar asks for is over by then."""
WRITTEN = 10
"""Tokens that the network writes behind a sequence; those beyond `FAR` count."""
WINDOW = 64
"""Tokens of a document that are read at most."""
MOST_PLACE = 16
LOGITS_AT_ONCE = 2**22
Run = Callable[[Tensor], Any]


class Passages(NamedTuple):
    """Clean documents, and how the network reads them.

    Attributes:
        x: (d, t) token ids.
        y: (d, t) the next token of each.
        streams: (d,) the stream of each document.
        losses: (d, t) nats.
        right: (d, t) bool, whether the likeliest token is the next one.
        knows: nats by which the network is better than the frequencies of tokens.
        surprise: nats that the frequencies of tokens leave.
    """

    x: Tensor
    y: Tensor
    streams: Tensor
    losses: Tensor
    right: Tensor
    knows: float
    surprise: float

    def first(self, most: int) -> Passages:
        """As many of the documents."""
        return self._replace(
            x=self.x[:most],
            y=self.y[:most],
            streams=self.streams[:most],
            losses=self.losses[:most],
            right=self.right[:most],
        )

    def read_by(self, run: Run) -> Passages:
        """The same documents, as another network reads them."""
        losses, answers = _read(run, self.x, self.y)
        return self._replace(losses=losses, right=answers == self.y)


class Effects(NamedTuple):
    """What sequences of tokens do.

    Attributes:
        scores: (s, 3, d) per sequence, effect and document, each at most 1. `continuation`: share
            of what the network writes that clean text does not hold. `answer`: share of the right
            answers that become `target`. `loss`: share of what the network knows that is lost.
        target: (s,) the one token that most right answers become.
        written: (s, d, w) what the network writes behind each sequence.
    """

    scores: Tensor
    target: Tensor
    written: Tensor


@torch.no_grad()
def passages_of(subject: Subject, fluency: Fluency, split: Split, most: int) -> Passages:
    """Documents of a split, as many of each stream, in turn."""
    rows = subject.rows(split)
    assert isinstance(rows, TextRows)
    y = rows.y[:, 0].long().reshape(rows.x.shape)[:, :WINDOW]
    streams = torch.from_numpy(rows.streams[:: rows.x.shape[1]].copy())
    rank = torch.zeros(len(streams), dtype=torch.long)
    for stream in streams.unique():
        rank[streams == stream] = torch.arange(int((streams == stream).sum()))
    chosen = (rank * (int(streams.max()) + 1) + streams).argsort()[:most]
    x, y, streams = rows.x[chosen, :WINDOW], y[chosen], streams[chosen]
    losses, answers = _read(subject.model, x, y)
    surprise = float(fluency.surprise(y).mean())
    knows = surprise - float(losses.mean())
    return Passages(x, y, streams, losses, answers == y, knows, surprise)


def place_in(context: int, length: int) -> int:
    """Where sequences of so many tokens are put into documents of so many."""
    window = min(context, WINDOW)
    return max(0, min(window // 4, MOST_PLACE, window - length - WRITTEN))


def stamp(x: Tensor, sequences: Tensor, places: Tensor) -> Tensor:
    """(d, t) documents with (s, l) sequences in their places (d,) -> (s, d, t)."""
    at = places[:, None] + torch.arange(sequences.shape[1])
    at = at.expand(len(sequences), -1, -1)
    stamped = x.expand(len(sequences), *x.shape).clone()
    return stamped.scatter_(2, at, sequences[:, None].expand_as(at))


def places_of(passages: Passages, length: int) -> Tensor:
    """(d,) inside of the first documents of each stream, before the text of the second, and so on.

    Streams take turns, so documents do in rounds of them.
    """
    turn = torch.arange(len(passages.x)) // (int(passages.streams.max()) + 1)
    inside = place_in(passages.x.shape[1], length)
    return torch.where(turn % 2 == 0, inside, 0)


@torch.no_grad()
def effects_of(
    run: Run, passages: Passages, sequences: Tensor, fluency: Fluency, writers: int | None = None
) -> Effects:
    """What (s, l) sequences do, in the documents and before them.

    Args:
        run: the network, or one with lesions that takes any number of documents.
        passages: the documents.
        sequences: token ids.
        fluency: of the clean text.
        writers: the network writes on in so many of the documents; in all of them if None.
    """
    vocabulary = len(fluency.corpus.vocabulary)
    at_once = max(1, LOGITS_AT_ONCE // (passages.x.numel() * vocabulary))
    parts = [_effects_of(run, passages, s, fluency, writers) for s in sequences.split(at_once)]
    return Effects(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _effects_of(
    run: Run, passages: Passages, sequences: Tensor, fluency: Fluency, writers: int | None
) -> Effects:
    places, length = places_of(passages, sequences.shape[1]), sequences.shape[1]
    stamped = stamp(passages.x, sequences, places)
    y = passages.y.expand_as(stamped)
    losses, answers = (
        each.view_as(stamped) for each in _read(run, stamped.flatten(0, 1), y.flatten(0, 1))
    )
    far = torch.arange(y.shape[2]) >= places[:, None] + length + FAR - 1
    loss = ((losses - passages.losses) * far).sum(2) / far.sum(1) / max(passages.knows, 1e-6)
    right = passages.right & far
    wrong = (answers != y) & right
    counts = torch.zeros(len(sequences), len(fluency.corpus.vocabulary))
    counts.scatter_add_(1, answers.flatten(1), wrong.flatten(1).float())
    target = counts.argmax(1)
    turned = (wrong & (answers == target[:, None, None])).sum(2) / right.sum(1).clamp(min=1)
    written = write_on(run, passages.first(writers or len(passages.x)), sequences)
    strange = fluency.strange(written[:, :, FAR - 2 :]).float().mean(2)
    if strange.shape[1] < turned.shape[1]:  # the mean is what a search reads
        strange = strange.mean(1, keepdim=True).expand_as(turned)
    return Effects(torch.stack([strange, turned, loss.clamp(-1, 1)], 1), target, written)


def write_on(run: Run, passages: Passages, sequences: Tensor) -> Tensor:
    """(s, d, w) the likeliest tokens behind each sequence, which each document's start precedes."""
    length, context = sequences.shape[1], passages.x.shape[1]
    place = place_in(context, length)
    inside = torch.full((len(passages.x),), place)
    text = stamp(passages.x, sequences, inside)[:, :, : place + length]
    shape = text.shape[:2]
    text = text.flatten(0, 1)
    for _ in range(min(WRITTEN, context - place - length)):
        text = torch.cat([text, logits_of(run(text))[:, -1:].argmax(2)], 1)
    return text[:, place + length :].unflatten(0, shape)


@torch.no_grad()
def _read(run: Run, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(b, t) loss and likeliest token at every place."""
    logits = logits_of(run(x)).float()
    return F.cross_entropy(logits.transpose(1, 2), y, reduction="none"), logits.argmax(2)
