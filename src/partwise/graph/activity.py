"""What flows through a transformer's weights: input scales, usage, and capacities from both.

Weights alone depend on a gauge and, early in training, show nothing. A *contribution share* is
the part of a unit's input that another unit provides; *co-usage* says which units are used in the
same sequences. Both are measured with hooks on the layers that apply the weights.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from partwise.errors import GraphError, UnreadableModelError
from partwise.graph.unit_graph import UnitGraph, UnitGroup
from partwise.graph.unit_map import UnitMap, WeightBlock, sampled

Capacity = Literal["weight", "share", "attribution", "co-usage"]
CAPACITIES: tuple[Capacity, ...] = get_args(Capacity)
MIN_CORRELATION = 0.12
TOKENS_AT_ONCE = 32_768
"""Tokens that usage is measured over in one forward pass, at most."""
LOGITS_AT_ONCE = 2**26
"""Logits in one forward pass, unless one sequence has more."""
NO_TARGET = -100
WATCHED = 4096
"""Tokens that input scales are measured over in one step, at most."""


def in_single_precision(model: nn.Module) -> nn.Module:
    """`model`, or a copy in float32 where its parameters are of another precision."""
    if all(parameter.dtype == torch.float32 for parameter in model.parameters()):
        return model
    return copy.deepcopy(model).float()


@contextlib.contextmanager
def removing(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Removes hooks when what is inside has ended, however it ends."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Has a model in evaluation mode; then each layer is in its own again, however it ends."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def per_channel(x: Tensor, channel: int = 1) -> Tensor:
    """(b, c) mean over the positions of (b, c, ...), or of (b, ..., c) with `channel` -1."""
    if x.dim() == 2:
        return x
    return x.flatten(2).mean(2) if channel == 1 else x.flatten(1, -2).mean(1)


def channel_of(layer: nn.Module) -> int:
    """The dimension of channels in what a layer reads and writes."""
    return 1 if isinstance(layer, nn.modules.conv._ConvNd) else -1


Site = Callable[[int, WeightBlock, nn.Module, Tensor], Tensor | None]
"""Position of a block, the block, its layer and a tensor -> what to put in the tensor's place."""


@contextlib.contextmanager
def at_sites(
    model: nn.Module, units: UnitMap, before: Site | None = None, after: Site | None = None
) -> Iterator[None]:
    """Calls functions where layers apply the weights of blocks, each at its own call.

    A layer that is called several times in one run of the model has a block for each call.

    Args:
        model: the network.
        units: its unit map.
        before: is given what the layer reads.
        after: is given what it writes.

    Raises:
        UnreadableModelError: if a weight is applied where no hook sees it.
    """
    layers: dict[str, list[tuple[int, WeightBlock]]] = {}
    for position, block in enumerate(units.blocks):
        refuse_hidden(block)
        layers.setdefault(block.module, []).append((position, block))
    calls: dict[str, int] = {}
    handles = [model.register_forward_pre_hook(lambda *_: calls.clear(), prepend=True)]

    def here(name: str) -> list[tuple[int, WeightBlock]]:
        """The blocks of the call that a layer is in."""
        blocks, call = layers[name], calls[name]
        return blocks if len(blocks) == 1 else [each for each in blocks if each[1].call == call]

    for name in layers:

        def enter(layer: nn.Module, inputs: tuple[Any, ...], name: str = name) -> Any:
            calls[name] = calls.get(name, -1) + 1
            x = inputs[0]
            for position, block in here(name) if before else ():
                assert before is not None
                changed = before(position, block, layer, x)
                x = x if changed is None else changed
            return None if x is inputs[0] else (x, *inputs[1:])

        def leave(layer: nn.Module, _: Any, output: Tensor, name: str = name) -> Any:
            for position, block in here(name) if after else ():
                assert after is not None
                changed = after(position, block, layer, output)
                output = output if changed is None else changed
            return output

        layer = model.get_submodule(name)
        handles.append(layer.register_forward_pre_hook(enter))
        if after is not None:
            handles.append(layer.register_forward_hook(leave))
    with removing(handles):
        yield


def refuse_hidden(block: WeightBlock) -> None:
    """Stops at a weight that is applied where no hook sees it.

    Raises:
        UnreadableModelError: naming the weight.
    """
    if not block.hookable:
        raise UnreadableModelError(
            f"'{block.parameter}' is applied inside '{block.module or 'the model'}', where no hook "
            "sees what it reads; partwise.graph.written_out gives a copy with layers of its own"
        )


@contextlib.contextmanager
def reading_inputs(
    model: nn.Module, units: UnitMap, see: Callable[[int, WeightBlock, Tensor], None]
) -> Iterator[None]:
    """Calls `see(position, block, input)` on what every layer with a weight block reads."""
    with at_sites(model, units, lambda at, block, _, x: see(at, block, x.detach())):
        yield


@contextlib.contextmanager
def silenced(model: nn.Module, units: UnitMap, silent: Tensor) -> Iterator[None]:
    """What heads and neurons write is not read, in the sequences where they are silent.

    Args:
        model: the network.
        units: its unit map.
        silent: (b, n) bool, for every sequence of the batches inside. Residual channels and
            tokens are left alone.
    """
    heard: dict[int, Tensor] = {}
    for position, block in enumerate(units.blocks):
        kind = next(g.kind for g in units.groups if g.start <= block.senders[0] < g.stop)
        if kind in ("head", "neuron"):
            heard[position] = ~silent[:, None, block.senders.to(silent.device)]

    def hush(position: int, block: WeightBlock, layer: nn.Module, x: Tensor) -> Tensor | None:
        return x * heard[position].to(x) if position in heard else None

    with at_sites(model, units, hush):
        yield


class InputScales:
    """Running root mean square of what each weight tensor reads, per input.

    Tokens of an embedding table count alike, however rare.

    Attributes:
        squares: per weight block (inputs,) running mean square.
    """

    def __init__(self, model: nn.Module, units: UnitMap, keep: float = 0.98):
        self.model, self.units, self.keep = model, units, keep
        self.squares: list[Tensor] = [torch.ones(len(block.senders)) for block in units.blocks]
        self.seen = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Takes the forward passes inside into account."""
        with reading_inputs(self.model, self.units, self._see):
            yield
        self.seen = True

    def __getitem__(self, position: int) -> Tensor:
        """(inputs,) root mean square of what a weight block reads."""
        return (self.squares[position] + 1e-8).sqrt()

    @torch.no_grad()
    def _see(self, position: int, block: WeightBlock, x: Tensor) -> None:
        if not x.dtype.is_floating_point:
            return
        rows = x.flatten(0, -2)
        now = rows[:: -(-len(rows) // WATCHED)].float().square().mean(0)
        old = self.squares[position].to(now)
        self.squares[position] = old * self.keep + now * (1 - self.keep) if self.seen else now


@torch.no_grad()
def share_graph(
    model: nn.Module,
    units: UnitMap,
    scales: InputScales | None,
    most_edges: int | None = None,
) -> UnitGraph:
    """Capacities that are shares of what a unit reads; every row of every matrix sums to 1.

    So no matrix hides behind a larger one: embeddings count as much as what MLPs write.

    Args:
        model: the network.
        units: its unit map.
        scales: what the weights read; None takes every input's scale as 1, so that the weights
            alone decide (gains of normalisations folded in).
        most_edges: networks with more weights are `sampled` to about this many edges.
    """
    shares = list(share_matrices(model, units, scales))
    if most_edges is not None and sum(matrix.numel() for matrix in shares) > most_edges:
        shares = sampled(shares, most_edges)
    return _graph_of(units, shares)


@torch.no_grad()
def share_matrices(
    model: nn.Module, units: UnitMap, scales: InputScales | None
) -> Iterator[Tensor]:
    """Per block the (receivers, senders) float64 shares that `share_graph` is made of."""
    parameters = dict(model.named_parameters())
    for i, block in enumerate(units.blocks):
        if scales is None:
            matrix = units.magnitude(model, block).double()
        else:
            scale = scales[i].double()
            matrix = parameters[block.parameter].detach().abs().double()
            matrix = matrix * (scale[:, None] if block.transposed else scale)
        matrix = matrix.T if block.transposed else matrix  # receivers x senders
        yield matrix / matrix.sum(1, keepdim=True).clamp_min(1e-30)


def scales_on(model: nn.Module, units: UnitMap, ids: Tensor) -> InputScales:
    """What the weights read over (d, t) token ids."""
    scales = InputScales(model, units)
    with scales.watching(), torch.no_grad():
        for part in _parts(model, ids)[:1]:
            model(part)
    return scales


def _graph_of(units: UnitMap, capacities: Sequence[Tensor]) -> UnitGraph:
    """The graph of (receivers, senders) capacities of each block; those of a pair add up."""
    keys, values = [], []
    for block, capacity in zip(units.blocks, capacities, strict=True):
        rows = block.receivers[:, None].expand(capacity.shape)
        columns = block.senders[None].expand(capacity.shape)
        keep = (capacity > 0) & (rows != columns)
        low, high = torch.minimum(rows, columns)[keep], torch.maximum(rows, columns)[keep]
        keys.append((low * units.n + high).numpy())
        values.append(capacity[keep].numpy())
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    summed = np.bincount(inverse, np.concatenate(values))
    return UnitGraph.from_edges(units.n, unique // units.n, unique % units.n, summed, units.groups)


def attribution_graph(model: nn.Module, units: UnitMap, sequences: Tensor) -> UnitGraph:
    """Capacities E|a_i w_ij g_j|: how much a weight matters to the next-token loss, at first order.

    a_i is what unit j reads from unit i, g_j the gradient of the loss by what enters unit j, and
    the mean is over the tokens of the sequences: w_ij times its own gradient, token by token.
    Each matrix is scaled so that its total is its number of rows, as in `share_graph`, so that
    matrices compare. Rows are not: one that no loss depends on has no capacity. (Molchanov et
    al., 2017, take the same first-order term, for whole channels.)

    Args:
        model: the network; gradients of its parameters are left alone.
        units: its unit map.
        sequences: (s, t) token ids, on the model's device.
    """
    sums = [torch.zeros(len(b.receivers), len(b.senders)) for b in units.blocks]
    for part in _parts(model, sequences):
        _add_sensitivities(model, units, part, sums)
    scaled = []
    for block, total in zip(units.blocks, sums, strict=True):
        weight = model.get_parameter(block.parameter).detach().abs().cpu().double()
        capacity = (weight.T if block.transposed else weight) * total
        scaled.append(capacity * len(capacity) / capacity.sum().clamp_min(1e-30))
    return _graph_of(units, scaled)


def _add_sensitivities(
    model: nn.Module, units: UnitMap, sequences: Tensor, sums: list[Tensor]
) -> None:
    """Adds the sum over tokens of |a_i g_j| to each block's (receivers, senders) matrix."""
    inputs: list[Tensor] = [torch.empty(0)] * len(sums)
    outputs: list[Tensor] = [torch.empty(0)] * len(sums)

    def see(position: int, block: WeightBlock, x: Tensor) -> None:
        inputs[position] = x

    def hook(position: int, module: nn.Module, _: Any, output: Tensor) -> None:
        outputs[position] = output if output.requires_grad else output.requires_grad_()

    layers = [model.get_submodule(block.module) for block in units.blocks]
    handles = [layer.register_forward_hook(partial(hook, i)) for i, layer in enumerate(layers)]
    with removing(handles), torch.enable_grad(), reading_inputs(model, units, see):
        logits = logits_of(model(sequences))
        targets = sequences[:, 1:].flatten()
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets, reduction="sum")
        grads = torch.autograd.grad(loss, outputs)
    for total, x, grad in zip(sums, inputs, grads, strict=True):
        size = grad.flatten(0, -2).float().abs().cpu()  # (tokens, receivers)
        if x.dtype.is_floating_point:
            total += size.T @ x.flatten(0, -2).float().abs().cpu()
        else:  # a table is read by one-hot tokens
            total.index_add_(1, x.flatten().cpu(), size.T)


def capacity_graph(
    model: nn.Module, units: UnitMap, kind: Capacity, sequences: Tensor | None = None
) -> UnitGraph:
    """A transformer's graph under one of the capacities that compare between its matrices.

    Args:
        model: the network.
        units: its unit map.
        kind: `"weight"`, |w| in shares of each row; `"share"`, the same of |w| times what is
            read (`share_graph`); `"attribution"` (`attribution_graph`); `"co-usage"`
            (`co_usage_graph`), which is no function of single weights.
        sequences: (s, t) token ids that all but `"weight"` are measured over.

    Raises:
        GraphError: for a kind that needs sequences and has none, or an unknown one.
    """
    if kind == "weight":
        return share_graph(model, units, None)
    if sequences is None or kind not in CAPACITIES:
        raise GraphError(
            f"no graph of '{kind}' {'without' if sequences is None else 'with'} sequences; "
            f"capacities are {', '.join(CAPACITIES)}, and all but weight need sequences"
        )
    if kind == "attribution":
        return attribution_graph(model, units, sequences)
    if kind == "co-usage":
        return co_usage_graph(unit_usage(model, units, sequences).units)
    scales = InputScales(model, units)
    with scales.watching(), torch.no_grad():
        model(sequences)
    return share_graph(model, units, scales)


def logits_of(output: Any) -> Tensor:
    """(b, t, vocabulary) logits of a language model's output, a tensor or what libraries wrap."""
    logits = output if isinstance(output, Tensor) else output.logits
    assert isinstance(logits, Tensor)
    return logits


class Usage(NamedTuple):
    """How much units were used, and what was hard.

    Attributes:
        units: (n, s) usage of each unit in each sequence, on the device of the sequences.
        nats: (vocabulary,) total next-token loss at each token.
    """

    units: Tensor
    nats: NDArray[np.float64]


@torch.no_grad()
def unit_usage(
    model: nn.Module, units: UnitMap, sequences: Tensor, piece: int | None = None
) -> Usage:
    """How much each sending unit was used in each of (s, t) sequences of token ids.

    A token's usage is its frequency; a head's the mean norm of its output, a neuron's its mean
    absolute activation. Residual channels are used by all alike and stay 0.

    Args:
        model: the network.
        units: its unit map.
        sequences: (s, t) token ids.
        piece: where it divides t, sequences count as t / piece samples of this many tokens.
    """
    length = sequences.shape[1]
    span = piece if piece is not None and length % piece == 0 else length
    measured = [_usage_of(model, units, part, span) for part in _parts(model, sequences)]
    return Usage(
        torch.cat([each.units for each in measured], 1),
        np.sum([each.nats for each in measured], 0),
    )


def _parts(model: nn.Module, sequences: Tensor) -> Sequence[Tensor]:
    """(s, t) sequences in parts that one forward pass can take."""
    tables = (m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding))
    vocabulary = max(tables, default=1)
    tokens = min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocabulary)
    return sequences.split(max(1, tokens // sequences.shape[1]))


def _usage_of(model: nn.Module, units: UnitMap, sequences: Tensor, span: int) -> Usage:
    usage = torch.zeros(units.n, sequences.numel() // span, device=sequences.device)
    residual = torch.zeros(units.n, dtype=torch.bool)
    for group in units.groups:
        residual[group.start : group.stop] = group.kind == "residual"

    def see(position: int, block: WeightBlock, x: Tensor) -> None:
        senders = block.senders.to(x.device)
        if not x.dtype.is_floating_point:
            ids = x.reshape(-1, span)
            counts = torch.zeros(len(ids), len(senders), device=x.device)
            counts.scatter_add_(1, ids, torch.ones_like(ids, dtype=counts.dtype))
            usage.index_add_(0, senders, counts.T / span)
        elif not residual[block.senders[0]]:
            own, size = _sizes(x.float(), senders)
            usage[own] = size.view(-1, span, len(own)).mean(1).T

    with reading_inputs(model, units, see):
        logits = logits_of(model(sequences))
    targets = F.pad(sequences[:, 1:], (0, 1), value=NO_TARGET).flatten()
    loss = F.cross_entropy(
        logits.flatten(0, 1), targets, ignore_index=NO_TARGET, reduction="none"
    )  # of all positions: leaving the last one out of the logits would copy them
    nats = torch.zeros(logits.shape[-1], dtype=torch.float64)
    nats.index_add_(0, targets.clamp_min(0).cpu(), loss.cpu().double())
    return Usage(usage, nats.numpy())


def _sizes(x: Tensor, senders: Tensor) -> tuple[Tensor, Tensor]:
    """Units and the (b, t, units) norms of what they send, given (b, t, channels) of it.

    By products, whose sums come out the same on every run, unlike scattered ones on a GPU.
    """
    own, place = torch.unique(senders, return_inverse=True)
    if len(own) == len(senders):
        return senders, x.abs()
    members = F.one_hot(place, len(own)).to(x)
    with torch.autocast(x.device.type, enabled=False):
        return own, (x.square() @ members).sqrt()


def co_usage_graph(usage: Tensor, min_correlation: float = MIN_CORRELATION) -> UnitGraph:
    """Squared positive correlation of usages; weaker than `min_correlation` is no edge.

    Args:
        usage: (n, s) from `unit_usage`.
        min_correlation: with s sequences noise has a correlation of about 1/sqrt(s).
    """
    unit = _standardised(usage)
    correlation = (unit @ unit.T / usage.shape[1]).triu(1).cpu()
    u, v = (correlation > min_correlation).nonzero(as_tuple=True)
    capacity = correlation[u, v].double().clamp(max=1.0).square()
    return UnitGraph.from_edges(len(usage), u.numpy(), v.numpy(), capacity.numpy())


def co_usage_pull(
    usage: Tensor,
    labels: NDArray[np.int64],
    k: int,
    min_correlation: float = MIN_CORRELATION,
    chunk: int = 4096,
) -> NDArray[np.float64]:
    """(n, k) capacity of co-usage between each unit and the units of each module.

    Each module's column sums to 1. A unit's capacity to itself counts too.

    Args:
        usage: (n, s) from `unit_usage`.
        labels: (n,) modules; -1 belongs to none.
        k: number of modules.
        min_correlation: as `co_usage_graph`.
        chunk: units that are compared at a time.
    """
    unit = _standardised(usage)
    known = np.flatnonzero(labels >= 0)
    members = F.one_hot(torch.from_numpy(labels[known]), k).to(unit)
    others = unit[torch.from_numpy(known).to(unit.device)].T / usage.shape[1]
    pulls = []
    for part in unit.split(chunk):
        correlation = part @ others
        correlation[correlation <= min_correlation] = 0
        pulls.append(correlation.square_() @ members)
    pull: NDArray[np.float64] = torch.cat(pulls).cpu().double().numpy()
    return pull / np.maximum(pull.sum(0), 1e-12)


def _standardised(usage: Tensor) -> Tensor:
    """Each row shifted and scaled to mean 0 and deviation 1; rows that never change are 0."""
    centred = usage - usage.mean(1, keepdim=True)
    spread = centred.std(1, correction=0, keepdim=True)
    return torch.where(spread > 1e-9, centred / spread.clamp_min(1e-9), 0)


def subgraph(graph: UnitGraph, units: NDArray[np.int64]) -> UnitGraph:
    """The graph between some of the units, renumbered in their order; `units` is sorted."""
    number = np.full(graph.n, -1)
    number[units] = np.arange(len(units))
    keep = (number[graph.sources] >= 0) & (number[graph.targets] >= 0)
    return UnitGraph.from_edges(
        len(units),
        number[graph.sources[keep]],
        number[graph.targets[keep]],
        graph.capacities[keep],
        (UnitGroup("units", "hidden", 0, len(units)),),
    )


@torch.no_grad()
def values_per_token(
    model: nn.Module, units: UnitMap, ids: Tensor, chosen: NDArray[np.bool_]
) -> Tensor:
    """(tokens, k) what each of the chosen units sends at every token.

    A neuron's is its activation, a head's the norm of its output.

    Args:
        model: the network.
        units: its unit map.
        ids: (d, t) token ids.
        chosen: (n,) bool, k units, all of them heads or neurons.
    """
    column = torch.from_numpy(np.cumsum(chosen) - 1)
    found = torch.zeros(ids.numel(), int(chosen.sum()))
    start = 0

    def see(position: int, block: WeightBlock, x: Tensor) -> None:
        if chosen[int(block.senders[0])]:
            own, size = _sizes(x.float(), block.senders)
            same = len(own) == len(block.senders)
            values = (x if same else size).flatten(0, -2).float().cpu()
            keep = torch.from_numpy(chosen)[own]
            found[start : start + len(values), column[own[keep]]] = values[:, keep]

    with reading_inputs(model, units, see):
        for part in _parts(model, ids):
            model(part)
            start += part.numel()
    return found
