"""Evidence on convolutions: what each channel reads, sees and matters for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from partwise.explain.maps import PICTURE, MapLayer, Seen, receptive_fields, seen
from partwise.explain.subject import Subject
from partwise.explain.values import HeadEffect, MapProfile, Patch, Share

MOST_MAPS = 6
"""Channels of a layer that are shown, the strongest."""
MOST_PATCHES = 6
LEAST_SHARE = 0.1
"""Share of what a channel sees from which on a map of the picture is shown."""
MOST_READ = 6


def map_profiles(subject: Subject, module: int) -> tuple[MapProfile, ...]:
    """A module's strongest channels, layer by layer; none without convolutions."""
    degrees, found = subject.graph.degrees(), list[MapProfile]()
    for layer in subject.map_layers:
        if len(layer.writers) != 1:
            continue
        own = layer.group.start + np.flatnonzero(
            subject.labels[layer.group.start : layer.group.stop] == module
        )
        strongest = own[np.argsort(-degrees[own], kind="stable")][:MOST_MAPS]
        found += [_profile(subject, layer, int(unit)) for unit in strongest]
    return tuple(found)


def _profile(subject: Subject, layer: MapLayer, unit: int) -> MapProfile:
    position, channel = layer.writers[0], unit - layer.group.start
    names, sees = subject.unit_names, _seen_shares(subject)[unit]
    maps = torch.nonzero(sees >= LEAST_SHARE).flatten().tolist()
    values = _evidence_of(subject).written.get(position)
    patches = () if values is None else _patches(subject, position, values[:, channel], maps)
    return MapProfile(
        unit=unit,
        name=names[unit],
        layer=layer.name,
        reads=_largest(names, *_reads(subject, position, channel)),
        sees=_largest(_picture_names(subject), torch.arange(len(sees)), sees),
        shown=tuple(_picture_names(subject)[k] for k in maps),
        patches=patches,
        effects=_effects(subject, unit),
    )


def _evidence_of(subject: Subject) -> Seen:
    """What convolutions make of the evidence samples, and of no others."""
    x = subject.batch("train").x
    return subject.once("seen", lambda: seen(subject.model, subject.units, x))


def _reads(subject: Subject, position: int, channel: int) -> tuple[Tensor, Tensor]:
    """Units that a channel reads, and their shares of the weights that it reads them with."""
    block = subject.units.blocks[position]
    weights = subject.units.magnitude(subject.model, block).detach()[channel]
    columns = block.columns[channel if len(block.columns) > 1 else 0]
    return columns, weights / weights.sum().clamp_min(1e-30)


def _seen_shares(subject: Subject) -> Tensor:
    """(n, maps) what each unit sees of each map of the picture: shares of shares, path by path."""

    def found() -> Tensor:
        given = _picture_units(subject)
        sees = torch.zeros(subject.units.n, len(given))
        sees[given, torch.arange(len(given))] = 1
        for layer in subject.map_layers:
            for position in layer.writers:
                for channel, unit in enumerate(subject.units.blocks[position].receivers.tolist()):
                    columns, shares = _reads(subject, position, channel)
                    sees[unit] += shares @ sees[columns] / len(layer.writers)
        return sees

    return subject.once("sees", found)


def _picture_units(subject: Subject) -> Tensor:
    """(maps,) the units that the first convolution reads."""
    first = min(k for layer in subject.map_layers for k in layer.writers)
    return subject.units.blocks[first].channels_read()


def _picture_names(subject: Subject) -> list[str]:
    units = _picture_units(subject).tolist()
    if subject.map_layers[0].name == PICTURE:
        return [subject.unit_names[unit] for unit in units]
    return [f"channel {k} of {PICTURE}" for k in range(len(units))]


def _patches(subject: Subject, position: int, values: Tensor, maps: list[int]) -> tuple[Patch, ...]:
    """Where a channel is most active, (b, h, w) `values`: a place of each of some samples."""
    fields = subject.once(
        "fields",
        lambda: receptive_fields(subject.model, subject.units, subject.batch("train").x),
    )
    rows, columns = fields[position]
    picture = _evidence_of(subject).picture
    best = values.flatten(1).max(1)
    found = []
    for sample in best.values.topk(min(MOST_PATCHES, len(values))).indices.tolist():
        place = int(best.indices[sample])
        down, across = divmod(place, values.shape[2])
        top, left = (span[k].nonzero() for span, k in ((rows, down), (columns, across)))
        if not len(top) or not len(left):
            continue
        box = slice(int(top[0]), int(top[-1]) + 1), slice(int(left[0]), int(left[-1]) + 1)
        pixels = picture[sample, maps][:, box[0], box[1]]
        found.append(
            Patch(
                row=box[0].start,
                column=box[1].start,
                activity=float(best.values[sample]),
                pixels=tuple(
                    tuple(tuple(round(v, 3) for v in line) for line in each)
                    for each in pixels.tolist()
                ),
            )
        )
    return tuple(found)


def _effects(subject: Subject, unit: int) -> tuple[HeadEffect, ...]:
    """What holding one channel at its mean does to each question's loss."""
    held = torch.zeros(subject.units.n, dtype=torch.bool)
    held[unit] = True
    before = subject.losses("train").mean(0)
    after = subject.losses_without_units("train", held).mean(0)
    spread = subject.batch("train").y.var(0, correction=0)
    return tuple(
        HeadEffect(
            head=k,
            name=head.name,
            loss_before=float(before[k]),
            loss_after=float(after[k]),
            variance=(float(spread[k]) or None) if head.kind == "value" else None,
        )
        for k, head in enumerate(subject.data.heads)
    )


def _largest(names: list[str], units: Tensor, shares: Tensor) -> tuple[Share, ...]:
    """The largest shares by name."""
    top = shares.topk(min(MOST_READ, len(shares)))
    return tuple(
        Share(name=names[int(units[place])], share=share)
        for share, place in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        if share > 0
    )
