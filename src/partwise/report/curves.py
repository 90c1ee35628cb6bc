"""Training curves, plain against modular."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from partwise.report.dendrogram import Tick
from partwise.report.words import number, percent

WIDTH, HEIGHT = 290.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 36.0, 58.0, 10.0, 28.0
MOST_POINTS = 240
Lines = dict[str, list[tuple[float, float]]]
LABEL_GAP = 13.0
HELD = "held_"
"""What names of metrics that hold the held-out loss of one stream begin with."""
PANELS = (
    (HELD, "Held-out loss", "nats per token, stream by stream"),
    ("claims_ce", "Loss on the claims split", "in training; the table has that of the final split"),
    ("interface_frac", "Interface", "share of capacity between modules, once there are any"),
    ("modules", "Modules", "how many modules there are on the way"),
)


@dataclass(frozen=True)
class Curve:
    """A run's line and its label."""

    run: str
    style: str
    path: str
    end_x: float
    end_y: float
    label_y: float
    last: str


@dataclass(frozen=True)
class CurvePanel:
    """One quantity against the training step."""

    title: str
    words: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    base: float = HEIGHT - BOTTOM


def curve_panels(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[CurvePanel]:
    """A panel for every quantity that at least one run has logged."""
    panels = []
    for key, title, words in PANELS:
        lines = _stream_lines(histories) if key == HELD else _lines(histories, key)
        if lines:
            panels.append(_panel(title, words, lines, percent if "frac" in key else number))
    return panels


def _lines(histories: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> Lines:
    lines = {run: _points(rows, key) for run, rows in histories.items()}
    return {run: points for run, points in lines.items() if points}


def _stream_lines(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Lines:
    """A line per run and stream, named by the stream where there is one run."""
    lines: Lines = {}
    for run, rows in histories.items():
        for key in dict.fromkeys(key for row in rows for key in row if key.startswith(HELD)):
            stream = key.removeprefix(HELD)
            if points := _points(rows, key):
                lines[stream if len(histories) == 1 else f"{run} {stream}"] = points
    return lines


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    points = [
        (float(row["step"]), float(row[key]))
        for row in rows
        if _finite(row.get("step")) and _finite(row.get(key))
    ]
    every = -(-len(points) // MOST_POINTS) if points else 1
    return points[:-1:every] + points[-1:]


def _panel(title: str, words: str, lines: Lines, show: Callable[[float], str]) -> CurvePanel:
    last_step = max(points[-1][0] for points in lines.values()) or 1.0
    highest = max(value for points in lines.values() for _, value in points)
    y_values = nice_ticks(highest, whole=title == "Modules")
    x, y = _Scale(LEFT, WIDTH - RIGHT, last_step), _Scale(HEIGHT - BOTTOM, TOP, y_values[-1])
    placed = {run: [(x.at(step), y.at(v)) for step, v in points] for run, points in lines.items()}
    styles = _styles(list(lines))
    labels = _spread({run: points[-1][1] for run, points in placed.items()})
    return CurvePanel(
        title,
        words,
        tuple(
            Curve(
                run, styles[run], _path(points), *points[-1], labels[run], show(lines[run][-1][1])
            )
            for run, points in placed.items()
        ),
        tuple(Tick(x.at(step), f"{step:,.0f}") for step in (0.0, last_step / 2, last_step)),
        tuple(Tick(y.at(value), show(value)) for value in y_values),
    )


class _Scale(NamedTuple):
    """Where values from 0 to `top` sit between two positions."""

    zero: float
    end: float
    top: float

    def at(self, value: float) -> float:
        return round(self.zero + max(value, 0.0) / self.top * (self.end - self.zero), 1)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def nice_ticks(top: float, whole: bool = False) -> list[float]:
    """Ticks from 0 to the first round number at or above `top`, whole numbers if asked for.

    >>> nice_ticks(1.7), nice_ticks(2, whole=True)
    ([0.0, 0.5, 1.0, 1.5, 2.0], [0.0, 1.0, 2.0])
    """
    if top <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(top / 4))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if top / (power * m) <= 5)
    step = max(1.0, math.ceil(step)) if whole else step
    return [round(i * step, 12) for i in range(math.ceil(top / step - 1e-9) + 1)]


def _spread(wanted: dict[str, float]) -> dict[str, float]:
    """Label positions from top to bottom, at least `LABEL_GAP` apart."""
    placed, last = dict[str, float](), -math.inf
    for run, y in sorted(wanted.items(), key=lambda item: item[1]):
        last = max(y, last + LABEL_GAP)
        placed[run] = last
    over = max(0.0, last - (HEIGHT - BOTTOM))
    return {run: round(y - over, 1) for run, y in placed.items()}


def _styles(runs: Sequence[str]) -> dict[str, str]:
    others = [run for run in runs if not _is_plain(run)]
    plain = {run: "plain" for run in runs if _is_plain(run)}
    return plain | {run: f"line{i % 3}" for i, run in enumerate(others)}


def _is_plain(run: str) -> bool:
    return run.partition(" ")[0] == "plain"


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
