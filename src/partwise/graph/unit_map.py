"""Where the units of a network sit in its weights.

A `UnitMap` is read once from a model's structure. With it, any later state of the same model
turns into capacities, a penalty, or a mask, without tracing again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import GraphError, UnreadableModelError
from partwise.graph.expressions import Expression, Stored
from partwise.graph.unit_graph import UnitGraph, UnitGroup

MOST_IN_DOUBLE = 2**22
"""Weights of a network whose gauge is worked out in double precision, at most."""


@dataclass(frozen=True)
class NormGain:
    """The gain of a normalisation module, as an expression of the model's parameters."""

    name: str

    def value(self, model: nn.Module) -> Tensor:
        """(channels,) see `norm_gain`."""
        return norm_gain(model.get_submodule(self.name))

    def names(self) -> Iterator[str]:
        """The gain's parameter."""
        yield f"{self.name}.weight"


@dataclass(frozen=True, eq=False)
class Gain:
    """A factor that one side of a weight tensor's entries have, whatever the sample.

    Attributes:
        source: how to compute it from the model.
        index: (p, size) or (p, r, c) which entry of it, flattened, each row or column has, at
            each of p positions, which are averaged; -1 for none. Left out, the entries are
            repeated over the side.
        side: 0 for rows, 1 for columns.
    """

    source: Expression
    index: Tensor | None = None
    side: int = 1

    def turned(self) -> Gain:
        """The same for the transposed tensor."""
        return replace(self, side=1 - self.side)

    @torch.no_grad()
    def factor(self, model: nn.Module, size: int) -> Tensor:
        """|factor| of each of `size` rows or columns, or (r, c) of each entry."""
        value = self.source.value(model).detach().abs().flatten()
        if self.index is None:
            return value.repeat_interleave(size // len(value))
        index = self.index.to(value.device)
        entries = value.new_ones(len(value) + 1)
        entries[:-1] = value
        found = entries[index].mean(0)
        return found[0] if found.dim() == 2 and len(found) == 1 else found


@dataclass(frozen=True, eq=False)
class WeightBlock:
    """One use of one weight tensor, and the units its entries join.

    Attributes:
        parameter: the tensor's name in the model's state dict; of a computed tensor, the first
            that it is computed from; empty for a wire.
        rows: (r,) long, the unit that each row (output) writes to.
        columns: (r or 1, c) long, the unit that each column (input) reads from.
        gains: factors of rows and columns, whose product with |weight| is the capacity.
        transposed: True where rows are read and columns written, as in embedding tables and in
            GPT-2's Conv1D.
        applied_by: name of the module that applies the tensor, where that is not the module
            which owns it (tied embeddings).
        call: how many times that module was called before, in one run of the model.
        use: how many blocks before this one are of the same tensor.
        uses: how many blocks are of it in all.
        hookable: whether hooks on that module see what the tensor reads.
        derived: how the tensor is computed, where it is no parameter: pruned, normalised, sliced,
            or a wire's constant.
        order: when the model applies it, against others.
        lands: for each unit written, when what is written is there to be read: where a sum takes it
            in, when that is made. At `order` if left out.
    """

    parameter: str
    rows: Tensor
    columns: Tensor
    gains: tuple[Gain, ...] = ()
    transposed: bool = False
    applied_by: str = ""
    call: int = 0
    use: int = 0
    uses: int = 1
    hookable: bool = True
    derived: Expression | None = None
    order: int = 0
    lands: Tensor | None = None

    @property
    def key(self) -> str:
        """A name for this use, see `use_key`."""
        return use_key(self.parameter, self.use)

    @property
    def module(self) -> str:
        """Name of the module that applies the tensor."""
        return self.applied_by or self.parameter.rpartition(".")[0]

    @property
    def senders(self) -> Tensor:
        """Unit that each entry along the reading side reads from; (c,), or (r, c) if grouped."""
        if self.transposed:
            return self.rows
        return self.columns[0] if len(self.columns) == 1 else self.columns

    @property
    def receivers(self) -> Tensor:
        """Unit that each entry along the writing side writes to."""
        return self.columns[0] if self.transposed else self.rows

    @cached_property
    def _stored(self) -> Stored:
        return Stored(self.parameter)

    def weight(self, model: nn.Module) -> Tensor:
        """The tensor itself; ten times as fast as `model.get_parameter`, for use at every step."""
        if self.derived is not None:
            raise GraphError(
                f"the weight that '{self.parameter}' goes into is computed (pruned, normalised or "
                "sliced) and cannot be set; make it plain first, for example with prune.remove "
                "or parametrize.remove_parametrizations"
            )
        return self._stored.value(model)

    def tensor(self, model: nn.Module) -> Tensor:
        """The weights in force: the parameter, or what is computed of it."""
        return self.weight(model) if self.derived is None else self.derived.value(model)

    def factors(self, model: nn.Module, side: int, like: Tensor) -> Tensor | None:
        """Product of the gains of rows (side 0) or columns (1); None where there are none.

        (r,) or (c,), or (r, c) where gains differ within the rows; on the device of `like`.
        """
        found: Tensor | None = None
        size = len(self.rows) if side == 0 else self.columns.shape[1]
        for gain in self.gains:
            if gain.side == side:
                factor = gain.factor(model, size).to(like)
                found = factor if found is None else found * factor
        return found

    def channels_read(self, groups: int = 1) -> Tensor:
        """Unit of each channel that the layer is given; of a grouped layer, group by group."""
        if self.transposed or len(self.columns) == 1:
            return self.rows if self.transposed else self.columns[0]
        return self.columns[:: len(self.columns) // groups].flatten()

    def scales(self, gauge: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """(r,) and (r or 1, c): what a gauge multiplies rows and columns with.

        Args:
            gauge: (n,) factor of what is written to each unit.
            inverse: (n,) factor of what is read of it.
        """
        rows, columns = (inverse, gauge) if self.transposed else (gauge, inverse)
        return rows[self.rows], columns[self.columns]

    def pick(self, per_unit: Tensor, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """A per-unit tensor (n,), laid out to broadcast over the block: (r, 1) and (r or 1, c).

        On a device, if one is given.
        """
        rows, columns = per_unit[self.rows][:, None], per_unit[self.columns]
        return rows.to(device), columns.to(device)


def use_key(parameter: str, use: int) -> str:
    """A name for a use of a parameter: its own, numbered from the second use on."""
    return f"{parameter}@{use}" if use else parameter


def parameter_of(key: str) -> str:
    """The parameter that `use_key` names a use of."""
    return key.partition("@")[0]


HIDDEN = ("hidden", "head", "neuron")
"""Kinds of units that compute something."""


@dataclass(frozen=True, eq=False)
class UnitMap:
    """The units of a network: their groups, and the weight blocks that join them.

    Attributes:
        n: number of units: inputs first, then layer by layer, outputs last.
        groups: the layers, in unit order.
        blocks: every weight tensor that carries capacity.
        rescalable: (n,) bool; True where scaling a unit's incoming weights and bias up, and its
            outgoing weights down, by the same positive factor leaves the function unchanged
            (ReLU-like units between linear layers).
        wires: what joins units without a weight: a sum that an input goes into, a mean over
            units. They carry capacity that no training changes.
        notes: what a reader of the result should know about how the model was read.
    """

    n: int
    groups: tuple[UnitGroup, ...]
    blocks: tuple[WeightBlock, ...]
    rescalable: Tensor
    wires: tuple[WeightBlock, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> UnitGroup:
        """All units that the model is given, in the order of its inputs."""
        count = sum(len(group) for group in self.groups if group.kind == "input")
        return UnitGroup("inputs", "input", 0, count) if count else self.groups[0]

    @property
    def outputs(self) -> UnitGroup:
        """All units that the model returns, in the order of its outputs."""
        count = sum(len(group) for group in self.groups if group.kind == "output")
        return UnitGroup("outputs", "output", self.n - count, self.n) if count else self.groups[-1]

    def is_kind(self, *kinds: str) -> NDArray[np.bool_]:
        """(n,) whether each unit's group is of one of these kinds."""
        sizes = [len(group) for group in self.groups]
        return np.repeat([group.kind in kinds for group in self.groups], sizes)

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """(n,) the units that compute: neither inputs, outputs, tokens nor residual channels."""
        return self.is_kind(*HIDDEN)

    def units_of_kind(self, kind: str) -> Tensor:
        """(k,) the units of all groups of a kind, such as `"output"`, in order."""
        groups = [group for group in self.groups if group.kind == kind]
        parts = [torch.arange(group.start, group.stop) for group in groups]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)

    @torch.no_grad()
    def reaches(self, model: nn.Module) -> Tensor:
        """(outputs, inputs) bool: whether a path of weights leads from an input to an output.

        Weights of 0 and gains of 0 lead nowhere; weights are taken in the order in which the
        model applies them. Where this is False, the derivative is 0.
        """
        inputs = self.units_of_kind("input")
        reached = torch.zeros(self.n, len(inputs), dtype=torch.bool)
        reached[inputs, torch.arange(len(inputs))] = True
        landing: list[tuple[int, Tensor, Tensor]] = []

        def land(until: float) -> None:
            """Has what was written before be there to be read."""
            for time, units, values in landing:
                if time <= until:
                    reached.index_put_((units,), reached[units] | values)
            landing[:] = [each for each in landing if each[0] > until]

        for block in sorted((*self.blocks, *self.wires), key=lambda block: block.order):
            land(block.order)
            units, values, times = self._written(model, block, reached)
            for time in times.unique().tolist():
                here = times == time
                landing.append((time, units[here], values[here]))
        land(math.inf)
        return reached[self.units_of_kind("output")]

    def _written(
        self, model: nn.Module, block: WeightBlock, reached: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Units that a block writes, each once; what reaches them by it; when it is there."""
        row, column = (self.magnitude(model, block).cpu() > 0).nonzero(as_tuple=True)
        plain = len(block.columns) == 1
        columns = block.columns[0, column] if plain else block.columns[row, column]
        to, of = block.rows[row], columns
        place = row
        if block.transposed:
            to, of = of, to
            place = column
        units, inverse = to.unique(return_inverse=True)
        values = torch.zeros(len(units), reached.shape[1], dtype=torch.int32)
        values.index_add_(0, inverse, reached[of].int())
        times = torch.full((len(units),), block.order)
        if block.lands is not None:
            wide = block.lands if block.lands.dim() == 1 else block.lands[row, column]
            times[inverse] = wide[place] if block.lands.dim() == 1 else wide
        return units, values > 0, times

    def weights(self, model: nn.Module) -> list[Tensor]:
        """The weights in force of each block."""
        return [block.tensor(model) for block in self.blocks]

    def magnitudes(self, model: nn.Module) -> list[Tensor]:
        """|weight| of each block as an (r, c) matrix, gains folded in, kernels summed.

        Differentiable in the model's weights; the gains are treated as constants.
        """
        return [self.magnitude(model, block) for block in self.blocks]

    def magnitude(self, model: nn.Module, block: WeightBlock) -> Tensor:
        """`magnitudes` of one block."""
        matrix = block.tensor(model).abs()
        if matrix.dtype in (torch.float16, torch.bfloat16):
            matrix = matrix.float()
        if matrix.dim() > 2:
            matrix = matrix.flatten(2).sum(2)
        rows, columns = (block.factors(model, side, matrix) for side in (0, 1))
        if rows is not None:
            matrix = matrix * (rows[:, None] if rows.dim() == 1 else rows)
        return matrix if columns is None else matrix * columns

    @torch.no_grad()
    def gauge(
        self,
        model: nn.Module,
        start: Tensor | None = None,
        rounds: int = 200,
        tolerance: float = 1e-10,
    ) -> Tensor:
        """(n,) factor per unit that brings a network into its balanced gauge.

        Rescaling a ReLU unit changes |w| for free. Of all networks that compute the same
        function, the balanced one has the least total capacity: every rescalable unit then has
        as much capacity coming in as going out. The optimum is unique, since the total is
        convex in the logarithms of the factors, so capacities no longer depend on the scale
        that training happened to end at. A block entry from unit i to unit j is multiplied by
        `gauge[j] / gauge[i]`; units that are not rescalable keep 1, units that nothing enters
        or nothing leaves (they carry no signal) get 0 both ways.

        Coordinate descent, a group at a time; matrix balancing as in Osborne (1960). `start`
        is a gauge to begin from, such as the last one of a network that has moved little.
        """
        matrices = [matrix.cpu() for matrix in self.magnitudes(model)]
        large = sum(matrix.numel() for matrix in matrices) > MOST_IN_DOUBLE
        kind = torch.float32 if large else torch.float64
        matrices = [matrix.to(kind) for matrix in matrices]
        tolerance = max(tolerance, 1e-6) if large else tolerance
        alive = self._alive(matrices)
        log_gauge = torch.zeros(self.n, dtype=torch.float64)
        if start is not None:
            log_gauge = torch.where(start > 0, start, 1).log()
        movable = self.rescalable & alive
        if not movable.any():
            return alive.double()
        colours = self._update_order()
        for _ in range(rounds):
            step = 0.0
            for colour in colours:
                into, out = self._flows(matrices, (log_gauge.exp() * alive))
                move = torch.where(movable & colour & (into > 0) & (out > 0), (out / into).log(), 0)
                log_gauge += move / 2
                step = max(step, move.abs().max().item())
            if step < tolerance:
                break
        return log_gauge.exp() * alive

    def _update_order(self) -> list[Tensor]:
        """Masks of units that may move together: the even and the odd groups."""
        parity = torch.as_tensor(
            np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        )
        return [parity % 2 == 0, parity % 2 == 1]

    def _flows(self, matrices: list[Tensor], gauge: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) capacity that enters, and that leaves, every unit under `gauge`."""
        into, out = torch.zeros(2, self.n, dtype=torch.float64)
        inverse = inverted(gauge)
        for block, matrix in zip(self.blocks, matrices, strict=True):
            columns = block.columns
            of_rows, of_columns = (each.to(matrix) for each in block.scales(gauge, inverse))
            at_rows, at_columns = (out, into) if block.transposed else (into, out)
            if len(columns) == 1:
                read, written = matrix @ of_columns[0], of_rows @ matrix
                at_rows.index_add_(0, block.rows, (of_rows * read).double())
                at_columns.index_add_(0, columns[0], (of_columns[0] * written).double())
            else:
                scaled = (matrix * of_rows[:, None] * of_columns).double()
                at_rows.index_add_(0, block.rows, scaled.sum(1))
                at_columns.index_add_(0, columns.expand(scaled.shape).flatten(), scaled.flatten())
        return into, out

    def _alive(self, matrices: list[Tensor]) -> Tensor:
        alive = torch.ones(self.n, dtype=torch.bool)
        while True:
            into, out = self._flows(matrices, alive.double())
            dead = self.rescalable & alive & ((into == 0) | (out == 0))
            if not dead.any():
                return alive
            alive &= ~dead

    @torch.no_grad()
    def graph(
        self, model: nn.Module, gauge: Tensor | None = None, most_edges: int | None = None
    ) -> UnitGraph:
        """The model's weights as a unit graph with capacities |w|; weights of 0 give no edge.

        Args:
            model: the model this map was read from, in any later state.
            gauge: (n,) factor per unit; the balanced gauge of `gauge` when left out.
            most_edges: networks with more weights are `sampled` to about this many edges.

        Raises:
            GraphError: if a weight is NaN or infinite, naming the tensor.
        """
        self._refuse_bad_weights(model)
        gauge = self.gauge(model) if gauge is None else gauge
        inverse = inverted(gauge)
        capacities = [
            gauged(matrix.cpu().double(), *block.scales(gauge, inverse))
            for block, matrix in zip(self.blocks, self.magnitudes(model), strict=True)
        ]
        if most_edges is not None and sum(matrix.numel() for matrix in capacities) > most_edges:
            capacities = sampled(capacities, most_edges)
        capacities += [self.magnitude(model, wire).double() for wire in self.wires]
        pairs = zip((*self.blocks, *self.wires), capacities, strict=True)
        edges = [self._edges(block, matrix) for block, matrix in pairs]
        sources, targets, values = (np.concatenate(part) for part in zip(*edges, strict=True))
        return UnitGraph.from_edges(self.n, sources, targets, values, self.groups)

    def _edges(
        self, block: WeightBlock, matrix: Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        # Column by column: in a chain of layers the edges then come sorted by their ends.
        keep = ((matrix > 0) & (block.rows[:, None] != block.columns)).T.contiguous().numpy()
        column, row = np.nonzero(keep)
        columns = block.columns.numpy()
        readers = columns[0, column] if len(columns) == 1 else columns[row, column]
        return readers, block.rows.numpy()[row], matrix.T.contiguous().numpy()[keep]

    def _refuse_bad_weights(self, model: nn.Module) -> None:
        for block in self.blocks:
            weight = block.tensor(model)
            if weight.is_meta:
                raise GraphError(
                    f"{block.parameter} is on the meta device and has no values; "
                    "load the weights first"
                )
            if not torch.isfinite(weight).all():
                count = int((~torch.isfinite(weight)).sum())
                raise GraphError(
                    f"{block.parameter} holds {count} NaN or infinite weights; "
                    "a graph needs finite ones (go back to an earlier checkpoint)"
                )


def sampled(matrices: Sequence[Tensor], entries: int, seed: int = 0) -> list[Tensor]:
    """Capacities with all but about `entries` of them set to 0, true in the mean.

    With a threshold t, a capacity c < t stays with probability c / t and then counts t; larger
    ones stay as they are. Every cut and every degree keeps its expectation (threshold sampling;
    Duffield, Lund and Thorup, 2007).

    Args:
        matrices: non-negative, of any shapes.
        entries: how many to keep in the mean.
        seed: seed of the choice.
    """
    stride = max(1, sum(matrix.numel() for matrix in matrices) // 2**20)
    some = torch.cat([matrix.flatten()[::stride] for matrix in matrices])
    threshold = _sampling_threshold(some, entries / stride)
    # Not torch's generator: weights initialised from the same seed are the same numbers.
    rng = np.random.default_rng(seed)
    return [_thinned(matrix, threshold, rng) for matrix in matrices]


def _thinned(matrix: Tensor, threshold: float, rng: np.random.Generator) -> Tensor:
    chance = torch.from_numpy(rng.random(matrix.shape, np.float32))
    return matrix.clamp(min=threshold) * (matrix > threshold * chance)  # `where` is far slower


def _sampling_threshold(capacities: Tensor, entries: float) -> float:
    """The t at which the probabilities min(1, c / t) add up to `entries`, by bisection."""
    low, high = 0.0, float(capacities.sum()) / entries
    for _ in range(40):
        middle = (low + high) / 2
        kept = float((capacities / middle).clamp(max=1).sum())
        low, high = (middle, high) if kept > entries else (low, middle)
    return high


def inverted(gauge: Tensor) -> Tensor:
    """1 / gauge; 0 for units without signal, so that their entries become 0."""
    return torch.where(gauge > 0, 1 / gauge, 0)


def gauged(matrix: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
    """`matrix` (r, c) with its rows and columns scaled, as `WeightBlock.scales` says."""
    return matrix * of_rows[:, None] * of_columns


def norm_gain(module: nn.Module) -> Tensor:
    """(channels,) factor by which a normalisation module scales each channel, at inference.

    For BatchNorm |weight| / sqrt(running variance + eps); for LayerNorm and RMSNorm |weight|,
    since the shared scale of a sample is no property of the weights.
    """
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        count = module.num_features
        weight = module.weight.detach().abs() if module.affine else torch.ones(count)
        variance = torch.ones(count) if module.running_var is None else module.running_var
        return weight / torch.sqrt(variance + module.eps)
    if not isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return _named_norm_gain(module)
    weight = module.weight
    return torch.ones(module.normalized_shape[-1]) if weight is None else weight.detach().abs()


def _named_norm_gain(module: nn.Module) -> Tensor:
    """Gain of an RMSNorm that a library brings itself, such as transformers' LlamaRMSNorm."""
    kind, weight = type(module).__name__, getattr(module, "weight", None)
    if not kind.endswith("RMSNorm") or not isinstance(weight, Tensor):
        raise UnreadableModelError(
            f"cannot read the gain of a {kind}; readable are BatchNorm, LayerNorm and RMSNorm"
        )
    # Gemma's family scales by 1 + weight, so that a weight decay pulls the gain to 1.
    return (1 + weight.detach() if kind.startswith("Gemma") else weight.detach()).abs()
