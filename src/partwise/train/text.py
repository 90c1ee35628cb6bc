"""Text as tokens: byte-pair encoding, and the tokenizer of a pretrained checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.errors import DataError, MissingExtraError
from partwise.tasks.streams import Corpus, Stream

KNOWN_FRAC = 0.9  # of the characters of a text that the network must know
FILLED_FRAC = 0.9  # an embedding table is padded by less than a tenth
OWN_FRAC = 0.9  # a token belongs to a stream that holds this share of its occurrences


def bpe_corpus(texts: dict[str, str], size: int) -> tuple[Corpus, Any]:
    """Streams under a byte-level BPE trained on all of them, and the tokenizer.

    Args:
        texts: stream name -> its text.
        size: number of tokens, at least 256 for the bytes.

    Raises:
        MissingExtraError: if tokenizers is not installed.
        DataError: if `size` is too small.
    """
    if size < 256:
        raise DataError(f"a byte-level vocabulary needs at least 256 tokens, got {size}")
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingExtraError("BPE needs tokenizers; pip install 'partwise[hf]'") from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts.values(), trainer)
    ids = {name: tokenizer.encode(text).ids for name, text in texts.items()}
    names = [str(tokenizer.id_to_token(i)) for i in range(tokenizer.get_vocab_size())]
    return encoded_corpus(ids, names), tokenizer


def known_corpus(texts: dict[str, str], vocabulary: Sequence[str], tokenizer: Any) -> Corpus:
    """Streams in the tokens of a small GPT that was trained already.

    Args:
        texts: stream name -> its text.
        vocabulary: name of every token.
        tokenizer: of the byte-level BPE; None where a token is a character.

    Raises:
        DataError: if a tenth of a text's characters are no tokens of the network.
    """
    if tokenizer is not None:
        ids = {name: list(tokenizer.encode(text).ids) for name, text in texts.items()}
        return encoded_corpus(ids, list(vocabulary))
    code = {character: k for k, character in enumerate(vocabulary)}
    ids = {name: [code[c] for c in text if c in code] for name, text in texts.items()}
    for name, text in texts.items():
        strange = sorted({c for c in text if c not in code})
        if len(ids[name]) < KNOWN_FRAC * len(text):
            raise DataError(
                f"the network does not know {len(strange)} characters of stream '{name}', such as "
                f"{strange[0]!r}; give text in its own {len(vocabulary)} characters"
            )
    return encoded_corpus(ids, list(vocabulary))


def encoded_corpus(ids: dict[str, list[int]], names: list[str]) -> Corpus:
    """Streams of token ids over a vocabulary of token names."""
    streams = tuple(Stream(name, torch.tensor(each)) for name, each in ids.items())
    counts = np.stack(
        [np.bincount(each, minlength=len(names)) / max(1, len(each)) for each in ids.values()]
    )
    return Corpus(streams, tuple(names), owners(counts))


def owners(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """(v,) the stream that holds nearly all of each token's frequency; -1 if none does.

    >>> owners(np.array([[0.5, 0.1, 0.0], [0.0, 0.1, 0.0]])).tolist()
    [0, -1, -1]
    """
    total = counts.sum(0)
    share = counts / np.maximum(total, 1e-12)
    return np.where((total > 0) & (share.max(0) >= OWN_FRAC), share.argmax(0), -1)


def pretrained_corpus(texts: dict[str, str], tokenizer: Any, vocabulary: int) -> Corpus:
    """Streams under a checkpoint's own tokenizer.

    Args:
        texts: stream name -> its text.
        tokenizer: callable as transformers' tokenizers are.
        vocabulary: number of rows of the model's embedding table.

    Raises:
        DataError: if a token has no embedding: the tokenizer is another model's.
    """
    known = len(tokenizer)
    if known < FILLED_FRAC * vocabulary:
        raise DataError(
            f"the tokenizer has {known} tokens, the model {vocabulary} embeddings; "
            "use the tokenizer that was saved with the checkpoint"
        )
    ids = {name: list(tokenizer(text)["input_ids"]) for name, text in texts.items()}
    empty = [name for name, each in ids.items() if not each]
    if empty:
        raise DataError(f"the tokenizer makes no token of stream '{empty[0]}'")
    highest = max(max(each) for each in ids.values())
    if highest >= vocabulary or known > vocabulary:
        raise DataError(
            f"the tokenizer has {known} tokens and gave id {highest}, but the model has "
            f"{vocabulary} embeddings; use the tokenizer that was saved with the checkpoint"
        )
    unknown = getattr(tokenizer, "unk_token_id", None)
    for name, each in ids.items():
        if unknown is not None and each.count(unknown) > len(each) / 2:
            raise DataError(
                f"the tokenizer does not know most of stream '{name}'; use the tokenizer that was "
                "saved with the checkpoint, or other text"
            )
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    padding = [f"<unused {i}>" for i in range(len(tokenizer), vocabulary)]
    return encoded_corpus(ids, [str(name) for name in names] + padding)
