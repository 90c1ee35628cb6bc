"""Texts per sample, and tokens as people write them."""

from __future__ import annotations

import contextlib
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

CLASSES = {
    "LETTERS": string.ascii_letters,
    "DIGITS": string.digits,
    "PUNCTUATION": string.punctuation,
    "BLANKS": " \n\t\r",
}
"""Classes of tokens -> the characters that such tokens are made of."""
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
SPACE = "\u2581"
"""What sentencepiece writes for a space."""
BLANK = "\u0120"
"""What byte-level tokenizers write for a space."""


@dataclass(frozen=True, eq=False)
class Words:
    """A text per sample.

    Attributes:
        ids: (b,) int64, position of each sample's text in `vocabulary`; -1 where it has none.
        vocabulary: the texts that there are.
    """

    ids: Tensor
    vocabulary: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def among(self, chosen: Callable[[str], bool]) -> Tensor:
        """(b,) float, 1 where there is a text and it is chosen."""
        table = torch.tensor([*map(chosen, self.vocabulary), False])
        return table[self.ids].float()

    def over(self, vocabulary: Sequence[str]) -> Tensor:
        """(b,) the ids of the same texts in another vocabulary; -1 where that lacks them."""
        if vocabulary is self.vocabulary:
            return self.ids
        place = {text: k for k, text in enumerate(vocabulary)}
        return torch.tensor([*(place.get(text, -1) for text in self.vocabulary), -1])[self.ids]


def is_of_class(text: str, name: str) -> bool:
    """Whether a token is made of a class's characters, but for one blank before a word.

    >>> is_of_class(" the", "LETTERS"), is_of_class("a1", "LETTERS"), is_of_class(" ", "BLANKS")
    (True, False, True)
    """
    bare = text.removeprefix(" ") or text
    return bare != "" and set(CLASSES[name]).issuperset(bare)


def readable(vocabulary: Sequence[str]) -> tuple[str, ...]:
    r"""Tokens as people write them, whatever tokenizer named them.

    Byte-level tokenizers write a space as a letter, sentencepiece as a low line. Where two tokens
    would read alike, all but one keep their own names.

    >>> readable(["the", "\u0120the", "\u2581a", "<0x0A>"])
    ('the', ' the', ' a', '\n')
    """
    byte_level = any(len(name) > 1 and name[0] == BLANK for name in vocabulary)
    taken = set(vocabulary)
    found = []
    for name in vocabulary:
        text = _plain(name, byte_level)
        if text in taken:
            text = name
        taken.add(text)
        found.append(text)
    return tuple(found)


def _plain(name: str, byte_level: bool) -> str:
    if (match := BYTE.fullmatch(name)) and int(match[1], 16) < 128:
        return chr(int(match[1], 16))
    if SPACE in name:
        return name.replace(SPACE, " ")
    letters = _letters()
    if byte_level and all(c in letters for c in name):
        with contextlib.suppress(UnicodeDecodeError):  # part of a character
            return bytes(letters[c] for c in name).decode()
    return name


@lru_cache(maxsize=1)
def _letters() -> dict[str, int]:
    """The letters that byte-level tokenizers (Radford et al., 2019) write for bytes."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    table = {chr(byte): byte for byte in shown}
    return table | {chr(256 + k): byte for k, byte in enumerate(hidden)}
