"""Pictures of the pages that explain, drawn from what the library computes.

python -m benchmarks.doc_pictures            # all: trains one small network
python -m benchmarks.doc_pictures small      # those of a network small enough to check by hand
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from partwise import CutTree, UnitGraph, cut_tree, report_content
from partwise.modules import find_modules
from partwise.report.dendrogram import Dendrogram, dendrogram
from partwise.report.palette import MODULE_COLOURS
from partwise.tasks import task_named
from partwise.train import Trainer, built_in_recipe, train

IMAGES = Path(__file__).parent.parent / "docs" / "images"
BLUE, ORANGE, GREEN = (colour.light for colour in MODULE_COLOURS[:3])
INK, SOFT, MIXED, PAPER = "#1c1b19", "#625e55", "#8d887c", "#fbfaf6"
NAMES = ("x1", "x2", "x3", "x4", "h1", "h2", "h3", "h4", "y1", "y2")
EDGES = (
    (0, 4, 4), (0, 5, 3), (1, 4, 2), (1, 5, 4), (4, 8, 4), (5, 8, 4),
    (2, 6, 4), (2, 7, 3), (3, 6, 2), (3, 7, 4), (6, 9, 4), (7, 9, 3),
    (1, 6, 1), (5, 9, 1),
)  # fmt: skip
"""A network by hand: two paths, and two thin wires from one to the other."""
PLACES = ((60, 40), (60, 110), (60, 190), (60, 260), (210, 40), (210, 110), (210, 190),
          (210, 260), (360, 75), (360, 225))  # fmt: skip
SIZE = (420, 310)
MARGIN = 12
"""Room for the words beside an axis."""


def by_hand() -> tuple[UnitGraph, CutTree]:
    """The small network and its cut tree."""
    graph = UnitGraph.from_edges(len(NAMES), *zip(*EDGES, strict=True))
    return graph, cut_tree(graph)


def network_picture(graph: UnitGraph, tree: CutTree) -> str:
    """The network, with the edges that its cheapest cut removes in orange."""
    side = tree.side(weakest(tree))
    parts = []
    for u, v, c in zip(graph.sources, graph.targets, graph.capacities, strict=True):
        crosses = side[u] != side[v]
        (x1, y1), (x2, y2) = PLACES[u], PLACES[v]
        colour = ORANGE if crosses else SOFT
        dashes = ' stroke-dasharray="6 4"' if crosses else ""
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" '
            f'stroke-width="{1.6 * c:.1f}"{dashes}/>'
        )
    parts += [_unit(PLACES[k], NAMES[k], BLUE if side[k] else GREEN) for k in range(graph.n)]
    return _svg(*SIZE, "A network of ten units; two thin edges join its two halves.", parts)


def tree_picture(tree: CutTree) -> str:
    """The cut tree on the same places; a number is the minimum cut of its two ends."""
    side, lightest = tree.side(weakest(tree)), weakest(tree)
    lines, labels = [], []
    for v in range(tree.n):
        if v == tree.root:
            continue
        (x1, y1), (x2, y2) = PLACES[v], PLACES[int(tree.parent[v])]
        colour = ORANGE if v == lightest else SOFT
        lines.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="2.5"/>'
        )
        x, y = x1 + 0.42 * (x2 - x1), y1 + 0.42 * (y2 - y1)
        labels.append(
            f'<rect x="{x - 13:.0f}" y="{y - 11:.0f}" width="26" height="21" rx="3" '
            f'fill="{PAPER}"/><text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" '
            f'fill="{colour}" font-weight="600">{tree.value[v]:g}</text>'
        )
    units = [_unit(PLACES[k], NAMES[k], BLUE if side[k] else GREEN) for k in range(tree.n)]
    words = "The cut tree of the network; its lightest edge parts the two halves."
    return _svg(*SIZE, words, lines + labels + units)


def weakest(tree: CutTree) -> int:
    """The unit whose tree edge is the cheapest cut of all, from the fewer units' side."""
    return min((v for v in range(tree.n) if v != tree.root), key=lambda v: float(tree.value[v]))


def nest_picture(nest: Dendrogram, words: str) -> str:
    """A dendrogram as a picture of its own."""

    def colour(module: int) -> str:
        return MIXED if module < 0 else MODULE_COLOURS[module % len(MODULE_COLOURS)].light

    parts = [
        f'<line x1="{nest.left}" x2="{nest.width}" y1="{tick.at:.1f}" y2="{tick.at:.1f}" '
        f'stroke="#ddd7ca"/><text x="{nest.left - 6}" y="{tick.at + 4:.1f}" '
        f'text-anchor="end" fill="{SOFT}">{tick.text}</text>'
        for tick in nest.ticks
    ]
    parts += [f'<path d="{path}" fill="{colour(k)}"/>' for k, path in nest.wedges]
    parts += [
        f'<path d="{path}" fill="none" stroke="{colour(k)}" stroke-width="1.8"/>'
        for k, path in nest.branches
    ]
    for run in nest.runs:
        parts.append(
            f'<rect x="{run.start:.1f}" y="{nest.base + 3}" width="{run.length:.1f}" height="9" '
            f'fill="{colour(run.module)}"/>'
        )
        if run.length >= 18 and run.module >= 0:
            parts.append(
                f'<text x="{run.start + run.length / 2:.1f}" y="{nest.base + 28}" '
                f'text-anchor="middle" fill="{INK}">module {run.module}</text>'
            )
    return _svg(int(nest.width), int(nest.height), words, parts, MARGIN)


def _unit(place: tuple[int, int], name: str, colour: str) -> str:
    x, y = place
    return (
        f'<circle cx="{x}" cy="{y}" r="17" fill="{colour}"/><text x="{x}" y="{y + 5}" '
        f'text-anchor="middle" fill="#fff" font-weight="600">{name}</text>'
    )


def _svg(width: int, height: int, words: str, parts: list[str], left: int = 0) -> str:
    box = f"{-left} 0 {width + left} {height}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="14"><title>{words}</title>\n'
        f'<rect x="{-left}" width="{width + left}" height="{height}" fill="{PAPER}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def small() -> dict[Path, str]:
    """The pictures of the network by hand."""
    graph, tree = by_hand()
    return {
        IMAGES / "small-network.svg": network_picture(graph, tree),
        IMAGES / "small-cut-tree.svg": tree_picture(tree),
    }


def trained() -> dict[Path, str]:
    """The nest of a network that was trained apart."""
    torch.set_num_threads(1)
    trainer = Trainer.new(built_in_recipe("two-playgrounds-modular"))
    model = train(trainer)
    found = find_modules(trainer.units.graph(model))
    content = report_content(model, found, task=task_named("two-playgrounds").name)
    words = "The cut tree of a trained network as a nest: two modules join at the very top."
    return {IMAGES / "nest.svg": nest_picture(dendrogram(content), words)}


if __name__ == "__main__":
    made = small() | ({} if "small" in sys.argv[1:] else trained())
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
