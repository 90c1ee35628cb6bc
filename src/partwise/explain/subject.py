"""What is being explained: a network, its units, its modules and its data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partwise.errors import DataError
from partwise.explain.intervals import DRAWS, EVIDENCE_DRAWS, Resampling
from partwise.explain.maps import MapLayer, map_layers
from partwise.graph import UnitGraph, UnitMap, WeightBlock
from partwise.graph.activity import scales_on, share_matrices, values_per_token
from partwise.graph.unit_graph import UnitGroup
from partwise.interventions.lesions import Lesions
from partwise.interventions.masks import MaskedRun, between, inside_modules
from partwise.modules import Partition, module_masses
from partwise.programs.language import Value, parse_program
from partwise.tasks import Data, Rows, Split, Task, Text, TextRows

Made = TypeVar("Made")
ROWS = "(a value per unit and row; wrap a network of pictures so that it takes flat rows)"
Wires = dict[str, Tensor]
"""Parameter name -> which of its entries stay, as `MaskedRun` wants them."""


class Part(NamedTuple):
    """A module, or the interface between two.

    Attributes:
        kind: `"module"` or `"interface"`.
        modules: the module's number, or the two numbers that the interface joins.
    """

    kind: str
    modules: tuple[int, ...]


@dataclass(frozen=True)
class Names:
    """What sentences call things.

    Attributes:
        heads: a name per question.
        loss_units: the unit of each question's loss.
        units: a name per unit.
        inputs: a name per input.
        of_text: whether samples are tokens of text.
    """

    heads: tuple[str, ...]
    loss_units: tuple[str, ...]
    units: tuple[str, ...]
    inputs: tuple[str, ...]
    of_text: bool = False


@dataclass(frozen=True, eq=False)
class Subject:
    """A network taken apart.

    Attributes:
        model: the network.
        units: its unit map.
        graph: its unit graph.
        partition: its modules.
        data: where samples come from; what is true of its modules is never read here.
        samples: at most this many rows per split, or about as many tokens, each of them once.
        seed: seed of the rows.
    """

    model: nn.Module
    units: UnitMap
    graph: UnitGraph
    partition: Partition
    data: Data
    samples: int = 1000
    seed: int = 0
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.data, Text):
            self.data.refuse_other_tokens(len(self.units.units_of_kind("token")))
            return
        task = self.data
        wide = (len(self.units.inputs), len(self.units.outputs))
        if wide != (len(task.inputs), len(task.outputs)):
            raise DataError(
                f"the network has {wide[0]} inputs and {wide[1]} outputs, task "
                f"{task.name} has {len(task.inputs)} and {len(task.outputs)}; "
                f"give task_from_arrays as many columns of x and answers {ROWS}"
            )
        x = task.batch("claims", 1, self.seed)[0]
        if x.dim() != 2:
            raise DataError(
                f"a batch of task {task.name} is {tuple(x.shape)}, wanted (rows, inputs) {ROWS}"
            )

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) module of each unit."""
        return self.partition.labels

    @property
    def modules(self) -> int:
        """Number of modules."""
        return self.partition.modules

    @property
    def task(self) -> Task:
        """The data, where it is rows of numbers.

        Raises:
            DataError: if it is text.
        """
        if isinstance(self.data, Text):
            raise DataError(f"{self.data.name} is text; this needs rows of numbers")
        return self.data

    @property
    def text(self) -> Text:
        """The data, where it is text.

        Raises:
            DataError: if it is rows of numbers.
        """
        if isinstance(self.data, Task):
            raise DataError(f"task {self.data.name} is no text")
        return self.data

    @property
    def of_text(self) -> bool:
        """Whether samples are tokens of text."""
        return isinstance(self.data, Text)

    @cached_property
    def unit_names(self) -> list[str]:
        """A name per unit: the task's for inputs and outputs, `layer[k]` for the rest.

        Of a convolution: `channel 3 of conv2`. In a transformer: `'a'` for a token,
        `block 0 head 1`, `block 0 neuron 7`.
        """
        if isinstance(self.data, Text):
            return [name for group in self.graph.groups for name in self._text_names(group)]
        names = [f"{group.name}[{k}]" for group in self.graph.groups for k in range(len(group))]
        for layer in self.map_layers:
            names[layer.group.start : layer.group.stop] = layer.unit_names()
        names[: len(self.data.inputs)] = self.data.inputs
        names[len(names) - len(self.data.outputs) :] = self.data.outputs
        return names

    @cached_property
    def map_layers(self) -> list[MapLayer]:
        """Layers whose units are channels of convolutions, or of the picture; none of text."""
        return [] if self.of_text else map_layers(self.model, self.units)

    def _text_names(self, group: UnitGroup) -> list[str]:
        if group.kind == "token":
            return [repr(token) for token in self.text.vocabulary]
        layer = layer_of(group)
        what = f"block {layer} {group.kind}" if layer is not None else "channel"
        return [f"{what} {k}" for k in range(len(group))]

    @cached_property
    def names(self) -> Names:
        """What sentences call things."""
        heads = self.data.heads
        return Names(
            tuple(head.name for head in heads),
            tuple(head.unit for head in heads),
            tuple(self.unit_names),
            () if isinstance(self.data, Text) else self.data.inputs,
            self.of_text,
        )

    @property
    def interfaces(self) -> list[tuple[int, int]]:
        """Pairs of modules that share at least one edge."""
        mass = module_masses(self.graph, self.labels)
        return [pair for pair in combinations(range(self.modules), 2) if mass[pair] > 0]

    def capacities(self) -> Iterator[tuple[WeightBlock, Tensor]]:
        """Each weight block of a language model, and its (receivers, senders) shares."""
        scales = self.once(
            "scales", lambda: scales_on(self.model, self.units, self.rows("train").x)
        )
        shares = share_matrices(self.model, self.units, scales)
        yield from zip(self.units.blocks, shares, strict=True)

    def rows(self, split: Split) -> Rows | TextRows:
        """The samples of a split, always the same ones."""
        return self.once(
            ("rows", split), lambda: self.data.rows(split, self.samples, (self.seed, 77))
        )

    def batch(self, split: Split) -> Rows:
        """The rows of a split, always the same ones.

        Raises:
            DataError: if the data is text.
        """
        rows = self.rows(split)
        assert isinstance(rows, Rows) or not self.task
        return rows  # type: ignore[return-value]

    def text_rows(self, split: Split) -> TextRows:
        """The documents of a split, always the same ones.

        Raises:
            DataError: if the data is no text.
        """
        rows = self.rows(split)
        assert isinstance(rows, TextRows) or not self.text
        return rows  # type: ignore[return-value]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for each key."""
        if key not in self._known:
            self._known[key] = make()
        found: Made = self._known[key]
        return found

    def resampling(self, split: Split, rows: float | None = None) -> Resampling:
        """How the rows of a split are weighed anew for intervals, source by source.

        Args:
            split: which rows.
            rows: how many the intervals shall be as wide as; as many as there are if left out.
        """
        sources = self.rows(split).sources
        draws = DRAWS if split == "claims" else EVIDENCE_DRAWS
        return self.once(("resampling", split, rows), lambda: Resampling(sources, draws, rows=rows))

    def members(self, module: int) -> Tensor:
        """(n,) bool: the units of a module that a lesion holds: its hidden units.

        Its inputs, or tokens, where it has no hidden units. Outputs are spared: a question that
        loses its outputs suffers whatever they belong to.
        """
        own = self.partition.holds(module) & self.is_held
        hidden = own & self.units.hidden
        return torch.as_tensor(hidden if hidden.any() else own)

    @cached_property
    def is_held(self) -> NDArray[np.bool_]:
        """(n,) bool: inputs or tokens, and hidden units."""
        return self.units.hidden | self.units.is_kind("input", "token")

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """(n,) bool: inputs and hidden units that vary over the evidence and are read."""
        if self.of_text:
            spread = np.ones(self.units.n)
            spread[self.units.hidden] = self.activity("train").std(0, correction=0).numpy()
        else:
            values = self.lesions.activations(self.rows("train").x)
            spread = values.std(0, correction=0).numpy()
        return self.is_held & (spread > 1e-6) & (self.graph.degrees() > 0)

    def activity(self, split: Split) -> Tensor:
        """(tokens, hidden) what each hidden unit of a language model sends at each token."""
        x, hidden = self.text_rows(split).x, self.units.hidden
        return self.once(
            ("activity", split), lambda: values_per_token(self.model, self.units, x, hidden)
        )

    def activity_of(self, split: Split, unit: int) -> Tensor:
        """(b,) value of a hidden unit at each sample, or of an input.

        Raises:
            DataError: if there is no such unit, or text makes it a token or a channel.
        """
        if not 0 <= unit < self.units.n:
            raise DataError(f"there is no unit {unit}; they are 0 to {self.units.n - 1}")
        if not self.of_text:
            rows = self.rows(split)
            return self.once(("activations", split), lambda: self.lesions.activations(rows.x))[
                :, unit
            ]
        if not self.units.hidden[unit]:
            raise DataError(f"{self.unit_names[unit]} is no head or neuron")
        return self.activity(split)[:, int(self.units.hidden[:unit].sum())]

    def slice(self, split: Split, where: str) -> NDArray[np.bool_] | None:
        """(b,) bool, the samples of a split on which a condition holds; None where there is none.

        Raises:
            ProgramError: if the condition is none, or reads what there is not.
        """
        if not where:
            return None

        def holds() -> NDArray[np.bool_]:
            return where_holds(where, self.variables(split)).numpy()

        return self.once(("slice", split, where), holds)

    def sources(self, split: Split, where: str) -> int:
        """Number of independent sources that the samples of a slice come from."""
        among, rows = self.slice(split, where), self.rows(split)
        return rows.independent if among is None else len(np.unique(rows.sources[among]))

    @cached_property
    def lesions(self) -> Lesions:
        """Lesions whose means come from the evidence samples; of text, stream by stream."""
        return Lesions(self.model, self.units, self.rows("train").x, self._streams("train"))

    def _streams(self, split: Split) -> Tensor | None:
        """(documents,) the stream of each document; None where the data is no text."""
        rows = self.rows(split)
        if isinstance(rows, Rows):
            return None
        return torch.from_numpy(rows.streams[:: rows.x.shape[1]])

    @contextlib.contextmanager
    def holding(self, split: Split, held: Tensor) -> Iterator[nn.Module]:
        """The network with the units of `held` (n,) bool at their means, for one pass."""
        with self.lesions.holding(held, self._streams(split)) as model:
            yield model

    def losses(self, split: Split) -> Tensor:
        """(b, heads) loss of the whole network on a split."""
        return self.once(("losses", split), lambda: self.losses_of(split, self.model))

    @torch.no_grad()
    def losses_of(self, split: Split, run: Callable[..., Any]) -> Tensor:
        """(b, heads) loss on a split of whatever runs the network."""
        return self.data.losses_of(run, self.rows(split))  # type: ignore[arg-type]

    @torch.no_grad()
    def answers(self, split: Split, head: int, run: Callable[..., Any] | None = None) -> Tensor:
        """(b,) the network's answers to a head, or those of whatever runs it."""

        def answers() -> Tensor:
            return self.data.answers_of(run or self.model, self.rows(split), head)  # type: ignore[arg-type]

        return answers() if run else self.once(("answers", split, head), answers)

    def losses_without_units(self, split: Split, held: Tensor) -> Tensor:
        """(b, heads) loss with the units of `held` (n,) bool at their means over the evidence."""
        with self.holding(split, held) as model:
            return self.losses_of(split, model)

    def losses_without_module(self, split: Split, module: int) -> Tensor:
        """(b, heads) loss with the module's hidden units held at their means."""
        return self.once(
            ("module", split, module),
            lambda: self.losses_without_units(split, self.members(module)),
        )

    def answers_without_module(self, split: Split, module: int, head: int) -> Tensor:
        """(b,) answers to a head with the module's hidden units held at their means."""

        def answers() -> Tensor:
            with self.holding(split, self.members(module)) as model:
                return self.answers(split, head, model)

        return self.once(("answers", split, head, module), answers)

    def losses_without_interface(
        self, split: Split, pair: tuple[int, int], reader: int | None = None
    ) -> Tensor:
        """(b, heads) loss with the edges between two modules removed.

        Args:
            split: which rows.
            pair: the modules.
            reader: only what this one of them reads of the other; both directions if None.
        """

        def losses() -> Tensor:
            return self.losses_with_wires(split, self.without_wires(pair, reader))

        return self.once(("interface", split, pair, reader), losses)

    def without_wires(self, pair: tuple[int, int], reader: int | None = None) -> Wires:
        """What stays when the edges between two modules go."""
        labels = self.partition.tensor
        if reader is None:
            return inside_modules(self.model, self.units, labels, pair)
        writer = pair[0] if reader == pair[1] else pair[1]
        return between(self.model, self.units, labels, writer, reader)

    def losses_with_wires(self, split: Split, kept: Wires) -> Tensor:
        """(b, heads) loss with only some entries of the weights."""
        return self.losses_of(split, MaskedRun(self.model, kept))

    @torch.no_grad()
    def losses_with_resampled(
        self, split: Split, inputs: tuple[int, ...], giver: NDArray[np.int64]
    ) -> Tensor:
        """(b, heads) loss after these inputs were taken from another sample, (b,) `giver`."""
        batch = self.batch(split)
        x, chosen = batch.x.clone(), torch.as_tensor(inputs)
        x[:, chosen] = batch.x[torch.as_tensor(giver)][:, chosen]
        return self.task.losses(self.model(x), batch.y)

    def variables(self, split: Split) -> dict[str, Value]:
        """What a program may read of a split, each (b,)."""
        rows = self.rows(split)
        return self.once(("variables", split), lambda: self.data.variables(rows))  # type: ignore[arg-type]

    def tokens_given(self, split: Split, rule: str) -> Tensor:
        """(tokens,) the token that a rule gives at each, as a float; -1 where it gives none.

        Raises:
            ProgramError: if the rule is none, or gives no text.
        """
        given = parse_program(rule).evaluate_text(self.variables(split))
        return given.over(self.text.vocabulary).float()


def where_holds(condition: str, variables: Mapping[str, Value]) -> Tensor:
    """(b,) bool, the samples on which a condition holds; no number is no.

    Raises:
        ProgramError: if the condition is none, or reads what there is not.
    """
    found = parse_program(condition).evaluate(variables)
    return (found != 0) & ~found.isnan()


def layer_of(group: UnitGroup) -> int | None:
    """The number of the block that a group is in; None outside of blocks."""
    numbers = [part for part in group.name.split(".") if part.isdecimal()]
    return int(numbers[0]) if numbers else None
