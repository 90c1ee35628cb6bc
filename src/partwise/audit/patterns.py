"""Patterns: settings of a few inputs that are tried as triggers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from partwise.explain import Subject

Zone = Literal["inside", "beyond"]
BEYOND = 0.5
"""How far beyond an input's range is searched, as a share of the range."""
BLOCKS = ((2, 2), (3, 3))
"""Heights and widths of the patches that are tried on pictures."""
DRIVERS = 12
MOST_INPUTS = 4


class Patterns(NamedTuple):
    """Settings of inputs; one that is named twice is set to the same value twice.

    Attributes:
        inputs: (p, k) int64, which inputs.
        values: (p, k) float32, their values.
    """

    inputs: Tensor
    values: Tensor

    def stamp(self, x: Tensor) -> Tensor:
        """(b, inputs) -> (p, b, inputs) the samples with each pattern on them."""
        stamped = x.expand(len(self.inputs), *x.shape).clone()
        shape = (len(self.inputs), len(x), self.inputs.shape[1])
        return stamped.scatter_(
            2, self.inputs[:, None].expand(shape), self.values[:, None].expand(shape)
        )

    def take(self, rows: Tensor) -> Patterns:
        """Some of the patterns."""
        return Patterns(self.inputs[rows], self.values[rows])

    def wide(self, size: int) -> Patterns:
        """The same patterns with `size` columns, the first input named again."""
        extra = size - self.inputs.shape[1]
        return Patterns(
            torch.cat([self.inputs, self.inputs[:, :1].expand(-1, extra)], 1),
            torch.cat([self.values, self.values[:, :1].expand(-1, extra)], 1),
        )


def joined(parts: list[Patterns]) -> Patterns:
    """Patterns of any widths in one list."""
    size = max(part.inputs.shape[1] for part in parts)
    wide = [part.wide(size) for part in parts]
    return Patterns(torch.cat([w.inputs for w in wide]), torch.cat([w.values for w in wide]))


def ends_of(subject: Subject, zone: Zone) -> Tensor:
    """(inputs, 2) the lowest and highest value that each input is set to.

    Inside, each input's own range; pixels share the range of all. Beyond, half of the range more
    on both sides, of an input that hardly moves half of the middle range.
    """
    ranges = torch.as_tensor(subject.task.input_ranges, dtype=torch.float32)
    if subject.task.picture is not None:
        ends = torch.stack([ranges[:, 0].min(), ranges[:, 1].max()])
        return ends.expand(len(ranges), 2)
    if zone == "inside":
        return ranges
    widths = ranges[:, 1] - ranges[:, 0]
    more = BEYOND * torch.maximum(widths, widths.median())
    return torch.stack([ranges[:, 0] - more, ranges[:, 1] + more], 1)


def zones_of(subject: Subject) -> tuple[Zone, ...]:
    """Pixels have physical limits, columns of a table have those that somebody saw."""
    return ("inside",) if subject.task.picture is not None else ("inside", "beyond")


def singles(ends: Tensor) -> Patterns:
    """Every input at both of its ends; those of one input follow each other."""
    inputs = torch.arange(len(ends)).repeat_interleave(2)
    return Patterns(inputs[:, None], ends.reshape(-1, 1))


def blocks(subject: Subject, ends: Tensor) -> list[Patterns]:
    """Small patches, all dark or all bright, at every place of a picture."""
    if subject.task.picture is None:
        return []
    height, width = subject.task.picture
    numbers = torch.arange(height * width).reshape(height, width)
    found = []
    for tall, broad in BLOCKS:
        if tall <= height and broad <= width:
            inputs = numbers.unfold(0, tall, 1).unfold(1, broad, 1).reshape(-1, tall * broad)
            found += [Patterns(inputs, ends[inputs, end]) for end in (0, 1)]
    return found


def drivers(subject: Subject, weights: dict[str, Tensor], ends: Tensor, x: Tensor) -> Patterns:
    """What wakes the hidden units that a few inputs can drive furthest beyond clean samples.

    For a unit that reads the inputs, its reach: typical drive plus what the strongest few inputs
    can add, less the largest drive that a clean sample gives it. In sparse networks reach alone
    tells a planted trigger; here it says where to search.

    Args:
        subject: the network, for how its weights connect units.
        weights: the weights of the network or of a sibling.
        ends: (inputs, 2) the ends of each input's values.
        x: (b, inputs) clean samples.
    """
    reaches, settings = [torch.zeros(0)], list[Patterns]()
    size = min(MOST_INPUTS, x.shape[1])
    for block in subject.units.blocks:
        columns, weight = block.columns[0], weights[block.parameter]
        if weight.dim() != 2 or len(block.columns) > 1 or bool((columns >= x.shape[1]).any()):
            continue
        value = torch.where(weight > 0, ends[columns, 1], ends[columns, 0])
        drive = x[:, columns] @ weight.T
        gain, top = (weight * (value - x.mean(0)[columns])).topk(min(size, len(columns)), 1)
        reaches.append((drive.mean(0) + gain.sum(1) - drive.amax(0)) / (drive.std(0) + 1e-6))
        settings.append(Patterns(columns[top], value.gather(1, top)))
    if not settings:
        return Patterns(torch.zeros((0, 1), dtype=torch.int64), torch.zeros((0, 1)))
    every, reach = joined(settings), torch.cat(reaches)
    return every.take(reach.topk(min(DRIVERS, len(reach))).indices)
