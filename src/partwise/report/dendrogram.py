"""The cut tree as a dendrogram: single linkage over minimum cuts.

On a cut tree, the units that no cut cheaper than c separates are the pieces left when every
edge of value below c is removed. Adding the edges back from the heaviest on gives the nest.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.cuttree import CutTree
from partwise.report.content import ReportContent
from partwise.report.matrices import Run

MOST_LEAVES = 320
WIDTH, HEIGHT = 960.0, 400.0
LEFT, RIGHT, TOP, BASE, BOTTOM = 46.0, 6.0, 16.0, 352.0, 340.0
MOST_DECADES = 3.0  # cuts that are weaker by more than this are drawn at the top
TICK_GAP = 14.0


@dataclass(frozen=True, eq=False)
class Nest:
    """Binary merges of `n` units; node `n + i` is the i-th merge.

    Attributes:
        children: (n - 1, 2) nodes that each merge joins.
        cut: (n - 1,) minimum cut between them.
        module: (2n - 1,) module that a node lies wholly in, or -1.
        mean_module: (2n - 1,) mean module number of its units.
        size: (2n - 1,) number of its units.
    """

    children: NDArray[np.int64]
    cut: NDArray[np.float64]
    module: NDArray[np.int64]
    mean_module: NDArray[np.float64]
    size: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.cut) + 1


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Dendrogram:
    """What to draw.

    Attributes:
        branches: (module or -1, path data of its branches).
        wedges: (module or -1, path data of the subtrees that are folded up).
        runs: neighbouring leaves of one module.
        ticks: of the axis of cut values.
        folded: number of subtrees that are folded up.
        width, height, left, base: of the drawing, its plot and its base line.
    """

    branches: tuple[tuple[int, str], ...]
    wedges: tuple[tuple[int, str], ...]
    runs: tuple[Run, ...]
    ticks: tuple[Tick, ...]
    folded: int
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    base: float = BASE


def dendrogram(content: ReportContent, most_leaves: int = MOST_LEAVES) -> Dendrogram:
    """The dendrogram of a network's cut tree, folded up where it has too many leaves."""
    nest = nest_of(content.hierarchy.tree, content.hierarchy.labels)
    cut = nest.cut ** (1 / content.hierarchy.inflation)
    open_nodes = _opened(nest, most_leaves)
    leaves = _leaves(nest, open_nodes)
    x = _positions(nest, open_nodes, leaves)
    scale = CutScale.of(cut)
    y = scale.height(cut)
    return Dendrogram(
        _branches(nest, open_nodes, x, y),
        _wedges(nest, leaves, x, y),
        _leaf_runs(nest, leaves),
        scale.ticks(),
        sum(leaf >= nest.n for leaf in leaves),
    )


def nest_of(tree: CutTree, labels: NDArray[np.int64]) -> Nest:
    """Single linkage over the tree's minimum cuts, with each node's modules."""
    n = tree.n
    edges = np.flatnonzero(tree.parent >= 0)
    edges = edges[np.argsort(-tree.value[edges], kind="stable")]
    top, node = np.arange(n), np.arange(n)  # union-find, and the node that each root stands for
    children = np.zeros((n - 1, 2), np.int64)
    size, total = np.ones(2 * n - 1, np.int64), np.zeros(2 * n - 1)
    total[:n] = labels
    module = np.r_[labels, np.zeros(n - 1, np.int64)]
    for i, edge in enumerate(edges):
        a, b = _top(top, int(edge)), _top(top, int(tree.parent[edge]))
        left, right = node[a], node[b]
        children[i] = left, right
        size[n + i], total[n + i] = size[left] + size[right], total[left] + total[right]
        module[n + i] = module[left] if module[left] == module[right] else -1
        top[a], node[b] = b, n + i
    return Nest(children, tree.value[edges], module, total / size, size)


def _top(top: NDArray[np.int64], unit: int) -> int:
    while top[unit] != unit:
        top[unit] = top[top[unit]]
        unit = int(top[unit])
    return unit


def _opened(nest: Nest, most_leaves: int) -> set[int]:
    """Merges that are drawn: mixed ones before pure ones, weak cuts before strong ones."""
    opened = set[int]()
    heap = [_rank(nest, 2 * nest.n - 2)] if nest.n > 1 else []
    while heap and len(opened) < most_leaves - 1:
        *_, node = heapq.heappop(heap)
        opened.add(node)
        for child in nest.children[node - nest.n]:
            if child >= nest.n:
                heapq.heappush(heap, _rank(nest, int(child)))
    return opened


def _rank(nest: Nest, node: int) -> tuple[bool, float, int]:
    return bool(nest.module[node] >= 0), float(nest.cut[node - nest.n]), node


def _leaves(nest: Nest, opened: set[int]) -> list[int]:
    """Drawn leaves from left to right: low modules left, and small branches outside."""
    leaves, stack = list[int](), [2 * nest.n - 2]
    while stack:
        node = stack.pop()
        if node not in opened:
            leaves.append(node)
            continue
        a, b = sorted(map(int, nest.children[node - nest.n]), key=lambda c: _side(nest, c))
        stack += [b, a]
    return leaves


def _side(nest: Nest, node: int) -> tuple[float, int, int]:
    size = int(nest.size[node])
    return float(nest.mean_module[node]), -size if nest.module[node] % 2 else size, node


def _positions(nest: Nest, opened: set[int], leaves: list[int]) -> dict[int, float]:
    step = (WIDTH - LEFT - RIGHT) / len(leaves)
    x = {leaf: LEFT + (i + 0.5) * step for i, leaf in enumerate(leaves)}
    extent = {leaf: (at, at) for leaf, at in x.items()}
    for node in sorted(opened):  # children come before parents
        a, b = (extent[int(child)] for child in nest.children[node - nest.n])
        extent[node] = min(a[0], b[0]), max(a[1], b[1])
        x[node] = sum(extent[node]) / 2
    return x


@dataclass(frozen=True)
class CutScale:
    """Logarithmic scale of cuts, weak ones at the top; at most `MOST_DECADES` are shown.

    Attributes:
        strongest: the cut at the bottom.
        decades: how far the scale reaches below it.
        weaker: whether there are cuts beyond its end.
    """

    strongest: float
    decades: float
    weaker: bool

    @classmethod
    def of(cls, cut: NDArray[np.float64]) -> CutScale:
        """The scale for these cuts."""
        strongest, weakest = float(cut.max()), float(cut.min())
        if strongest <= 0:
            return cls(0.0, 1.0, False)
        reach = np.log10(strongest / weakest) if weakest > 0 else np.inf
        decades = float(np.clip(1.05 * reach, 0.5, MOST_DECADES))
        return cls(strongest, decades, bool(reach > decades))

    def height(self, cut: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vertical position of each cut."""
        if self.strongest <= 0:
            return np.full(len(cut), TOP)
        below = np.log10(np.maximum(cut / self.strongest, 10**-self.decades))
        return BOTTOM + below / self.decades * (BOTTOM - TOP)

    def ticks(self) -> tuple[Tick, ...]:
        """Round cuts on the scale."""
        if self.strongest <= 0:
            return (Tick(TOP, "0"),)
        top = np.log10(self.strongest)
        powers = 10.0 ** np.arange(np.floor(top - self.decades), top + 1e-9)
        marks = (1, 2, 5) if self.decades < 1.5 else (1,)
        cuts = np.outer(powers, marks).ravel()
        cuts = cuts[(cuts >= self.strongest * 10**-self.decades) & (cuts <= self.strongest)]
        ticks = [
            Tick(round(float(at), 1), f"{cut:.3g}")
            for at, cut in zip(self.height(cuts), cuts, strict=True)
        ]
        crowded = not ticks or ticks[0].at - TOP < TICK_GAP
        return (Tick(TOP, "weaker"), *ticks) if self.weaker and not crowded else tuple(ticks)


def _branches(
    nest: Nest, opened: set[int], x: dict[int, float], y: NDArray[np.float64]
) -> tuple[tuple[int, str], ...]:
    paths: dict[int, list[str]] = {}
    for node in sorted(opened):
        height = y[node - nest.n]
        for child in map(int, nest.children[node - nest.n]):
            foot = BASE if child < nest.n else y[child - nest.n]
            arm = f"M{x[node]:.1f} {height:.1f}H{x[child]:.1f}V{foot:.1f}"
            paths.setdefault(int(nest.module[child]), []).append(arm)
    return tuple((module, "".join(parts)) for module, parts in sorted(paths.items()))


def _wedges(
    nest: Nest, leaves: list[int], x: dict[int, float], y: NDArray[np.float64]
) -> tuple[tuple[int, str], ...]:
    half = 0.45 * (WIDTH - LEFT - RIGHT) / len(leaves)
    return tuple(
        (
            int(nest.module[leaf]),
            f"M{x[leaf]:.1f} {y[leaf - nest.n]:.1f}L{x[leaf] - half:.1f} {BASE}h{2 * half:.1f}Z",
        )
        for leaf in leaves
        if leaf >= nest.n
    )


def _leaf_runs(nest: Nest, leaves: list[int]) -> tuple[Run, ...]:
    step, runs = (WIDTH - LEFT - RIGHT) / len(leaves), list[Run]()
    for i, leaf in enumerate(leaves):
        module = int(nest.module[leaf])
        if runs and runs[-1].module == module:
            last = runs.pop()
            runs.append(Run(module, last.start, round(last.length + step, 2)))
        else:
            runs.append(Run(module, round(LEFT + i * step, 2), round(step, 2)))
    return tuple(runs)
