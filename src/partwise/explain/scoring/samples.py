"""Held-out samples as a judge reads them, at the rate at which they occur."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partwise.explain.questions import lesion_effects
from partwise.explain.subject import Subject
from partwise.tasks.words import Words

CONTEXT = 24
"""Tokens before the one to be predicted that a judge reads."""
MOST_INPUTS = 256


class Sample(NamedTuple):
    """One loss that a module's removal may add to.

    Attributes:
        place: its position in `lesion_effects`.
        text: what a judge reads.
    """

    place: int
    text: str


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of the `final` split, which neither writers nor claims saw.

    Attributes:
        subject: the network, taken apart.
        places: (n,) int, positions in `lesion_effects`.
    """

    subject: Subject
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Sample]:
        for place in self.places.tolist():
            yield Sample(place, shown(self.subject, place))

    def effects(self, module: int) -> NDArray[np.float64]:
        """(n,) what a module's removal adds to each loss."""
        return lesion_effects(self.subject, "final", module)[self.places]

    def of_head(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) the question, and the row or token, of each."""
        rows = len(self.subject.rows("final").y)
        return self.places // rows, self.places % rows


def samples_of(subject: Subject, most: int, seed: int = 0) -> Samples:
    """Samples drawn at the rate at which they occur, none twice."""
    total = len(subject.rows("final").y) * len(subject.data.heads)
    rng = np.random.default_rng((seed, 5))
    return Samples(subject, rng.permutation(total)[:most])


def shown(subject: Subject, place: int, mark: Sequence[int] = ()) -> str:
    """A sample as text: tokens with the next one marked, or a question with its inputs.

    Args:
        subject: the network, taken apart.
        place: position in `lesion_effects`.
        mark: of text, other places of the same document to be marked instead.
    """
    if subject.of_text:
        return _context(subject, place, mark or (place,))
    rows = subject.batch("final")
    head, row = divmod(place, len(rows.y))
    x = rows.x[row].numpy()[:MOST_INPUTS]
    question = subject.task.heads[head].name
    if subject.task.picture is not None:
        return f"question '{question}'; inputs:\n{_picture(x, subject.task.picture[1])}"
    named = zip(subject.task.inputs, x.tolist(), strict=False)
    return f"question '{question}'; " + ", ".join(f"{name} = {v:.3g}" for name, v in named)


def _picture(x: NDArray[np.float32], width: int) -> str:
    """Pixels as digits, a row of them per line: 0 for the darkest, 9 for the brightest."""
    low, span = float(x.min()), max(float(x.max() - x.min()), 1e-6)
    digits = ((x - low) / span * 9).round().astype(int)
    return "\n".join("".join(map(str, digits[k : k + width])) for k in range(0, len(x), width))


def _context(subject: Subject, place: int, marked: Sequence[int]) -> str:
    """The tokens up to the last marked one, each marked one between « and »."""
    words = subject.variables("final")["next"]
    first = subject.variables("final")["token"]
    assert isinstance(words, Words)
    assert isinstance(first, Words)
    start = place - place % subject.text.context
    begin = max(start, max(marked) - CONTEXT)
    tokens = [first.vocabulary[int(first.ids[begin])]]
    for k in range(begin, max(marked) + 1):
        token = words.vocabulary[int(words.ids[k])]
        tokens.append(f"«{token}»" if k in marked else token)
    return "".join(tokens)
