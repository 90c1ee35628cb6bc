"""Text as data: documents, the question which token comes next, and what programs may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from partwise.errors import DataError
from partwise.tasks.streams import Corpus
from partwise.tasks.task import Head, Split
from partwise.tasks.words import Words, readable

LOGITS_AT_ONCE = 2**25
"""Logits in one forward pass, unless one document has more."""
VARIABLES = {
    "token": "the last token read",
    "prev": "the token before it",
    "prev2": "the one before that",
    "prev3": "the one before that again",
    "next": "the token to be predicted",
    "induced": "what came after `token` when it was last seen in the document",
    "stream": "the name of the source",
    "position": "the number of tokens before `token`",
}
"""What a program may read of a token's surroundings."""
Run = Callable[[Tensor], Any]
"""(documents, context) token ids -> logits (documents, context, vocabulary), plain or wrapped."""


class TextRows(NamedTuple):
    """Documents of a split; a sample is a token to be predicted.

    Attributes:
        x: (documents, context) int64 token ids that the network is given.
        y: (tokens, 1) float32, the next token of each.
        sources: (tokens, 1) int64, the document of each.
        streams: (tokens,) int64, the stream of each.
    """

    x: Tensor
    y: Tensor
    sources: NDArray[np.int64]
    streams: NDArray[np.int64]

    @property
    def independent(self) -> int:
        """Number of documents: what an interval can rest on."""
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Text:
    """Text that a language model reads; a sample is a token that it has to predict.

    Documents are runs of `context` tokens that do not overlap. Tokens of one document are not
    independent, so intervals resample documents.

    Attributes:
        corpus: streams over one vocabulary.
        context: tokens of a document that the model reads.
        name: what messages call it.
    """

    corpus: Corpus
    context: int
    name: str = "text"

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Text of every token, as people write it."""
        return readable(self.corpus.vocabulary)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams."""
        return tuple(stream.name for stream in self.corpus.streams)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The one question: which token comes next."""
        return (Head("next token", 0, len(self.corpus.vocabulary), "classes"),)

    def rows(self, split: Split, most: int, seed: int | tuple[int, ...]) -> TextRows:
        """Documents of a split with about `most` tokens in all, none twice, as many per stream.

        Fewer where the split holds fewer; the same seed gives the same ones.

        Raises:
            DataError: if a stream has fewer than two documents in the split.
        """
        rng = np.random.default_rng(seed)
        each = max(2, most // self.context // len(self.corpus.streams))
        found = [s.documents(split, each, self.context + 1, rng) for s in self.corpus.streams]
        ids = torch.cat(found)
        document = np.repeat(np.arange(len(ids)), self.context)
        of_stream = np.repeat(np.arange(len(found)), [len(part) for part in found])
        answers = ids[:, 1:].reshape(-1, 1).float()
        return TextRows(ids[:, :-1], answers, document[:, None], of_stream[document])

    def losses_of(self, run: Run, rows: TextRows) -> Tensor:
        """(tokens, 1) next-token loss in nats of whatever runs the network."""

        def losses(logits: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(logits, y[:, 0].long(), reduction="none")

        return self._over_documents(run, rows, losses)[:, None]

    def answers_of(self, run: Run, rows: TextRows, head: int = 0) -> Tensor:
        """(tokens,) the token that the network thinks likeliest, as a float."""
        return self._over_documents(run, rows, lambda logits, _: logits.argmax(1).float())

    def _over_documents(
        self, run: Run, rows: TextRows, of: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """(tokens,) a function of (tokens, vocabulary) logits and (tokens, 1) next tokens."""
        at_once = max(1, LOGITS_AT_ONCE // (len(self.corpus.vocabulary) * rows.x.shape[1]))
        answers = rows.y.reshape(len(rows.x), -1)
        found = []
        for x, y in zip(rows.x.split(at_once), answers.split(at_once), strict=True):
            output = run(x)
            logits = output if isinstance(output, Tensor) else output.logits
            found.append(of(logits.flatten(0, 1).float(), y.reshape(-1, 1)))
        return torch.cat(found)

    def variables(self, rows: TextRows) -> dict[str, Tensor | Words]:
        """What a program may read of a token's surroundings, each (tokens,); see `VARIABLES`."""
        x, words = rows.x, self.vocabulary
        places = torch.arange(x.shape[1])
        seen = {"token": x} | {
            name: torch.where(places >= k, x.roll(k, 1), -1)
            for k, name in enumerate(("prev", "prev2", "prev3"), 1)
        }
        seen["next"] = rows.y.long().reshape(x.shape)
        seen["induced"] = _after_last(x)
        found: dict[str, Tensor | Words] = {
            name: Words(ids.reshape(-1), words) for name, ids in seen.items()
        }
        found["stream"] = Words(torch.from_numpy(rows.streams), self.streams)
        found["position"] = places.repeat(len(x)).float()
        return found

    def refuse_other_tokens(self, tokens: int) -> None:
        """Refuses a network with another vocabulary.

        Args:
            tokens: how many tokens the network knows.

        Raises:
            DataError: if the text has another number.
        """
        if tokens != len(self.corpus.vocabulary):
            raise DataError(
                f"the network knows {tokens} tokens, {self.name} is written in "
                f"{len(self.corpus.vocabulary)}; read it with the tokenizer of this network"
            )


def _after_last(x: Tensor) -> Tensor:
    """(d, t) the token after the last earlier occurrence of each token; -1 where there is none."""
    length = x.shape[1]
    same = x[:, :, None] == x[:, None, :]
    earlier = torch.arange(length)[:, None] > torch.arange(length)[None]
    place = torch.where(same & earlier, torch.arange(length), -1).amax(2)
    return torch.where(place >= 0, x.gather(1, (place + 1).clamp(max=length - 1)), -1)
