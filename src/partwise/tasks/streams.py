"""Text streams with a known answer: which tokens belong together is true by construction.

`letters` is English in lower case, `digits` are sums such as `17+25=42;`, and `problems` are word
problems that need both alphabets. A network trained on letters and digits has two true modules.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.errors import DataError
from partwise.tasks.task import Split, some_of

SPLITS: dict[Split, tuple[float, float]] = {
    "train": (0.0, 0.85),
    "claims": (0.85, 0.9),
    "final": (0.9, 1.0),
}
"""Where the tokens of each split begin and end, as shares of a stream."""
LETTERS = "abcdefghijklmnopqrstuvwxyz '.,\n"
DIGITS = "0123456789+=;"
STREAMS = ("letters", "digits", "problems")


@dataclass(frozen=True, eq=False)
class Stream:
    """A run of tokens from one source.

    Attributes:
        name: the source.
        ids: (t,) token ids.
    """

    name: str
    ids: Tensor

    def sequences(self, split: Split, count: int, length: int, rng: np.random.Generator) -> Tensor:
        """(count, length) token ids from random places of a split; splits do not overlap.

        Raises:
            DataError: if the split is shorter than one sequence.
        """
        low, high = (int(len(self.ids) * frac) for frac in SPLITS[split])
        if high - low < length:
            raise DataError(
                f"stream '{self.name}' has {high - low} tokens in split '{split}', fewer than the "
                f"{length} of one sequence; give more text or a shorter context"
            )
        starts = torch.from_numpy(rng.integers(low, high - length + 1, count))
        return self.ids[starts[:, None] + torch.arange(length)]

    def documents(self, split: Split, most: int, length: int, rng: np.random.Generator) -> Tensor:
        """(count, length) token ids: runs of a split that do not overlap, at most `most`.

        Raises:
            DataError: if the split holds fewer than two.
        """
        low, high = (int(len(self.ids) * frac) for frac in SPLITS[split])
        whole = (high - low) // length
        if whole < 2:
            raise DataError(
                f"stream '{self.name}' has {high - low} tokens in split '{split}', fewer than two "
                f"documents of {length}; give more text or a shorter context"
            )
        chosen = np.sort(some_of(whole, most, rng))
        starts = torch.from_numpy(low + length * chosen)
        return self.ids[starts[:, None] + torch.arange(length)]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Streams over one vocabulary.

    Attributes:
        streams: at least one.
        vocabulary: text of every token.
        truth: (vocabulary,) position in `streams` of the stream that a token belongs to; -1 where
            several share it. For scoring only.
    """

    streams: tuple[Stream, ...]
    vocabulary: tuple[str, ...]
    truth: NDArray[np.int64]

    def batch(self, split: Split, count: int, length: int, seed: tuple[int, ...]) -> Tensor:
        """(count, length) sequences, as many from each stream; the same seed, the same ones."""
        rng = np.random.default_rng(seed)
        share = [count // len(self.streams)] * len(self.streams)
        share[0] += count - sum(share)
        return torch.cat(
            [
                stream.sequences(split, each, length, rng)
                for stream, each in zip(self.streams, share, strict=True)
            ]
        )


def character_corpus(texts: dict[str, str]) -> Corpus:
    """Streams with a token per character.

    Args:
        texts: stream name -> its text.

    Raises:
        DataError: if a text is empty.
    """
    empty = [name for name, text in texts.items() if not text]
    if empty or not texts:
        raise DataError(f"no text in stream {', '.join(empty) or '(none given)'}")
    counts = {name: set(text) for name, text in texts.items()}
    vocabulary = tuple(sorted(set().union(*counts.values())))
    code = {character: i for i, character in enumerate(vocabulary)}
    streams = tuple(
        Stream(name, torch.tensor([code[c] for c in text])) for name, text in texts.items()
    )
    return Corpus(streams, vocabulary, _truth(vocabulary, list(counts.values())))


def known_streams(names: tuple[str, ...], english: str, seed: int = 0) -> Corpus:
    """The known-answer streams.

    Args:
        names: some of `STREAMS`.
        english: any English text; only its letters and plain punctuation are kept.
        seed: seed of the sums and word problems.

    Raises:
        DataError: for an unknown stream, naming those that exist, or a text without letters.
    """
    unknown = [name for name in names if name not in STREAMS]
    if unknown:
        raise DataError(f"no stream '{unknown[0]}'; there are {', '.join(STREAMS)}")
    rng = np.random.default_rng(seed)
    letters = letters_of(english)
    if not letters.strip():
        raise DataError("the English text holds no letters")
    make = {
        "letters": lambda: letters,
        "digits": lambda: sums(80_000, rng),
        "problems": lambda: word_problems(30_000, rng),
    }
    corpus = character_corpus({name: make[name]() for name in names})
    return Corpus(corpus.streams, corpus.vocabulary, _alphabet(corpus.vocabulary, names))


def letters_of(text: str) -> str:
    """Lower case, with every character that is not in `LETTERS` turned into a space.

    >>> letters_of("Who's 42?")
    "who's    "
    """
    return "".join(c if c in LETTERS else " " for c in text.lower())


def sums(count: int, rng: np.random.Generator) -> str:
    """Sums of two numbers below 50, such as `17+25=42;`."""
    pairs = rng.integers(0, 50, (count, 2))
    return "".join(f"{a}+{b}={a + b};" for a, b in pairs.tolist())


PEOPLE = ("tom", "ann", "joe", "sue", "max", "eva")
THINGS = ("apples", "coins", "books", "cards", "shells")


def word_problems(count: int, rng: np.random.Generator) -> str:
    """Problems such as `tom has 12 coins, finds 7. now 19 coins.` that need both alphabets."""
    pairs = rng.integers(0, 50, (count, 2)).tolist()
    who = rng.choice(PEOPLE, count).tolist()
    what = rng.choice(THINGS, count).tolist()
    return "".join(
        f"{name} has {a} {thing}, finds {b}. now {a + b} {thing}.\n"
        for (a, b), name, thing in zip(pairs, who, what, strict=True)
    )


PACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Suffix of a packed file, in lower case -> what opens it for reading bytes."""


def read_text(path: Path, limit: int | None = None) -> str:
    """The text of a UTF-8 file, or of one in UTF-16 that begins with a byte-order mark.

    Args:
        path: the file; packed where its suffix is one of `PACKED`.
        limit: characters that are read at most; all when left out.

    Returns:
        It as `plain_text`.

    Raises:
        DataError: if it is missing, empty, binary, damaged or in another encoding.
    """
    bound = -1 if limit is None else 8 * limit + 4  # of two characters, one may go
    with open_binary(path) as file:
        content: bytes = file.read(bound)
    encoding = text_encoding(content)
    if encoding == "utf-8" and b"\0" in content:
        first = content.index(b"\0")
        raise DataError(f"{path} is a binary file (byte {first} is 0); wanted UTF-8 text")
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(content, final=len(content) != bound)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding.upper()} (byte {error.start}); convert it, for example "
            "with iconv"
        ) from error
    text = plain_text(text)[:limit]
    if not text.strip():
        raise DataError(f"{path} holds no text")
    return text


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[Any]:
    """A file for reading bytes, unpacked where its suffix is one of `PACKED`.

    Raises:
        DataError: if it is missing, or damaged, also while it is read.
    """
    packed = path.suffix.lower()
    try:
        with PACKED.get(packed, partial(open, mode="rb"))(path) as file:
            yield file
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"cannot read {path} ({error}); it is no intact {packed} file") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, (DataError, UnicodeError)):
            raise
        raise DataError(f"cannot read {path!r}: {error}") from error


def text_encoding(head: bytes) -> str:
    """The encoding that a file's first bytes tell: UTF-8 where there is no byte-order mark."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8"


def plain_text(text: str) -> str:
    r"""Text without byte-order marks, with lines that end in \n and no half of a surrogate pair.

    A half, which no encoding can write, becomes the replacement character.

    >>> plain_text("\ufeffone\r\ntwo\ud800")
    'one\ntwo�'
    """
    text = text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _truth(vocabulary: tuple[str, ...], alphabets: list[set[str]]) -> NDArray[np.int64]:
    owners = [[i for i, known in enumerate(alphabets) if c in known] for c in vocabulary]
    return np.array([own[0] if len(own) == 1 else -1 for own in owners])


def _alphabet(vocabulary: tuple[str, ...], names: tuple[str, ...]) -> NDArray[np.int64]:
    """Digits and signs against letters, whichever streams use them."""
    kinds = [name for name in names if name != "problems"]
    if len(kinds) < 2:
        return np.full(len(vocabulary), -1)
    return np.array([kinds.index("digits" if c in DIGITS else "letters") for c in vocabulary])
