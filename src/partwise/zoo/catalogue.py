"""What a task asks, written as plain functions of a sequence, apart from the programs.

Each entry takes a list of token texts and gives a list of answers. Tests hold the programs to them;
a reader of a network's answers may look among them for a name. Most entries have no program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

Spec = Callable[[list[str]], list[str]]
LETTERS, DIGITS, BITS, BRACKETS = "abcde", "01234", "01", "()[]"


class Entry(NamedTuple):
    """A task.

    Attributes:
        name: of the task.
        tokens: those that it is about; None for any.
        answer: the answer at every position.
    """

    name: str
    tokens: str | None
    answer: Spec

    def fits(self, texts: Sequence[str]) -> bool:
        """Whether the task can be asked of sequences of these tokens."""
        return self.tokens is None or set(texts) <= set(self.tokens)


def catalogue() -> list[Entry]:
    """Every task, the plainest first."""
    return [*_moving(), *_counting(), *_ordering(), *_marking(), *_brackets(), *_logic(), *_sums()]


def yes(condition: bool) -> str:
    """The answer to a question.

    >>> yes(True), yes(False)
    ('y', 'n')
    """
    return "y" if condition else "n"


def per_prefix(of: Callable[[list[str]], object]) -> Spec:
    """Asks of every position what the sequence up to it gives."""
    return lambda x: [_told(of(x[: i + 1])) for i in range(len(x))]


def of_whole(of: Callable[[list[str]], object]) -> Spec:
    """Asks of every position what the whole sequence gives."""
    return lambda x: [_told(of(x))] * len(x)


def per_place(of: Callable[[list[str], int], object]) -> Spec:
    """Asks of every position what the whole sequence and the position give."""
    return lambda x: [_told(of(x, i)) for i in range(len(x))]


def _told(answer: object) -> str:
    return yes(answer) if isinstance(answer, bool) else str(answer)


def _at(x: list[str], i: int, other: str = "-") -> str:
    return x[i] if 0 <= i < len(x) else other


def _moving() -> list[Entry]:
    return [
        Entry("copy", None, list),
        *(each for k in (1, 2, 3, 4) for each in _copies(k)),
        Entry("reverse", None, lambda x: x[::-1]),
        Entry("rotate", None, lambda x: [x[-1], *x[:-1]]),
        Entry("rotate back", None, lambda x: [*x[1:], x[0]]),
        Entry("first token", None, of_whole(lambda x: x[0])),
        Entry("last token", None, of_whole(lambda x: x[-1])),
        Entry("swap pairs", None, per_place(lambda x, i: _at(x, i ^ 1))),
    ]


def _copies(k: int) -> list[Entry]:
    return [
        Entry(f"copy {k} back", None, per_place(lambda x, i: _at(x, i - k))),
        Entry(f"copy {k} ahead", None, per_place(lambda x, i: _at(x, i + k))),
    ]


def _counting() -> list[Entry]:
    found = [
        Entry("histogram", None, per_place(lambda x, i: x.count(x[i]))),
        Entry("running histogram", None, per_place(lambda x, i: x[: i + 1].count(x[i]))),
        Entry("length", None, of_whole(len)),
        Entry("length so far", None, per_prefix(len)),
        Entry("number of different tokens", None, of_whole(lambda x: len(set(x)))),
        Entry("number of different tokens so far", None, per_prefix(lambda x: len(set(x)))),
        Entry("majority", BITS, of_whole(lambda x: 2 * x.count("1") > len(x))),
        Entry("running majority", BITS, per_prefix(lambda x: 2 * x.count("1") > len(x))),
        Entry("most frequent token", LETTERS, of_whole(lambda x: max(sorted(set(x)), key=x.count))),
        Entry("all equal", None, of_whole(lambda x: len(set(x)) == 1)),
        Entry("all equal so far", None, per_prefix(lambda x: len(set(x)) == 1)),
    ]
    found += [each for token in LETTERS for each in _about(token)]
    return found + [each for k in (2, 3, 4, 5) for each in _ones(k)]


def _about(token: str) -> list[Entry]:
    return [
        Entry(f"count of {token}", LETTERS, of_whole(lambda x: x.count(token))),
        Entry(f"running count of {token}", LETTERS, per_prefix(lambda x: x.count(token))),
        Entry(f"contains {token}", LETTERS, of_whole(lambda x: token in x)),
        Entry(f"{token} so far", LETTERS, per_prefix(lambda x: token in x)),
        *(_more(token, other) for other in LETTERS if other != token),
    ]


def _more(token: str, other: str) -> Entry:
    answer = of_whole(lambda x: x.count(token) > x.count(other))
    return Entry(f"more {token} than {other}", LETTERS, answer)


def _ones(k: int) -> list[Entry]:
    return [
        Entry(f"count of 1 mod {k}", DIGITS, per_prefix(lambda x: x.count("1") % k)),
        Entry(f"count of 1 mod {k} in all", DIGITS, of_whole(lambda x: x.count("1") % k)),
    ]


def _ordering() -> list[Entry]:
    def is_sorted(x: list[str]) -> bool:
        return x == sorted(x)

    return [
        Entry("sort ascending", DIGITS, sorted),
        Entry("sort descending", DIGITS, lambda x: sorted(x, reverse=True)),
        Entry("number of smaller tokens", DIGITS, per_place(lambda x, i: sum(a < x[i] for a in x))),
        Entry("number of larger tokens", DIGITS, per_place(lambda x, i: sum(a > x[i] for a in x))),
        Entry("running maximum", DIGITS, per_prefix(max)),
        Entry("maximum", DIGITS, of_whole(max)),
        Entry("running minimum", DIGITS, per_prefix(min)),
        Entry("minimum", DIGITS, of_whole(min)),
        Entry("maximum less minimum", DIGITS, of_whole(lambda x: int(max(x)) - int(min(x)))),
        Entry("ascending", DIGITS, of_whole(is_sorted)),
        Entry("ascending so far", DIGITS, per_prefix(is_sorted)),
        Entry("up or down", DIGITS, per_place(_direction)),
        Entry("second rise", DIGITS, per_place(lambda x, i: i > 1 and x[i - 2] < x[i - 1] < x[i])),
    ]


def _direction(x: list[str], i: int) -> str:
    if i == 0 or x[i] == x[i - 1]:
        return "="
    return "<" if x[i - 1] < x[i] else ">"


def _marking() -> list[Entry]:
    found = [
        Entry("first of its kind", None, per_place(lambda x, i: x[i] not in x[:i])),
        Entry("last of its kind", None, per_place(lambda x, i: x[i] not in x[i + 1 :])),
        Entry("more than once", None, per_place(lambda x, i: x.count(x[i]) > 1)),
        Entry("same as before", None, per_place(lambda x, i: i > 0 and x[i] == x[i - 1])),
        Entry("run length up to 3", None, per_place(lambda x, i: min(3, _run(x[: i + 1])))),
        Entry("run length", None, per_place(lambda x, i: _run(x[: i + 1]))),
        Entry("induction", None, per_place(_induced)),
        Entry("palindrome", None, of_whole(lambda x: x == x[::-1])),
    ]
    return found + [each for token in LETTERS for each in _last(token)]


def _last(token: str) -> list[Entry]:
    since = per_prefix(lambda x: x[::-1].index(token) if token in x else "-")
    other = per_prefix(lambda x: ["-", *(a for a in x if a != token)][-1])
    return [
        Entry(f"steps since {token}", LETTERS, since),
        Entry(f"last other than {token}", LETTERS, other),
    ]


def _run(x: list[str]) -> int:
    length = 1
    while length < len(x) and x[-1 - length] == x[-1]:
        length += 1
    return length


def _induced(x: list[str], i: int) -> str:
    places = [j for j in range(1, i + 1) if x[j - 1] == x[i]]
    return x[places[-1]] if places else "-"


def _brackets() -> list[Entry]:
    def depths(x: list[str], opening: str = "(", closing: str = ")") -> list[int]:
        prefixes = [x[: i + 1] for i in range(len(x))]
        return [each.count(opening) - each.count(closing) for each in prefixes]

    def is_balanced(x: list[str], pair: str = "()") -> bool:
        found = depths(x, *pair)
        return min(found) >= 0 and found[-1] == 0

    return [
        Entry("bracket depth", "()", lambda x: [str(d) if d >= 0 else "-" for d in depths(x)]),
        Entry("never below 0", "()", per_prefix(lambda x: min(depths(x)) >= 0)),
        Entry("balanced", "()", per_prefix(is_balanced)),
        Entry("balanced in all", "()", of_whole(is_balanced)),
        Entry(
            "balanced of two kinds",
            BRACKETS,
            per_prefix(lambda x: is_balanced(x) and is_balanced(x, "[]")),
        ),
    ]


def _logic() -> list[Entry]:
    def partner(x: list[str], i: int) -> int:
        return int(_at(x, i + 4, "0"))

    def bit(x: list[str], i: int) -> int:
        return int(_at(x, i, "0"))

    return [
        Entry("halves: and", BITS, per_place(lambda x, i: bit(x, i) & partner(x, i))),
        Entry("halves: or", BITS, per_place(lambda x, i: bit(x, i) | partner(x, i))),
        Entry("halves: xor", BITS, per_place(lambda x, i: bit(x, i) ^ partner(x, i))),
        Entry("halves: equal", BITS, of_whole(lambda x: x[:-4] == x[4:])),
        Entry("flip", BITS, per_place(lambda x, i: 1 - bit(x, i))),
        Entry("xor with the bit before", BITS, per_place(lambda x, i: bit(x, i) ^ bit(x, i - 1))),
        Entry("and with the bit before", BITS, per_place(lambda x, i: bit(x, i) & bit(x, i - 1))),
        Entry("or with the bit before", BITS, per_place(lambda x, i: bit(x, i) | bit(x, i - 1))),
        Entry(
            "majority of three",
            BITS,
            per_place(lambda x, i: int(bit(x, i - 1) + bit(x, i) + bit(x, i + 1) > 1)),
        ),
    ]


def _sums() -> list[Entry]:
    return [
        Entry("is a vowel", LETTERS, per_place(lambda x, i: x[i] in "ae")),
        *(_caesar(k) for k in (1, 2, 3, 4)),
        *(each for p in (2, 3, 4, 5) for each in _modular(p)),
    ]


def _caesar(k: int) -> Entry:
    turned = per_place(lambda x, i: LETTERS[(LETTERS.index(x[i]) + k) % 5])
    return Entry(f"caesar by {k}", LETTERS, turned)


def _modular(p: int) -> list[Entry]:
    def before(x: list[str], i: int) -> int:
        return int(_at(x, i - 1, "0"))

    found: dict[str, Spec] = {
        f"plus the digit before, mod {p}": per_place(lambda x, i: (int(x[i]) + before(x, i)) % p),
        f"less the digit before, mod {p}": per_place(lambda x, i: (int(x[i]) - before(x, i)) % p),
        f"sum mod {p}": per_prefix(lambda x: sum(map(int, x)) % p),
        f"plus the position, mod {p}": per_place(lambda x, i: (int(x[i]) + i) % p),
    }
    by_digits = [Entry(name, DIGITS, answer) for name, answer in found.items()]
    return [*by_digits, Entry(f"position mod {p}", None, per_place(lambda _, i: i % p))]
