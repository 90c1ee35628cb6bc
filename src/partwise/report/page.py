"""The page: every section's view of the content, None where there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partwise.report.cards import Card, cards_of
from partwise.report.content import ReportContent
from partwise.report.curves import CurvePanel, curve_panels
from partwise.report.dendrogram import Dendrogram, dendrogram
from partwise.report.findings import Finding, findings_of
from partwise.report.headline import Headline, headline
from partwise.report.matrices import MatrixFigure, MatrixLayer, matrix_figures, matrix_layers
from partwise.report.module_map import (
    LayerBar,
    ModuleMap,
    TokenList,
    layer_bars,
    module_map,
    tokens_by_module,
)

MOST_STROKES = 720
LAYER_GAP = 16.0
STROKE_SHARE = 0.72


@dataclass(frozen=True)
class Page:
    """What the templates are given; `layers`, `held` and `tokens` are a language model's."""

    content: ReportContent
    strokes: tuple[tuple[int, str], ...]
    headline: Headline
    weights: Sequence[MatrixFigure]
    layers: Sequence[MatrixLayer]
    map: ModuleMap
    held: Sequence[LayerBar]
    tokens: dict[int, TokenList]
    tree: Dendrogram | None
    training: Sequence[CurvePanel]
    modules: Sequence[Card]
    interfaces: Sequence[Card]
    audit: Sequence[Finding]
    names: dict[int, str]

    @property
    def sections(self) -> list[tuple[str, str]]:
        """(id, title) of the sections that are shown, in order."""
        shown = (
            ("summary", "In short", True),
            ("weights", "The weights, sorted", self.weights or self.layers),
            ("map", "The module map", True),
            ("tree", "The cut tree", self.tree),
            ("training", "How it came apart", self.training),
            ("modules", "The modules", self.modules),
            ("interfaces", "The interfaces", self.interfaces),
            ("audit", "The audit", self.audit),
            ("method", "How this was measured", True),
        )
        return [(key, title) for key, title, content in shown if content]

    def number_of(self, key: str) -> int:
        """Position of a section, from 1."""
        return 1 + [shown for shown, _ in self.sections].index(key)


def page_of(content: ReportContent) -> Page:
    """Everything a report's templates need."""
    modules, of_text = cards_of(content.explained, "module"), content.of_text
    return Page(
        content=content,
        strokes=_strokes(content),
        headline=headline(content),
        weights=() if of_text else matrix_figures(content.weights),
        layers=matrix_layers(content.weights) if of_text else (),
        map=module_map(content),
        held=layer_bars(content) if of_text else (),
        tokens=tokens_by_module(content) if of_text else {},
        tree=dendrogram(content) if content.hierarchy.tree.n > 1 else None,
        training=curve_panels(content.histories),
        modules=modules,
        interfaces=cards_of(content.explained, "interface"),
        audit=findings_of(content.audits, content.explained),
        names={card.modules[0]: card.name for card in modules if card.description},
    )


def _strokes(content: ReportContent) -> tuple[tuple[int, str], ...]:
    """(module, path data) of the strip of all units, 1000 by 60, with a gap between layers."""
    groups = [group for group in content.graph.groups if len(group)]
    step = -(-content.graph.n // MOST_STROKES)
    shown = [content.hierarchy.labels[g.start : g.stop : step] for g in groups]
    pitch = (1000 - LAYER_GAP * (len(shown) - 1)) / sum(map(len, shown))
    paths: dict[int, list[str]] = {}
    for layer, modules in enumerate(shown):
        before = LAYER_GAP * layer + pitch * sum(map(len, shown[:layer]))
        for k, module in enumerate(modules):
            width = STROKE_SHARE * pitch
            stroke = f"M{before + k * pitch:.2f} 0h{width:.2f}v60h-{width:.2f}z"
            paths.setdefault(int(module), []).append(stroke)
    return tuple((module, "".join(parts)) for module, parts in sorted(paths.items()))
