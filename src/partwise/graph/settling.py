"""From what flowed through a run to units: which channels are one unit, and who owns a gain.

- A gain belongs to the tensor that *writes* the unit, as where BatchNorm is fused into the layer
  before it; but only if all that reads the unit reads it through the gain, and no activation that
  is not homogeneous comes before it. Otherwise it belongs to what *reads*.
- A sum's summands are one unit with the sum where nothing else reads them. One that others read as
  well, but no more after the sum, is the stream that the sum goes on with; more of that kind are
  joined to the sum by wires.
- Inputs and outputs are units of their own. What is both, or is read and returned, gets a wire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.graph.channels import Channels, Ids, Join, Mix, compact
from partwise.graph.expressions import Constant, Expression, Stored, plain_matrix
from partwise.graph.unit_graph import UnitGroup
from partwise.graph.unit_map import Gain, UnitMap, WeightBlock

NOTHING = Constant(torch.zeros(1))


@dataclass(frozen=True, eq=False)
class Wire:
    """Channels that reach units by no weight."""

    sources: Ids
    targets: Ids
    share: float
    order: int
    slot: int = 0  # which summand it is


def settle(
    channels: Channels, outputs: Sequence[Tensor], kept: Ids, pictures: Sequence[Ids] = ()
) -> UnitMap:
    """The units of a run, numbered: inputs, then layer by layer, outputs last.

    Args:
        channels: what flowed.
        outputs: channels of the tensors that the model returned.
        kept: input units that are kept though nothing reads them.
        pictures: (channels, positions) input units of each input with positions.
    """
    return _Settling(channels, outputs, kept, pictures).map()


class _Settling:
    def __init__(
        self,
        channels: Channels,
        outputs: Sequence[Tensor],
        kept: Ids,
        pictures: Sequence[Ids],
    ):
        self.channels, self.kept, self.pictures = channels, kept, pictures
        self.outputs = self._output_joins(outputs)
        count = channels.unit_count
        self.made = np.zeros(count, np.int64)  # when each sum was
        self.target, self.via = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.unscaled, self.shared = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.same: list[tuple[Ids, Ids]] = list(channels.same)
        self.wires: list[Wire] = []
        self._statistics()
        # Python numbers: these tables are looked up one by one.
        self._unit, self._uses = channels.unit.tolist(), channels.uses.tolist()
        self._kids, self._parent = channels.kids.tolist(), channels.parent.tolist()
        self._factor, self._scale = channels.factor.tolist(), channels.scale.tolist()
        self.groups: list[UnitGroup] = []
        self.n = 0
        self._joins()
        self.pushed = self._pushed()
        self.pushed_kid = np.zeros(channels.count, np.int64)
        self.pushed_kid[channels.parent[self.pushed]] = np.flatnonzero(self.pushed)

    def _output_joins(self, outputs: Sequence[Tensor]) -> Ids:
        """Gives every channel that is returned an output unit; they are in the order returned."""
        channels = self.channels
        found: list[int] = []
        for ids in outputs:
            small = compact(ids).reshape(-1).numpy()
            own, first = np.unique(small, return_index=True)
            order = own[np.argsort(first)]
            found += [c for c in order.tolist() if c > 0]
        own = np.array(list(dict.fromkeys(found)), np.int64)
        channels.used(own)
        made = channels.new_units("output", "output", len(own))
        at = channels.tick()
        for channel, unit in zip(own.tolist(), channels.unit[made].tolist(), strict=True):
            channels.joins.append(Join(unit, (channel,), False, at, last=True))
        return channels.unit[made]

    # Sums, products, heads and outputs.

    def _joins(self) -> None:
        joins = self._different_joins()
        own = {join.unit: join for join in joins}
        self._members: dict[int, int] = {}
        for join in joins:
            join.root = join.unit
            self.made[join.unit] = join.order
            for term in join.terms:
                self._members[term] = self._members.get(term, 0) + 1
        for join in reversed(joins):
            for term in join.terms:
                inner = own.get(self._unit[term])
                if inner is not None and self._private(term):
                    inner.root, inner.last = join.root, inner.last or join.last
                    inner.forced = inner.forced or join.forced
        trees: dict[int, list[Join]] = {}
        for join in joins:
            trees.setdefault(join.root, []).append(join)
        for root in sorted(trees, key=lambda unit: own[unit].order):
            self._tree(trees[root])

    def _different_joins(self) -> list[Join]:
        """The first of those sums that differ by position alone."""
        units = self._roots().tolist()
        alike: dict[tuple[Any, ...], list[Join]] = {}
        for join in self.channels.joins:
            alike.setdefault(self._key(join, units), []).append(join)
        self._keep_gains_apart(alike.values())
        return [joins[0] for joins in alike.values()]

    def _keep_gains_apart(self, alike: Iterable[Sequence[Join]]) -> None:
        """Leaves it to readers to scale sums whose gains differ by position."""
        channels = self.channels
        made = np.flatnonzero(channels.factor > 0)
        gained = dict(zip(channels.parent[made].tolist(), made.tolist(), strict=True))

        def scale(unit: int) -> int:
            """The gains that a unit has by the end."""
            channel = int(channels.base[unit])
            while channel in gained:
                channel = gained[channel]
            return self._scale[channel]

        for joins in alike:
            if len(joins) > 1 and len({scale(join.unit) for join in joins}) > 1:
                self.shared[[join.unit for join in joins]] = True

    def _key(self, join: Join, units: list[int]) -> tuple[Any, ...]:
        """What sums have in common that differ by position alone; `units` has the first of each."""
        ends = ((units[self._unit[t]], self._scale[t]) for t in join.terms)
        return (join.order, *ends)

    def _private(self, term: int) -> bool:
        """Whether a unit is read by nothing but the one operation that reads this channel of it."""
        if self._members.get(term, 0) != 1:
            return False
        while term:
            if self._uses[term] != 1:
                return False
            term = self._parent[term]
            if term and self._kids[term] != 1:
                return False
        return True

    def _tree(self, joins: Sequence[Join]) -> None:
        """All that one sum of sums takes in."""
        streams: list[tuple[int, Join]] = []
        for join in joins:
            for term in join.terms:
                self._term(term, join, streams)
        if len(streams) == 1 and not self._scaled_later(streams[0][1]):
            term, join = streams[0]
            self._merge(self._unit[term], join.unit)
            self.shared[[each.unit for each in joins]] = True
            return
        for term, join in streams:
            self._wire(term, join)

    def _scaled_later(self, join: Join) -> bool:
        """Whether a sum is scaled on its way into the sum that takes it in."""
        unit = join.unit
        while self.target[unit]:
            if self._gains(int(self.via[unit])):
                return True
            unit = int(self.target[unit])
        return False

    def _term(self, term: int, join: Join, streams: list[tuple[int, Join]]) -> None:
        unit = self._unit[term]
        if self.channels.is_input[unit]:
            self._wire(term, join)
        elif self._private(term) and not (self.shared[unit] and self._gains(term)):
            self.target[unit], self.via[unit] = join.unit, term
            self.unscaled[unit] |= join.forced
            self._merge(unit, join.unit)
            self.shared[join.unit] |= self.shared[unit]
        elif join.forced:
            self._merge(unit, join.unit)
            self.shared[[unit, join.unit]] = True
        elif self._is_stream(term, join):
            streams.append((term, join))
        else:
            self._wire(term, join)

    def _is_stream(self, term: int, join: Join) -> bool:
        """Whether a sum may go on with a summand: nothing reads it any more, nor is it scaled."""
        read_later = self.channels.last[self._unit[term]] > join.order
        once = self._members[term] == 1
        return once and not join.last and not read_later and not self._own_gains(term)

    def _gains(self, channel: int) -> bool:
        """Whether a channel is scaled."""
        while channel:
            if self._factor[channel]:
                return True
            channel = self._parent[channel]
        return False

    def _own_gains(self, channel: int) -> bool:
        """Whether a channel is scaled by gains that its writers cannot take."""
        path = []
        while channel:
            path.append(channel)
            channel = self._parent[channel]
        writable = not self.shared[self._unit[path[0]]]
        for parent, child in zip(path[::-1], path[-2::-1], strict=False):
            writable &= self._uses[parent] == 1 and self._kids[parent] == 1
            writable &= self._factor[child] > 0
            if self._factor[child] and not writable:
                return True
        return False

    def _merge(self, first: int, second: int) -> None:
        self.same.append((np.array([first]), np.array([second])))

    def _wire(self, term: int, join: Join) -> None:
        slot = join.terms.index(term)
        self.wires.append(Wire(np.array([term]), np.array([join.unit]), 1.0, join.order, slot))

    def _pushed(self) -> NDArray[np.bool_]:
        """Which gains belong to what writes the unit."""
        channels = self.channels
        parent, unit = channels.parent, channels.unit
        free = ~channels.is_input & ~self.shared
        can = (channels.factor > 0) & free[unit]
        can &= (channels.uses[parent] == 1) & (channels.kids[parent] == 1)
        pushed = np.zeros_like(can)
        is_base = parent == 0
        while True:
            more = can & (is_base[parent] | pushed[parent])
            if (more == pushed).all():
                return pushed
            pushed = more

    def _statistics(self) -> None:
        """Wires of the statistics that something reads, latest first; they read their sources."""
        channels = self.channels
        read = [mix.rows if mix.transposed else mix.columns.ravel() for mix in channels.mixes]
        read += [np.array(join.terms) for join in channels.joins]
        units = set(channels.unit[np.concatenate(read)].tolist()) if read else set()
        for statistic in reversed(channels.statistics):
            needed = np.isin(statistic.targets, list(units))
            sources = statistic.sources[needed]
            if not len(sources):
                continue
            own, order = np.unique(sources), statistic.order
            units.update(channels.unit[sources].tolist())
            channels.uses[own] += 1
            channels.last[channels.unit[own]] = np.maximum(channels.last[channels.unit[own]], order)
            self.wires.append(Wire(sources, statistic.targets[needed], statistic.share, order))

    # Numbers.

    def map(self) -> UnitMap:
        """The unit map."""
        self._number()
        blocks = [self._block(mix) for mix in self.channels.mixes]
        wires = self._wire_blocks()
        fixed = np.zeros(self.n, np.bool_)
        known = self.number >= 0
        np.logical_or.at(fixed, self.number[known], self.channels.fixed[known])
        for wire in wires:
            fixed[wire.rows] = True
            fixed[wire.columns.flatten()] = True
        for group in self.groups:
            if group.kind != "hidden":
                fixed[group.start : group.stop] = True
        return UnitMap(
            self.n,
            tuple(self.groups),
            tuple(_numbered(blocks)),
            torch.from_numpy(~fixed),
            tuple(wires),
            tuple(self.channels.notes),
        )

    def _number(self) -> None:
        """Final numbers, -1 for units that there are not."""
        channels = self.channels
        count = channels.unit_count
        root = self.root = self._roots()
        there = np.zeros(count, np.bool_)
        for mix in channels.mixes:
            rows, columns = channels.unit[mix.rows], channels.unit[mix.columns].ravel()
            there[root[rows]] = there[root[columns]] = True
        for wire in self.wires:
            there[root[channels.unit[wire.sources]]] = there[root[wire.targets]] = True
        there[root[self.kept]] = there[root[self.outputs]] = True
        there[0] = False
        for picture in self.pictures:
            there[self._unread(picture, root, there)] = True
        gathered = self._gathered(root)
        is_output, is_input = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        is_output[root[self.outputs]] = True
        np.logical_or.at(is_input, root, channels.is_input)
        is_input &= ~gathered
        self.own = np.full(count, -1)  # of inputs that are gathered to a channel
        number = np.full(count, -1)
        for kind in ("input", "hidden", "output"):
            for layer in channels.layers:
                units = layer.units
                if kind == "output":
                    units = units if layer.kind == "output" else units[:0]
                    units = np.array(list(dict.fromkeys(root[units].tolist())), np.int64)
                else:
                    is_kind = is_input if kind == "input" else ~is_input & ~is_output
                    units = units[(root[units] == units) & there[units] & is_kind[units]]
                if kind == "input":
                    alone = layer.units[gathered[root[layer.units]]]
                    alone = alone[np.isin(alone, self.kept)]
                    self.own[alone] = self.n + len(units) + np.arange(len(alone))
                    self._group(layer.name, kind, len(units) + len(alone))
                    number[units] = self.n - len(alone) - len(units) + np.arange(len(units))
                    continue
                name = self._output_name(layer.units) if kind == "output" else layer.name
                if kind == "hidden" and layer.kind == "input":
                    name = f"{layer.name} channels"
                number[units] = self.n + np.arange(len(units))
                self._group(name, kind, len(units))
        self.number = number[root]
        self.own = np.where(self.own < 0, self.number, self.own)

    def _unread(self, picture: Ids, root: Ids, there: NDArray[np.bool_]) -> Ids:
        """Input units that nothing reads: channels where a channel is one unit, else entries."""
        found = root[picture]
        read = there[found]
        if len(np.unique(found[read])) == read.sum():
            return found[~read]
        return found[~read.any(1), 0]

    def _group(self, name: str, kind: str, count: int) -> None:
        if count:
            self.groups.append(UnitGroup(name, kind, self.n, self.n + count))
            self.n += count

    def _roots(self) -> Ids:
        """The first unit of those that are the same, for each.

        What one weight reads at several positions is the same. So are, then, sums of the same
        summands, and inputs that are summands of the same sums.
        """
        while True:
            root = _components(self.channels.unit_count, self.same)
            more = [*self._same_sums(root), *self._same_inputs(root)]
            if not more:
                return root
            self.same += [(np.array([a]), np.array([b])) for a, b in more]

    def _same_sums(self, root: Ids) -> list[tuple[int, int]]:
        joins = self.channels.joins
        if not joins:
            return []
        units = root.tolist()
        first: dict[tuple[Any, ...], int] = {}
        more = []
        for join in joins:
            other = first.setdefault(self._key(join, units), join.unit)
            if units[other] != units[join.unit]:
                more.append((other, join.unit))
        return more

    def _same_inputs(self, root: Ids) -> list[tuple[int, int]]:
        first: dict[tuple[int, int, int], int] = {}
        more = []
        for wire in self.wires:
            if wire.slot < 0 or len(wire.sources) > 1:
                continue
            unit = int(self.channels.unit[wire.sources[0]])
            if self.channels.is_input[unit]:
                key = (wire.order, wire.slot, int(root[wire.targets[0]]))
                other = first.setdefault(key, unit)
                if root[other] != root[unit]:
                    more.append((other, unit))
        return more

    def _gathered(self, root: Ids) -> NDArray[np.bool_]:
        """Whether a unit is a channel of a picture whose entries the model is given in a row.

        The entries stay inputs of their own, with a wire to the channel each.
        """
        channels = self.channels
        members = np.bincount(root[self.kept], minlength=len(root))
        gathered = members > 1
        entries = self.kept[gathered[root[self.kept]]]
        if len(entries):
            self.wires.append(Wire(channels.base[entries], root[entries], 1.0, 0, -1))
        return gathered

    def _output_name(self, units: Ids) -> str:
        """The layers that write the outputs."""
        own = np.zeros(self.channels.unit_count, np.bool_)
        own[self.root[units]] = True
        names: dict[str, None] = {}
        for mix in self.channels.mixes:
            written = mix.columns if mix.transposed else mix.rows
            if own[self.root[self.channels.unit[written]]].any():
                names[mix.name] = None
        return "+".join(names) if 0 < len(names) < 4 else "output"

    def _block(self, mix: Mix) -> WeightBlock:
        channels = self.channels
        written = channels.unit[mix.columns if mix.transposed else mix.rows]
        nothing = self.number[written[0, 0] if written.ndim > 1 else written[0]]
        rows, columns = (
            torch.from_numpy(np.where(ends > 0, self.number[channels.unit[ends]], nothing))
            for ends in (mix.rows, mix.columns)
        )
        read = mix.rows if mix.transposed else mix.columns
        read_side, written_side = (0, 1) if mix.transposed else (1, 0)
        reads = read[None] if mix.positions is None else mix.positions
        gains = [*self._written_gains(written, written_side), *self._read_gains(reads, read_side)]
        weight, transposed, derived = _owner(mix.weight, mix.transposed)
        if transposed != mix.transposed:
            gains = [gain.turned() for gain in gains]
            rows, columns = columns[0], rows[None]
        name = weight or next(mix.weight.names(), "")
        module, call = mix.site
        return WeightBlock(
            parameter=name,
            rows=rows,
            columns=columns,
            gains=tuple(gains),
            transposed=transposed,
            applied_by="" if module == name.rpartition(".")[0] else module,
            call=call,
            hookable=mix.hookable,
            derived=derived,
            order=mix.order,
            lands=self._lands(written, mix.order),
        )

    def _read_gains(self, read: Ids, side: int) -> list[Gain]:
        """Gains between a unit and what reads it, of (positions, ...) channels."""
        found: list[Gain] = []
        channels = self.channels
        if (read == 0).all(0).any():  # padding: its weights carry nothing
            found.append(Gain(NOTHING, torch.from_numpy(np.where(read == 0, 0, -1)), side))
        current = read
        while (current > 0).any():
            factor = np.where(self.pushed[current], 0, channels.factor[current])
            found += self._gains_at(factor, channels.entry[current], side)
            current = channels.parent[current]
        return found

    def _written_gains(self, units: Ids, side: int) -> list[Gain]:
        """Gains that units have before anything reads them."""
        channels = self.channels
        found: list[Gain] = []
        scalars = np.zeros_like(units, np.bool_)
        path = units
        while (path > 0).any():
            scalars |= self.unscaled[path]
            path = self.target[path]
        current = units
        while (current > 0).any():
            node = self.pushed_kid[channels.base[current]]
            while (node > 0).any():
                found += self._gains_at(channels.factor[node], channels.entry[node], side, scalars)
                node = self.pushed_kid[node]
            node = self.via[current]
            while (node > 0).any():
                factor = np.where(self.pushed[node], 0, channels.factor[node])
                found += self._gains_at(factor, channels.entry[node], side, scalars)
                node = channels.parent[node]
            current = self.target[current]
        return found

    def _gains_at(
        self, factor: Ids, entry: Ids, side: int, scalars: NDArray[np.bool_] | None = None
    ) -> list[Gain]:
        if scalars is not None and scalars.any():
            factor = np.where(scalars & self.channels.is_scalar(factor), 0, factor)
        index = entry if scalars is None else entry[None]
        places = factor if scalars is None else factor[None]
        return [
            Gain(
                self.channels.factors[place - 1],
                torch.from_numpy(np.where(places == place, index, -1)),
                side,
            )
            for place in np.unique(factor[factor > 0]).tolist()
        ]

    def _wire_blocks(self) -> list[WeightBlock]:
        blocks = []
        by_order: dict[tuple[int, float], list[Wire]] = {}
        for wire in self.wires:
            by_order.setdefault((wire.order, wire.share), []).append(wire)
        for (order, share), wires in sorted(by_order.items(), key=lambda item: item[0]):
            sources = np.concatenate([wire.sources for wire in wires])
            targets = np.concatenate([wire.targets for wire in wires])
            ends = self.own[self.channels.unit[sources]], self.number[targets]
            keep = (ends[0] != ends[1]) & (ends[0] >= 0) & (ends[1] >= 0)
            if not keep.any():
                continue
            gains = [
                *self._written_gains(targets[keep], 0),
                *self._read_gains(sources[keep][None, :, None], 1),
            ]
            blocks.append(
                WeightBlock(
                    parameter="",
                    rows=torch.from_numpy(ends[1][keep]),
                    columns=torch.from_numpy(ends[0][keep])[:, None],
                    gains=tuple(gains),
                    hookable=False,
                    derived=Constant(torch.full((int(keep.sum()), 1), share)),
                    order=order,
                    lands=self._lands(targets[keep], order),
                )
            )
        return blocks

    def _lands(self, units: Ids, order: int) -> Tensor | None:
        """When what is written to units is there: when the last sum is made that takes it in."""
        times = np.full(units.shape, order)
        current = self.target[units]
        while (current > 0).any():
            times = np.maximum(times, self.made[current])
            current = self.target[current]
        if (times == order).all():
            return None
        found = torch.from_numpy(times)
        return found[0] if found.dim() == 2 and len(found) == 1 else found


def _owner(weight: Expression, transposed: bool) -> tuple[str, bool, Expression | None]:
    """Name of the parameter that a weight is, whether it is turned; or how it is computed."""
    if isinstance(weight, Stored) and weight.is_parameter:
        return weight.name, transposed, None
    plain = None if transposed else plain_matrix(weight)
    if plain is None:
        return "", transposed, weight
    return plain[0].name, plain[1], None


def _numbered(blocks: Sequence[WeightBlock]) -> list[WeightBlock]:
    """Blocks that know how many others apply the same tensor, and how many before them."""
    uses = Counter(block.parameter for block in blocks)
    seen: Counter[str] = Counter()
    found = []
    for block in blocks:
        found.append(replace(block, use=seen[block.parameter], uses=uses[block.parameter]))
        seen[block.parameter] += 1
    return found


def _components(count: int, pairs: Sequence[tuple[Ids, Ids]]) -> Ids:
    """(count,) the least member of each one's component, under pairs that are the same."""
    label = np.arange(count)
    if not pairs:
        return label
    a = np.concatenate([pair[0] for pair in pairs])
    b = np.concatenate([pair[1] for pair in pairs])
    while True:
        low = np.minimum(label[a], label[b])
        before = label.copy()
        np.minimum.at(label, label[a], low)
        np.minimum.at(label, label[b], low)
        label = label[label]
        if (label == before).all():
            return label
