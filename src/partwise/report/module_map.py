"""The module map: modules sized by volume, interfaces as wide as their share of capacity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from partwise.explain.subject import layer_of
from partwise.graph import UnitGroup
from partwise.modules import module_masses
from partwise.report.content import ReportContent
from partwise.report.tokens import shown_token
from partwise.report.words import counted

WIDTH = 400.0
LARGEST_RADIUS = 74.0
SMALLEST_RADIUS = 11.0
SMALLEST_WITH_SHARE = 26.0
WIDTH_OF_ALL = 220.0  # stroke of an interface that were the whole capacity
LABEL_SPACE = (38.0, 15.0)  # width and height that a label takes
LABEL_PLACES = (0.5, 0.42, 0.58, 0.35, 0.65, 0.28, 0.72)  # tried along a line
MOST_TOKENS = 64
KIND_WORDS = {
    "token": "token",
    "residual": "residual channel",
    "head": "head",
    "neuron": "neuron",
}
"""Kinds of units of a language model -> what they are called."""


@dataclass(frozen=True)
class Place:
    """A module on the map.

    Attributes:
        module: its number.
        x, y, radius: its circle.
        volume: its share of the network's capacity, edges to others counted half.
        units: how many units it holds, in words, layer by layer or kind by kind.
    """

    module: int
    x: float
    y: float
    radius: float
    volume: float
    units: tuple[str, ...]

    @property
    def shows_share(self) -> bool:
        """Whether the circle has room for more than its number."""
        return self.radius >= SMALLEST_WITH_SHARE


@dataclass(frozen=True)
class Link:
    """An interface on the map: a line between two modules, and where its label has room."""

    modules: tuple[int, int]
    share: float
    x1: float
    y1: float
    x2: float
    y2: float
    width: float
    label: tuple[float, float] | None


@dataclass(frozen=True)
class ModuleMap:
    """Places and links in a drawing of `width` by `height`, which begins at `top`."""

    top: float
    width: float
    height: float
    places: tuple[Place, ...]
    links: tuple[Link, ...]


def module_map(content: ReportContent) -> ModuleMap:
    """The map of a network's modules."""
    mass = module_masses(content.graph, content.hierarchy.labels)
    k, volume = len(mass), mass.sum(1)
    points, largest = _layout(k)
    radii = np.maximum(largest * np.sqrt(volume / (volume.max() or 1.0)), SMALLEST_RADIUS)
    places = tuple(
        Place(m, *points[m], round(float(radii[m]), 2), float(volume[m]), _units_held(content, m))
        for m in range(k)
    )
    top = min(place.y - place.radius for place in places) - 8
    bottom = max(place.y + place.radius for place in places) + 8
    return ModuleMap(round(top, 1), WIDTH, round(bottom - top, 1), places, _links(places, mass))


def _layout(k: int) -> tuple[list[tuple[float, float]], float]:
    """Centres, and the largest radius."""
    if k == 1:
        return [(200.0, 90.0)], LARGEST_RADIUS
    if k == 2:
        return [(90.0, 90.0), (310.0, 90.0)], LARGEST_RADIUS
    ring = 140.0
    largest = min(LARGEST_RADIUS, 0.34 * 2 * ring * math.sin(math.pi / k))
    angles = [2 * math.pi * m / k - math.pi / 2 for m in range(k)]
    points = [
        (round(200 + ring * math.cos(a), 2), round(210 + ring * math.sin(a), 2)) for a in angles
    ]
    return points, largest


def _links(places: tuple[Place, ...], mass: NDArray[np.float64]) -> tuple[Link, ...]:
    """All interfaces, widest first; a label is left out where it would cover another."""
    pairs = [pair for pair in combinations(range(len(places)), 2) if mass[pair] > 0]
    pairs.sort(key=lambda pair: (-mass[pair], pair))
    links, taken = list[Link](), list[tuple[float, float]]()
    for a, b in pairs:
        label = _label_place(places[a], places[b], places, taken)
        taken += [label] if label else []
        links.append(_link(places[a], places[b], float(2 * mass[a, b]), label))
    return tuple(links)


def _link(a: Place, b: Place, share: float, label: tuple[float, float] | None) -> Link:
    width = round(max(1.0, WIDTH_OF_ALL * share), 2)
    return Link((a.module, b.module), share, a.x, a.y, b.x, b.y, width, label)


def _label_place(
    a: Place, b: Place, places: tuple[Place, ...], taken: list[tuple[float, float]]
) -> tuple[float, float] | None:
    for along in LABEL_PLACES:
        x, y = a.x + along * (b.x - a.x), a.y + along * (b.y - a.y)
        free = all(abs(x - u) >= LABEL_SPACE[0] or abs(y - v) >= LABEL_SPACE[1] for u, v in taken)
        clear = all(math.hypot(x - p.x, y - p.y) > p.radius + 9 for p in places)
        if free and clear:
            return round(x, 1), round(y, 1)
    return None


def _units_held(content: ReportContent, module: int) -> tuple[str, ...]:
    """How many units of each layer a module holds; of a language model, of each kind."""
    own, counts = content.hierarchy.labels == module, dict[str, int]()
    for group in content.graph.groups:
        name = KIND_WORDS.get(group.kind, group.name)
        counts[name] = counts.get(name, 0) + int(own[group.start : group.stop].sum())
    return tuple(
        counted(count, name) if content.of_text else f"{count} in {name}"
        for name, count in counts.items()
        if count
    )


@dataclass(frozen=True)
class Segment:
    """A module's part of a layer: its units, and where in a bar of width 1 they are drawn."""

    module: int
    count: int
    start: float
    length: float


@dataclass(frozen=True)
class LayerBar:
    """The units of one layer by module."""

    name: str
    count: int
    segments: tuple[Segment, ...]


def layer_bars(content: ReportContent) -> list[LayerBar]:
    """Who holds the units of each layer, in the order of the network."""
    labels, k = content.hierarchy.labels, content.hierarchy.modules
    return [
        LayerBar(
            layer_words(group),
            len(group),
            _segments(np.bincount(labels[group.start : group.stop], minlength=k)),
        )
        for group in content.graph.groups
        if len(group)
    ]


def _segments(counts: NDArray[np.int64]) -> tuple[Segment, ...]:
    total = int(counts.sum())
    starts = np.cumsum(counts) - counts
    return tuple(
        Segment(m, int(count), float(starts[m] / total), float(count / total))
        for m, count in enumerate(counts.tolist())
        if count
    )


def layer_words(group: UnitGroup) -> str:
    """A layer's name in words.

    >>> layer_words(UnitGroup("blocks.0.heads", "head", 0, 4))
    'block 0 heads'
    """
    if group.kind not in KIND_WORDS:
        return group.name
    layer = layer_of(group)
    what = KIND_WORDS[group.kind] + "s"
    return what if layer is None else f"block {layer} {what}"


@dataclass(frozen=True)
class TokenList:
    """Tokens as they are shown, and how many more there are."""

    shown: tuple[str, ...]
    more: int


def tokens_by_module(content: ReportContent) -> dict[int, TokenList]:
    """The tokens that each module holds, strongest first; nothing where nobody knows their text."""
    group = next(group for group in content.graph.groups if group.kind == "token")
    if len(content.vocabulary) != len(group):
        return {
            each.evidence.modules[0]: TokenList(
                tuple(map(shown_token, each.evidence.text.tokens[:MOST_TOKENS])), 0
            )
            for each in content.explained
            if each.evidence.kind == "module" and each.evidence.text is not None
        }
    order = np.argsort(-content.graph.degrees()[group.start : group.stop], kind="stable")
    modules = content.hierarchy.labels[group.start : group.stop][order]
    found = {}
    for m in range(content.hierarchy.modules):
        own = order[modules == m]
        shown = tuple(shown_token(content.vocabulary[k]) for k in own[:MOST_TOKENS])
        found[m] = TokenList(shown, len(own) - len(shown))
    return found
