"""What a modular language model can do: whole, without its interface, without a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.capability.idle_interface import (
    CausalInterface,
    Effort,
    InterfaceMasks,
    LossOf,
    added_losses,
)
from partwise.graph import UnitGraph, UnitMap
from partwise.graph.activity import logits_of
from partwise.interventions.masks import masked_weights
from partwise.modules import newman_q, search_modules
from partwise.modules.scores import interface_frac, purity
from partwise.tasks.streams import Corpus

FOUND_MIN_GAIN = 0.03
FOUND_INFLATIONS = (1.0, 2.0, 4.0, 8.0, 16.0)
FOUND_MIN_CONTRAST = 0.7
SEARCHED, AT_ONCE = 128, 64
"""Sequences that the worst part of an interface is looked for on, and in one forward pass."""
WRITES = ("token", "head", "neuron")


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean next-token cross-entropy in nats, of (b, t, vocabulary) logits and (b, t) targets."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def stream_losses(
    model: nn.Module,
    corpus: Corpus,
    context: int,
    weights: Mapping[str, Tensor] | None = None,
    rounds: int = 20,
    size: int = 64,
) -> dict[str, float]:
    """Held-out loss of each stream in nats per token.

    Args:
        model: the network; maps (b, t) ids to logits.
        corpus: the text.
        context: tokens per sequence.
        weights: parameters to put in place of the model's, such as masked ones.
        rounds: batches per stream; the same ones each time.
        size: sequences per batch.
    """
    losses = {stream.name: 0.0 for stream in corpus.streams}
    for place, stream in enumerate(corpus.streams):
        for i in range(rounds):
            rng = np.random.default_rng((place, i))
            ids = stream.sequences("final", size, context + 1, rng)
            output = torch.func.functional_call(model, dict(weights or {}), (ids[:, :-1],))
            logits = logits_of(output)
            losses[stream.name] += token_loss(logits, ids[:, 1:]).item() / rounds
    return losses


def without_interface(
    model: nn.Module, units: UnitMap, labels: Tensor, pair: tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """The weights with every entry between modules (or between two of them) set to 0."""
    with torch.no_grad():
        return masked_weights(model, units, labels, pair)


def causal_language_interface(
    model: nn.Module,
    units: UnitMap,
    labels: Tensor,
    corpus: Corpus,
    context: int,
    sequences: int = 512,
    effort: Effort | None = None,
) -> CausalInterface:
    """Held-out loss in nats per token added by removing the interfaces: all, parts, the worst.

    The worst mask is looked for on 128 sequences of the split `claims`, from all streams alike. All
    losses are those on sequences of `final`, which no mask was fitted to, by the mean over streams.

    Args:
        model: the network; maps (b, t) ids to logits.
        units: its unit map.
        labels: (n,) module of each unit.
        corpus: the text.
        context: tokens per sequence.
        sequences: how many the losses are reported on.
        effort: how hard the worst mask is looked for.
    """
    searched = corpus.batch("claims", SEARCHED, context + 1, (SEARCHED,))
    held = corpus.batch("final", sequences, context + 1, (SEARCHED,))

    def loss_on(ids: Tensor) -> LossOf:
        pieces = ids.to(next(model.parameters()).device).split(AT_ONCE)
        return lambda run: torch.stack([
            token_loss(logits_of(run(piece[:, :-1])), piece[:, 1:]) * (len(piece) / len(ids))
            for piece in pieces
        ]).sum()  # fmt: skip

    masks = InterfaceMasks(model, units, labels)
    return added_losses(masks, loss_on(searched), loss_on(held), effort)


def without_module(
    model: nn.Module, units: UnitMap, labels: Tensor, module: int
) -> dict[str, Tensor]:
    """The weights with all that a module's tokens, heads and neurons write set to 0.

    Biases, positions and what outputs read are left, so the other modules work on.
    """
    kinds = np.repeat([g.kind for g in units.groups], [len(g) for g in units.groups])
    silent = torch.from_numpy(np.isin(kinds, WRITES)) & (labels == module)
    weights: dict[str, Tensor] = {}
    for block in units.blocks:
        weight = weights.get(block.parameter, model.get_parameter(block.parameter).detach())
        keep = (~silent[block.senders]).to(weight)
        reads_tokens = block.applied_by  # a tied embedding is not silenced where it reads
        if not reads_tokens:
            weights[block.parameter] = weight * (keep[:, None] if block.transposed else keep)
    return weights


@dataclass(frozen=True)
class Apart:
    """How far a language model has come apart along a partition.

    Attributes:
        modules: number of modules.
        token_purity: share of the tokens' capacity that lies in a module of mainly their stream.
        interface_frac: share of all capacity between modules.
        losses: stream -> held-out loss in nats per token.
        cut_losses: the same with all weights between modules removed.
        lesion_losses: per module, the same with that module silenced.
        sizes: units per module.
    """

    modules: int
    token_purity: float
    interface_frac: float
    losses: dict[str, float]
    cut_losses: dict[str, float]
    lesion_losses: tuple[dict[str, float], ...]
    sizes: tuple[int, ...]

    @property
    def loss(self) -> float:
        """Mean held-out loss over streams."""
        return float(np.mean(list(self.losses.values())))

    @property
    def causal_interface_nats(self) -> float:
        """Mean loss that removing the interface adds."""
        return float(np.mean(list(self.cut_losses.values()))) - self.loss

    @property
    def worst_spill_frac(self) -> float:
        """Largest relative loss increase of a stream under a lesion, its worst lesion left out.

        Each stream has the module it needs most; silencing any other should leave it alone.
        """
        spill = 0.0
        for name, loss in self.losses.items():
            hurt = sorted(lesion[name] for lesion in self.lesion_losses)
            spill = max([spill, *(each / loss - 1 for each in hurt[:-1])])
        return spill


def found_modules(graph: UnitGraph) -> NDArray[np.int64]:
    """(n,) modules that a language model's graph shows by itself.

    The cut tree says how many and where; single units on the wrong side of a cut are then moved
    (see `refined`), since one token there makes the interface look as if it carried much.
    """
    labels = search_modules(
        graph, FOUND_MIN_GAIN, FOUND_INFLATIONS, min_contrast=FOUND_MIN_CONTRAST
    ).labels
    return refined(graph, labels)


def graph_pull(graph: UnitGraph, labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(n, k) capacity between each unit and the units of each module, -1 being none."""
    out = np.zeros((graph.n, k + 1))
    np.add.at(out, (graph.sources, labels[graph.targets]), graph.capacities)
    np.add.at(out, (graph.targets, labels[graph.sources]), graph.capacities)
    return out[:, :k]


def refined(graph: UnitGraph, labels: NDArray[np.int64], rounds: int = 20) -> NDArray[np.int64]:
    """A partition of no lower Newman's Q, with single units moved to the module that wants them.

    As the local phase of Blondel et al. (2008), begun from `labels`; no module is emptied.

    Args:
        graph: capacities.
        labels: (n,) modules to begin from.
        rounds: passes over the units at most.
    """
    begun, labels, k = labels, labels.copy(), int(labels.max()) + 1
    degree, total = graph.degrees(), graph.degrees().sum()
    for _ in range(rounds if k > 1 else 0):
        volume, size = np.bincount(labels, degree, k), np.bincount(labels, minlength=k)
        inside = graph_pull(graph, labels, k)
        moved = 0
        for unit in np.flatnonzero(degree):
            own = labels[unit]
            left = volume - degree[unit] * (np.arange(k) == own)
            best = int((inside[unit] - degree[unit] * left / total).argmax())
            if best != own and size[own] > 1:
                gain = inside[unit, best] - inside[unit, own]
                if gain <= degree[unit] * (left[best] - left[own]) / total + 1e-12:
                    continue
                labels[unit], moved = best, moved + 1
                volume[own] -= degree[unit]
                volume[best] += degree[unit]
                size[own] -= 1
                size[best] += 1
        if not moved:
            break
    return labels if newman_q(graph, labels) >= newman_q(graph, begun) else begun


@torch.no_grad()
def interface_by_matrix(model: nn.Module, units: UnitMap, labels: Tensor) -> dict[str, float]:
    """Share of each weight matrix that joins two modules, by the matrix's name.

    Every row counts 1, as in `share_graph`. A tied embedding has an entry as a table and one as
    the last layer.
    """
    found = {}
    for block in units.blocks:
        matrix = units.magnitude(model, block)
        matrix = matrix.T if block.transposed else matrix  # receivers x senders
        share = matrix / matrix.sum(1, keepdim=True).clamp_min(1e-30)
        crosses = labels[block.receivers][:, None] != labels[block.senders]
        name = f"{block.parameter} as {block.applied_by}" if block.applied_by else block.parameter
        found[name] = float((share * crosses).sum() / share.sum())
    return found


def come_apart(
    model: nn.Module,
    units: UnitMap,
    labels: NDArray[np.int64],
    graph: UnitGraph,
    corpus: Corpus,
    context: int,
    rounds: int = 20,
) -> Apart:
    """Scores a partition by capacity and by function.

    Args:
        model: the network.
        units: its unit map.
        labels: (n,) the partition.
        graph: capacities that purity and interface are measured with.
        corpus: held-out text; its `truth` says which tokens belong together.
        context: tokens per sequence.
        rounds: batches per stream that each loss is measured over.
    """
    chosen = torch.from_numpy(labels)
    known = np.flatnonzero(corpus.truth >= 0)
    places, truth = [], []
    for group in units.groups:
        if group.kind == "token":
            places.append(group.start + known)
            truth.append(corpus.truth[known])
    where, what = np.concatenate(places), np.concatenate(truth)
    lesions = tuple(
        stream_losses(model, corpus, context, without_module(model, units, chosen, k), rounds)
        for k in range(int(labels.max()) + 1)
    )
    return Apart(
        modules=int(labels.max()) + 1,
        token_purity=purity(graph, labels, where, what) if len(where) else float("nan"),
        interface_frac=interface_frac(graph, labels),
        losses=stream_losses(model, corpus, context, None, rounds),
        cut_losses=stream_losses(
            model, corpus, context, without_interface(model, units, chosen), rounds
        ),
        lesion_losses=lesions,
        sizes=tuple(np.bincount(labels).tolist()),
    )
