"""A tiny language of sequence operations, each of which is one head or one group of neurons.

After RASP (Weiss, Goldberg and Yahav 2021, "Thinking like transformers"). A sequence has a value at
every position. Values are of a finite set, and one operation makes them from others:

    Tokens, Positions     what the network is given
    Fetch                 a head that copies a value from the position that it selects
    Share                 a head that averages numbers over the positions that it selects
    Map                   neurons that look up a function of values
    Digitise              neurons that turn numbers into values, by thresholds

`counted` is a `Share` and a `Digitise`: how many positions are selected.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = Hashable
Function = Callable[..., Any]


class Values:
    """A sequence with a value at every position.

    Attributes:
        domain: every value that it can have, in order; none twice.
        role: what its operation does, of `zoo.roles`; for scoring only.
    """

    domain: tuple[Value, ...]
    role: str

    @property
    def sources(self) -> tuple[Values | Share, ...]:
        """The sequences that its operation reads."""
        return ()


@dataclass(frozen=True, eq=False)
class Tokens(Values):
    """The token at every position."""

    domain: tuple[Value, ...]
    role: str = "tokens"


@dataclass(frozen=True, eq=False)
class Positions(Values):
    """The number of tokens before every position."""

    domain: tuple[Value, ...]
    role: str = "positions"


@dataclass(frozen=True)
class Relation:
    """Which key a query selects.

    Attributes:
        name: of `zoo.roles`.
        holds: `holds(query, key)`.
    """

    name: str
    holds: Callable[[Any, Any], bool]


@dataclass(frozen=True, eq=False)
class Term:
    """One condition of a selector."""

    queries: Values
    keys: Values
    relation: Relation

    @cached_property
    def table(self) -> NDArray[np.bool_]:
        """(queries, keys) which value selects which."""
        pairs = [
            [bool(self.relation.holds(q, k)) for k in self.keys.domain] for q in self.queries.domain
        ]
        return np.array(pairs)


@dataclass(frozen=True)
class Preference:
    """Which of the selected positions wins: the one with the largest number.

    Attributes:
        name: of `zoo.roles`.
        keys: what the number is of.
        number: from a value to a whole number, 0 or more.
    """

    name: str
    keys: Values
    number: Callable[[Any], int]

    @property
    def numbers(self) -> NDArray[np.float64]:
        """(values,) the number of each value of `keys`."""
        return np.array([float(self.number(value)) for value in self.keys.domain])


@dataclass(frozen=True, eq=False)
class Selector:
    """Where a head looks: all conditions hold, and of those positions the preferred ones."""

    terms: tuple[Term, ...] = ()
    preference: Preference | None = None

    @property
    def sources(self) -> tuple[Values, ...]:
        """The sequences that it reads."""
        read = [part for term in self.terms for part in (term.queries, term.keys)]
        return (*read, *([self.preference.keys] if self.preference else []))

    @property
    def role(self) -> str:
        """Where it looks, in the words of `zoo.roles`."""
        named = sorted(term.relation.name for term in self.terms)
        named += [self.preference.name] if self.preference else []
        return " & ".join(named) or "anywhere"


@dataclass(frozen=True, eq=False)
class Fetch(Values):
    """A head: the value at the selected position, or a default where none is selected.

    All positions that are selected must have the same value.
    """

    selector: Selector
    values: Values
    default: Value | None = None

    @property
    def role(self) -> str:  # type: ignore[override]
        """Where it looks and that it copies."""
        return f"copies from {self.selector.role}"

    @cached_property
    def domain(self) -> tuple[Value, ...]:  # type: ignore[override]
        """The values of what it copies, and the default."""
        extra = () if self.default is None else (self.default,)
        return tuple(dict.fromkeys((*self.values.domain, *extra)))

    @property
    def sources(self) -> tuple[Values | Share, ...]:
        """What it selects by, and what it copies."""
        return (*self.selector.sources, self.values)


@dataclass(frozen=True, eq=False)
class Share:
    """A head: the mean of a number over the selected positions.

    Attributes:
        selector: where it looks; no preference.
        values: what is averaged.
        number: from a value to its number.
        start: the number of the start token, where that takes part in the mean; else None, and
            the mean over no position is 0.
        what: `"averages"` or `"counts"`.
    """

    selector: Selector
    values: Values | None
    number: Function = float
    start: float | None = None
    what: str = "averages"

    @property
    def role(self) -> str:
        """Where it looks and what it does there."""
        return f"{self.what} {self.selector.role}"

    @property
    def sources(self) -> tuple[Values | Share, ...]:
        """What it selects by, and what it averages."""
        return (*self.selector.sources, *([] if self.values is None else [self.values]))

    @property
    def numbers(self) -> NDArray[np.float64]:
        """(values,) the number of each value."""
        domain = () if self.values is None else self.values.domain
        return np.array([float(self.number(value)) for value in domain])


@dataclass(frozen=True, eq=False)
class Map(Values):
    """Neurons: a function of the values at the same position, looked up."""

    function: Function
    inputs: tuple[Values, ...]
    role: str

    @cached_property
    def table(self) -> dict[tuple[Value, ...], Value]:
        """The function's value for every combination of its inputs' values."""
        domains = [each.domain for each in self.inputs]
        return {values: self.function(*values) for values in product(*domains)}

    @cached_property
    def domain(self) -> tuple[Value, ...]:  # type: ignore[override]
        """The function's values."""
        return in_order(self.table.values())

    @property
    def sources(self) -> tuple[Values | Share, ...]:
        """What the function is of."""
        return self.inputs


@dataclass(frozen=True, eq=False)
class Digitise(Values):
    """Neurons: which interval a sum of numbers is in, by thresholds.

    Attributes:
        numbers: what is added, each times its factor.
        cuts: the thresholds, ascending; of each value of `gate` where there is one.
        outcomes: the value of every interval, one more than there are cuts, likewise.
        gate: chooses the thresholds.
    """

    numbers: tuple[tuple[float, Share], ...]
    cuts: tuple[tuple[float, ...], ...]
    outcomes: tuple[tuple[Value, ...], ...]
    role: str
    gate: Values | None = None

    @cached_property
    def domain(self) -> tuple[Value, ...]:  # type: ignore[override]
        """The values of the intervals."""
        return in_order(value for outcomes in self.outcomes for value in outcomes)

    @property
    def sources(self) -> tuple[Values | Share, ...]:
        """The numbers, and what chooses the thresholds."""
        return (*(share for _, share in self.numbers), *([self.gate] if self.gate else []))


Operation = Values | Share


@dataclass(frozen=True)
class Program:
    """A task, and operations that do it.

    Attributes:
        name: of the task, in `zoo.catalogue`.
        family: the kind of task.
        output: the answer at every position, as text of a token.
        tokens: what the sequence is made of.
        longest: positions that the network has, the start token aside.
        is_causal: whether no position sees a later one.
        shortest: the shortest sequence.
        draw: `draw(rng, count, length)` gives sequences where plain random ones are dull.
    """

    name: str
    family: str
    output: Values
    tokens: Tokens
    longest: int
    is_causal: bool
    shortest: int = 2
    draw: Callable[[np.random.Generator, int, int], NDArray[np.int64]] | None = field(
        default=None, repr=False
    )

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation, after those that it reads; the tokens first."""
        return tuple(dict.fromkeys((self.tokens, *_in_order(self.output))))

    @property
    def texts(self) -> tuple[str, ...]:
        """Text of the tokens that it reads."""
        return tuple(str(each) for each in self.tokens.domain)


def _in_order(operation: Operation) -> Iterator[Operation]:
    for source in operation.sources:
        yield from _in_order(source)
    yield operation


def in_order(values: Iterable[Value]) -> tuple[Value, ...]:
    """Distinct values: numbers by size, then the rest by text."""
    distinct = set(values)
    return tuple(sorted(distinct, key=lambda v: (isinstance(v, str), _size(v), str(v))))


def _size(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def mapped(function: Function, *inputs: Values, role: str) -> Map:
    """Neurons that look up a function."""
    return Map(function, inputs, role)


def where(*terms: tuple[Values, Relation, Values], prefer: Preference | None = None) -> Selector:
    """A selector, from conditions written as query, relation, key."""
    return Selector(tuple(Term(q, k, relation) for q, relation, k in terms), prefer)


def counted(selector: Selector, most: int, role: str = "number") -> Digitise:
    """How many positions are selected, 0 to `most`: a head and neurons.

    The head also looks at the start token and gives 1 / (1 + count), as in Tracr (Lindner et al.
    2023, "Tracr: compiled transformers as a laboratory for interpretability").
    """
    share = Share(selector, None, start=1.0, what="counts")
    shares = [1 / (1 + count) for count in range(most, -1, -1)]
    return digitised([(1.0, share)], shares, list(range(most, -1, -1)), role)


def digitised(
    numbers: Sequence[tuple[float, Share]],
    levels: Sequence[float],
    outcomes: Sequence[Value],
    role: str,
) -> Digitise:
    """Neurons that tell ascending levels apart, each with its value; thresholds are half way."""
    cuts = tuple((a + b) / 2 for a, b in pairwise(levels))
    return Digitise(tuple(numbers), (cuts,), (tuple(outcomes),), role)


def split_at(
    numbers: Sequence[tuple[float, Share]], cut: float, below: Value, above: Value
) -> Digitise:
    """Neurons that tell whether a sum of numbers is above a threshold."""
    return Digitise(tuple(numbers), ((cut,),), ((below, above),), "threshold")
