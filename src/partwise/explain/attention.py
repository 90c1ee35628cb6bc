"""The places that attention heads look at, and how much they do."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain.slice_words import KINDS
from partwise.explain.subject import Subject, where_holds
from partwise.graph.attention import attention
from partwise.tasks import Split

PATTERNS = {
    "previous token": "the previous token",
    "current token": "the current token",
    "first token": "the first token",
    "same token": "earlier occurrences of the current token",
    "induction": "what came after earlier occurrences of the current token",
}
"""Named places to look at -> what sentences call them."""


def place_words(pattern: str) -> str:
    """A place to look at, in words.

    >>> place_words("back 2"), place_words("token in DIGITS")
    ('the token 2 back', 'digits')
    """
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    if pattern.startswith("back "):
        return f"the token {pattern[5:]} back"
    return KINDS.get(pattern.removeprefix("token in "), f"tokens where {pattern}")


def attention_of(subject: Subject, split: Split) -> list[Tensor]:
    """Per layer (d, heads, t, t), what each token gives to each; see `graph.attention`."""
    rows = subject.rows(split)
    return subject.once(
        ("attention", split), lambda: attention(subject.model, subject.units, rows.x)
    )


def pattern_mask(subject: Subject, split: Split, pattern: str) -> Tensor:
    """(d, t, t) bool, whether the fourth place fits a pattern, seen from the third.

    Raises:
        ProgramError: if it is neither a known pattern nor a condition on a token.
    """
    return subject.once(("pattern", split, pattern), lambda: _mask(subject, split, pattern))


def _mask(subject: Subject, split: Split, pattern: str) -> Tensor:
    x = subject.rows(split).x
    here = torch.arange(x.shape[1])
    back = here[:, None] - here[None]
    earlier = (back > 0).expand(len(x), -1, -1)
    if pattern == "first token":
        return (here[None] == 0).expand_as(back) & earlier
    if pattern in ("previous token", "current token"):
        return (back == (pattern == "previous token")).expand(len(x), -1, -1)
    if pattern.startswith("back ") and pattern[5:].isdecimal():
        far = min(int(pattern[5:]), len(here))  # torch compares with no number that is too large
        return (back == far).expand(len(x), -1, -1)
    if pattern == "same token":
        return (x[:, :, None] == x[:, None]) & earlier
    if pattern == "induction":
        before = x.roll(1, 1).masked_fill(here == 0, -1)
        return (x[:, :, None] == before[:, None]) & (back >= 0)
    fits = where_holds(pattern, subject.variables(split))
    return fits.reshape(x.shape)[:, None] & (back >= 0)


def attended(
    subject: Subject, split: Split, unit: int, mask: Tensor
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """How much a head gives to the places of a mask.

    Args:
        subject: the network, taken apart.
        split: which documents.
        unit: the head.
        mask: (d, t, t) from `pattern_mask`.

    Returns:
        (tokens,) the share that it gives, the share that attention to all earlier tokens alike
        would, and whether there is such a place at all, and another one.
    """
    layer, head = place_of(subject, unit)
    seen = attention_of(subject, split)[layer][:, head]
    share = (seen * mask).sum(2).flatten()
    count = mask.sum(2)
    reach = torch.arange(1, mask.shape[1] + 1)
    possible = (count > 0) & (count < reach)
    return share, (count / reach).flatten(), possible.flatten().numpy()


def place_of(subject: Subject, unit: int) -> tuple[int, int]:
    """A head's layer, counted among those with heads, and its number there."""
    groups = [group for group in subject.graph.groups if group.kind == "head"]
    layer = next(k for k, group in enumerate(groups) if group.start <= unit < group.stop)
    return layer, unit - groups[layer].start
