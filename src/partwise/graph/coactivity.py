"""Which units of a network are active together: evidence on modules that weights do not hold.

Weights join what a unit reads to what it feeds. Two parts of one function that share no unit, such
as the detectors of two classes, have little weight between them; but what they say depends on
each other, while parts that serve independent questions are independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.graph.activity import at_sites, channel_of, per_channel, reading_inputs
from partwise.graph.unit_graph import UnitGraph
from partwise.graph.unit_map import UnitMap, WeightBlock

LEAST_CORRELATION = 0.15
AT_ONCE = 4096


@torch.no_grad()
def unit_activity(
    model: nn.Module, units: UnitMap, run: Callable[[], object]
) -> NDArray[np.float32]:
    """(n, s) mean activity of each unit on each sample that passes through the model in `run`.

    Inputs and hidden units are seen where weights read them, outputs where weights write them;
    means are over the positions of a feature map. Units that grouped weights read stay 0.
    """
    seen: dict[int, list[Tensor]] = {}
    written: dict[int, list[Tensor]] = {}

    def see(position: int, block: WeightBlock, x: Tensor) -> None:
        channel = channel_of(model.get_submodule(block.module))
        seen.setdefault(position, []).append(per_channel(x.detach(), channel))

    is_output = torch.zeros(units.n, dtype=torch.bool)
    is_output[units.units_of_kind("output")] = True

    def write(position: int, block: WeightBlock, layer: nn.Module, output: Tensor) -> None:
        if is_output[block.receivers.flatten()[0]]:
            values = per_channel(output.detach(), channel_of(layer))
            written.setdefault(position, []).append(values)

    with at_sites(model, units, after=write), reading_inputs(model, units, see):
        run()
    activity = _gathered(units, seen, lambda block: block.senders)
    return activity + _gathered(units, written, lambda block: block.receivers)


def _gathered(
    units: UnitMap, parts: dict[int, list[Tensor]], ends: Callable[[WeightBlock], Tensor]
) -> NDArray[np.float32]:
    """(n, s) activity of the units at one end of each block; later blocks see the same units."""
    activity = torch.zeros(units.n, 0)
    for position, values in parts.items():
        own, x = ends(units.blocks[position]), torch.cat(values).float().cpu()
        if own.dim() > 1:
            continue
        if not activity.shape[1]:
            activity = torch.zeros(units.n, len(x))
        here, place, entries = own.unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(here), len(x)).index_add_(0, place, x.T)
        activity[here] = sums / entries[:, None]
    found: NDArray[np.float32] = activity.numpy()
    return found


def with_coactivity(
    graph: UnitGraph,
    activity: NDArray[np.float32],
    weight: float = 1.0,
    most_edges: int = 2**17,
    seed: int = 0,
) -> UnitGraph:
    """A graph with edges between units that are active together, beside its own.

    Such an edge has the squared correlation of the two activities as its capacity, times the
    root of the product of the units' degrees, so that units that carry nothing gain nothing.

    Args:
        graph: capacities from weights.
        activity: (n, s) from `unit_activity`.
        weight: what these edges have together, as a multiple of the graph's total capacity.
        most_edges: larger networks have about this many pairs compared, drawn at random.
        seed: seed of that draw.
    """
    if activity.shape[1] < 2 or weight == 0:
        return graph
    units = np.flatnonzero((graph.degrees() > 0) & (activity.std(1) > 1e-6))
    z = activity[units] - activity[units].mean(1, keepdims=True)
    z /= z.std(1, keepdims=True)
    u, v, correlation = _correlations(z, most_edges, np.random.default_rng(seed))
    joined = np.abs(correlation) > max(LEAST_CORRELATION, 4 / np.sqrt(z.shape[1]))
    if not joined.any():
        return graph
    u, v, degree = units[u[joined]], units[v[joined]], graph.degrees()
    capacity = correlation[joined].astype(np.float64) ** 2 * np.sqrt(degree[u] * degree[v])
    capacity *= weight * float(graph.capacities.sum()) / capacity.sum()
    return UnitGraph.from_edges(
        graph.n,
        np.r_[graph.sources, u],
        np.r_[graph.targets, v],
        np.r_[graph.capacities, capacity],
        graph.groups,
    )


def _correlations(
    z: NDArray[np.float32], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Ends u < v and correlations of all pairs of (n, s) standard scores, or of about `most`."""
    n, samples = z.shape
    if n * (n - 1) // 2 <= most:
        u, v = np.triu_indices(n, 1)
        own = torch.from_numpy(z)  # whose threads are set by torch, as all others here
        return u, v, (own @ own.T).numpy()[u, v] / samples
    ends = np.sort(rng.integers(0, n, (most, 2)), 1)
    u, v = np.divmod(np.unique(ends[:, 0] * n + ends[:, 1]), n)
    u, v = u[u < v], v[u < v]
    parts = (slice(start, start + AT_ONCE) for start in range(0, len(u), AT_ONCE))
    return u, v, np.concatenate([(z[u[p]] * z[v[p]]).mean(1) for p in parts])
