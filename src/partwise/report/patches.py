"""What the channels of convolutions see: the patches on which each is most active."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from partwise.explain import Evidence
from partwise.explain.values import HeadEffect, MapProfile, Patch
from partwise.report.png import Picture, png_uri, tinted_picture
from partwise.report.words import fixed, listed, percent

RGB_MAPS = 3
MOST_SEEN = 3


@dataclass(frozen=True)
class MapView:
    """A channel.

    Attributes:
        name: such as `"channel 3 of conv2"`.
        sees: maps of the picture with their shares, in words.
        reads: channels with their shares, in words; empty where they are the picture's.
        harm: the question that suffers most without it, in words.
        patches: where it is most active, the most active first.
    """

    name: str
    sees: str
    reads: str
    harm: str
    patches: tuple[Picture, ...]


@dataclass(frozen=True)
class MapRow:
    """The channels of one layer, and the size of what they see."""

    layer: str
    field: str
    maps: tuple[MapView, ...]


def map_rows(evidence: Evidence) -> tuple[MapRow, ...]:
    """A module's channels, layer by layer; none without convolutions."""
    values = [np.array(p.pixels) for each in evidence.maps for p in each.patches]
    if not values:
        return ()
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    rows = []
    for layer, group in groupby(evidence.maps, lambda each: each.layer):
        own = list(group)
        size = _size(own)
        views = tuple(_view(each, size, float(low), float(high - low) or 1.0) for each in own)
        rows.append(MapRow(layer, f"{size[0]}x{size[1]}", views))
    return tuple(rows)


def _size(maps: list[MapProfile]) -> tuple[int, int]:
    """Height and width of the largest patch."""
    shapes = [np.shape(p.pixels)[1:] for each in maps for p in each.patches]
    return max((s[0] for s in shapes), default=1), max((s[1] for s in shapes), default=1)


def _view(each: MapProfile, size: tuple[int, int], low: float, span: float) -> MapView:
    own = {share.name for share in each.sees}
    reads = [share for share in each.reads if share.name not in own][:MOST_SEEN]
    worst = max(each.effects, key=lambda effect: effect.added, default=None)
    return MapView(
        each.name,
        listed([f"{s.name} ({percent(s.share)})" for s in each.sees[:MOST_SEEN]]) or "nothing",
        listed([f"{s.name.partition(' of ')[0]} ({percent(s.share)})" for s in reads]),
        "" if worst is None else _harm(worst),
        tuple(_picture(each, k, patch, size, low, span) for k, patch in enumerate(each.patches)),
    )


def _harm(effect: HeadEffect) -> str:
    added = effect.loss_after - effect.loss_before
    return f"{'+' if added > 0 else ''}{fixed(added, 2)} {effect.unit} on ‘{effect.name}’"


def _picture(
    each: MapProfile, rank: int, patch: Patch, size: tuple[int, int], low: float, span: float
) -> Picture:
    ink = (padded(np.array(patch.pixels), patch, size) - low) / span
    many = len(ink) if len(ink) != RGB_MAPS else 1
    uri = _coloured(ink) if len(ink) == RGB_MAPS else tinted_picture(side_by_side(ink))
    alt = (
        f"Patch {rank + 1} of {each.name}, from row {patch.row}, column {patch.column} of "
        f"{listed(each.shown)}; activity {fixed(patch.activity, 2)}."
    )
    return Picture(uri, alt, many * size[1] + many - 1, size[0])


def padded(pixels: NDArray[np.float64], patch: Patch, size: tuple[int, int]) -> NDArray[np.float64]:
    """(maps, h, w) pixels as large as `size`; those beyond the picture's edge are no numbers.

    A patch that is too small and begins at the first row, or column, was cut off before it.
    """
    found = np.full((len(pixels), *size), np.nan)
    high, wide = pixels.shape[1:]
    down = size[0] - high if patch.row == 0 else 0
    across = size[1] - wide if patch.column == 0 else 0
    found[:, down : down + high, across : across + wide] = pixels
    return found


def side_by_side(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """(maps, h, w) maps in one picture, with a clear column between them."""
    gap = np.zeros((ink.shape[1], 1))
    parts = [part for each in ink for part in (each, gap)][:-1]
    return np.concatenate(parts, 1) if parts else np.zeros((ink.shape[1], 1))


def _coloured(ink: NDArray[np.float64]) -> str:
    """Three maps as red, green and blue."""
    opaque = np.isfinite(ink).all(0, keepdims=True)
    whole = np.concatenate([np.clip(np.nan_to_num(ink), 0, 1), opaque])
    return png_uri(np.rint(255 * whole.transpose(1, 2, 0)).astype(np.uint8))
