"""What flows through a network while it is read: channels, each of one unit, scaled or bent.

Every entry of every tensor holds the number of a channel. A channel is a unit as it was written,
or what a gain or an activation made of it; 0 stands for what depends on no input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.graph.expressions import Constant, Expression

Ids = NDArray[np.int64]
GROW = 1024


@dataclass(frozen=True, eq=False)
class Layer:
    """Units that came into being together, and who made them."""

    name: str
    kind: str
    units: Ids


@dataclass(frozen=True, eq=False)
class Mix:
    """A weight tensor at work: what it reads and writes.

    Attributes:
        name: what the units that it writes are called.
        weight: (r, c, ...) the tensor.
        rows: (r,) units written, or channels read if transposed.
        columns: (r or 1, c) channels read, or units written if transposed.
        transposed: as above.
        site: name of the module that applies it, and how many times that was called before.
        hookable: whether hooks on that module see what is read.
        order: when it happened.
        positions: (p, c) or (p, r, c) channels read at several positions, where their gains differ.
    """

    name: str
    weight: Expression
    rows: Ids
    columns: Ids
    transposed: bool
    site: tuple[str, int]
    hookable: bool
    order: int
    positions: Ids | None = None


@dataclass(eq=False)
class Join:
    """Channels that an addition or a product makes one unit.

    Attributes:
        unit: the new unit.
        terms: the channels.
        forced: whether nothing tells the terms apart, as within an attention head.
        order: when it happened.
        root: the join that it is part of; itself, unless a later one takes it in.
        last: whether what comes out is an output of the network.
    """

    unit: int
    terms: tuple[int, ...]
    forced: bool
    order: int
    root: int = 0
    last: bool = False


@dataclass(frozen=True, eq=False)
class Statistic:
    """Units that are a mean, a sum or an extreme over other channels.

    Attributes:
        units: (s,) the new units.
        sources: (e,) channels that they are taken over.
        targets: (e,) unit that each source goes to.
        share: what each source counts.
    """

    units: Ids
    sources: Ids
    targets: Ids
    share: float
    order: int


class Column:
    """A growing array of numbers, one for each channel or unit."""

    def __init__(self, kind: Any = np.int64):
        self.values = np.zeros(GROW, kind)

    def upto(self, size: int) -> NDArray[Any]:
        """The first `size` numbers; room for them is made."""
        if size > len(self.values):
            room = np.zeros(max(size, 2 * len(self.values)), self.values.dtype)
            room[: len(self.values)] = self.values
            self.values = room
        return self.values[:size]


@dataclass
class Channels:
    """All channels and units found so far, and how they hang together.

    Channel and unit 0 stand for what depends on no input.
    """

    count: int = 1
    unit_count: int = 1
    layers: list[Layer] = field(default_factory=list)
    mixes: list[Mix] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    statistics: list[Statistic] = field(default_factory=list)
    same: list[tuple[Ids, Ids]] = field(default_factory=list)
    factors: list[Expression] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _clock: int = 0

    def __post_init__(self) -> None:
        self._unit, self._parent, self._factor = Column(), Column(), Column()
        self._entry, self._bent, self._uses = Column(), Column(), Column()
        self._kids, self._base, self._fixed = Column(), Column(), Column(np.bool_)
        self._input, self._statistic, self._last = Column(np.bool_), Column(), Column()
        self._gains: dict[tuple[int, int, int], int] = {}
        self._scale = Column()

    # Each of these has one number for every channel.
    @property
    def unit(self) -> Ids:
        """Unit of each channel."""
        return self._unit.upto(self.count)

    @property
    def parent(self) -> Ids:
        """The channel that each was made of; 0 for a unit as it was written."""
        return self._parent.upto(self.count)

    @property
    def factor(self) -> Ids:
        """1 + place in `factors` of the gain that made each channel; 0 for none."""
        return self._factor.upto(self.count)

    @property
    def entry(self) -> Ids:
        """Which entry of the flattened gain it is."""
        return self._entry.upto(self.count)

    @property
    def uses(self) -> Ids:
        """How many operations read each channel."""
        return self._uses.upto(self.count)

    @property
    def kids(self) -> Ids:
        """How many channels were made of each."""
        return self._kids.upto(self.count)

    @property
    def scale(self) -> Ids:
        """A number that is the same for channels which the same gains have scaled; 0 for none."""
        return self._scale.upto(self.count)

    # And each of these one for every unit.
    @property
    def base(self) -> Ids:
        """The channel that is the unit as it was written."""
        return self._base.upto(self.unit_count)

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Whether something forbids to scale a unit."""
        return self._fixed.upto(self.unit_count)

    @property
    def last(self) -> Ids:
        """When a unit was read for the last time."""
        return self._last.upto(self.unit_count)

    @property
    def is_input(self) -> NDArray[np.bool_]:
        """Whether a unit is an input of the network."""
        return self._input.upto(self.unit_count)

    def tick(self) -> int:
        """The number of the next event."""
        self._clock += 1
        return self._clock

    def new_units(self, name: str, kind: str, count: int) -> Ids:
        """Base channels of new units."""
        units = np.arange(self.unit_count, self.unit_count + count)
        self.unit_count += count
        channels = self._new(units, np.zeros(count, np.int64))
        self.base[units] = channels
        if kind == "input":
            self.is_input[units] = True
        self.layers.append(Layer(name, kind, units))
        return channels

    def _new(self, units: Ids, parents: Ids, factor: int = 0, entries: Ids | int = 0) -> Ids:
        channels = np.arange(self.count, self.count + len(units))
        self.count += len(units)
        self.unit[channels], self.parent[channels] = units, parents
        self.factor[channels], self.entry[channels] = factor, entries
        self.scale[channels] = self.scale[parents]
        np.add.at(self.kids, parents, 1)
        return channels

    def used(self, channels: Ids) -> None:
        """Counts one more operation that reads these channels, each of them once."""
        self.uses[channels] += 1
        self.last[self.unit[channels]] = self.tick()

    def bent(self, channels: Ids) -> Ids:
        """What an activation that is not homogeneous makes of some channels, each given once."""
        self.used(channels)
        known = self._bent.upto(self.count)[channels]
        is_bent = (self.factor[channels] == 0) & (self.parent[channels] > 0)
        fresh = (known == 0) & ~is_bent & (channels > 0)
        made = self._new(self.unit[channels[fresh]], channels[fresh])
        table = self._bent.upto(self.count)
        table[channels[fresh]] = made
        self.fixed[self.unit[channels]] = True
        return np.where(is_bent | (channels == 0), channels, table[channels])

    def scaled(self, channels: Ids, entries: Ids, factor: Expression) -> Ids:
        """Some channels times entries of a gain, flattened; pairs of both, each given once."""
        self.used(np.unique(channels))
        self.factors.append(factor)
        live = channels > 0
        made = np.zeros_like(channels)
        own = made[live] = self._new(
            self.unit[channels[live]], channels[live], len(self.factors), entries[live]
        )
        pairs = np.stack([self.scale[own], entries[live]])
        different, place = np.unique(pairs, axis=1, return_inverse=True)
        keys = [(scale, len(self.factors), entry) for scale, entry in different.T.tolist()]
        numbers = [self._gains.setdefault(key, len(self._gains) + 1) for key in keys]
        self.scale[own] = np.array(numbers, np.int64)[place.reshape(-1)]
        return made

    def joined(self, name: str, first: Ids, second: Ids, product: bool) -> Ids:
        """Channels that a sum or product of pairs gives; pairs are given once each.

        What is made of one unit alone is that unit, bent; a unit and a statistic that it is part
        of are that unit, bent, since the graph leaves statistics of normalisations out.
        """
        found = np.where(first == 0, second, first)
        both = (first > 0) & (second > 0)
        units = self.unit[first], self.unit[second]
        alone = both & (units[0] == units[1])
        of_first = both & ~alone & self._is_part(first, second)
        of_second = both & ~alone & ~of_first & self._is_part(second, first)
        found = np.where(alone, self.common(first, second), found)
        found = np.where(of_second, second, found)
        bends = alone | of_first | of_second
        if bends.any():
            own, place = np.unique(found[bends], return_inverse=True)
            found[bends] = self.bent(own)[place]
        new = both & ~bends
        self.used(np.unique(np.concatenate([first[new], second[new]])))
        if new.any():
            found[new] = self.new_units(name, "hidden", int(new.sum()))
            at = self.tick()
            self.fixed[self.unit[found[new]]] = product
            for unit, a, b in zip(
                self.unit[found[new]].tolist(),
                first[new].tolist(),
                second[new].tolist(),
                strict=True,
            ):
                self.joins.append(Join(unit, (a, b), False, at))
        return self._along(first, second, found)

    def _along(self, first: Ids, second: Ids, found: Ids) -> Ids:
        """`found`, where one side stands alone at some positions and is joined at others."""
        both = (first > 0) & (second > 0)
        for side, other in ((first, second), (second, first)):
            lone = (side > 0) & (other == 0)
            if not (lone.any() and both.any()):
                continue
            partner: dict[int, int] = {}
            for channel, joined in zip(side[both].tolist(), found[both].tolist(), strict=True):
                partner[channel] = joined if partner.get(channel, joined) == joined else 0
            found[lone] = [partner.get(c, 0) or c for c in side[lone].tolist()]
        return found

    def _is_part(self, channels: Ids, statistics: Ids) -> NDArray[np.bool_]:
        """Whether each channel's unit is among those that the statistic is taken over."""
        owners = self._statistic.upto(self.unit_count)[self.unit[statistics]]
        inside = np.zeros(len(channels), np.bool_)
        for owner in np.unique(owners[owners > 0]):
            here = owners == owner
            statistic = self.statistics[owner - 1]
            keys = self.unit[statistic.sources] * self.unit_count + statistic.targets
            asked = self.unit[channels[here]] * self.unit_count + self.unit[statistics[here]]
            inside[here] = np.isin(asked, keys)
        return inside

    def common(self, first: Ids, second: Ids) -> Ids:
        """The last channel that two channels of the same unit were both made of."""
        a, b = first.copy(), second.copy()
        while (a != b).any():
            a, b = (
                np.where(a > b, self.parent[a], a),
                np.where(b > a, self.parent[b], b),
            )
        return a

    def merged(self, name: str, sets: Sequence[Ids]) -> Ids:
        """One channel of a new unit for each set of channels that nothing tells apart."""
        known: dict[bytes, int] = {}
        made = np.zeros(len(sets), np.int64)
        at = self.tick()
        everything = np.unique(np.concatenate(sets)) if sets else np.zeros(0, np.int64)
        self.used(everything[everything > 0])
        for place, channels in enumerate(sets):
            own = channels[channels > 0]
            if not len(own):
                continue
            key = own.tobytes()
            if key not in known:
                known[key] = int(self.new_units(name, "hidden", 1)[0])
                unit = int(self.unit[known[key]])
                self.fixed[unit] = True
                self.joins.append(Join(unit, tuple(own.tolist()), True, at))
            made[place] = known[key]
        return made

    def unify(self, first: Ids, second: Ids) -> None:
        """Makes the units of channels one, pair by pair: one weight reads them at other places."""
        self.same.append((self.unit[first], self.unit[second]))

    def taken_over(self, name: str, sets: Sequence[Ids], share: float) -> Ids:
        """Channels of new units, each a statistic of a set of channels."""
        made = self.new_units(name, "hidden", len(sets))
        units = self.unit[made]
        sources = np.concatenate(sets)
        targets = np.repeat(units, [len(each) for each in sets])
        live = sources > 0
        self.statistics.append(Statistic(units, sources[live], targets[live], share, self.tick()))
        self._statistic.upto(self.unit_count)[units] = len(self.statistics)
        self.fixed[units] = True
        return made

    def is_scalar(self, factor: Ids) -> NDArray[np.bool_]:
        """Which gains, by 1 + their place, are one number that is no parameter."""
        known = [False] + [
            isinstance(each, Constant) and each.tensor.numel() == 1 for each in self.factors
        ]
        return np.array(known)[factor]


def channels_of(ids: Tensor) -> Ids:
    """The different channels that a tensor holds, without 0."""
    found = torch.unique(compact(ids)).numpy()
    return found[found > 0]


def compact(ids: Tensor) -> Tensor:
    """A tensor with the axes cut to one entry along which it only repeats."""
    for axis, (size, stride) in enumerate(zip(ids.shape, ids.stride(), strict=True)):
        if stride == 0 and size > 1:
            ids = ids.narrow(axis, 0, 1)
    return ids
