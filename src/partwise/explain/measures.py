"""What is measured of a network's parts, with intervals, on evidence and on claims rows alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain.chance import givers, lesion_band
from partwise.explain.intervals import Estimate, limits_of
from partwise.explain.subject import Subject
from partwise.tasks import Split

LEAST_ROWS = 20
"""Fewer independent rows may miss what happens to one in twenty; see `Measures`."""
GIVERS = 4  # samples that each sample's inputs are taken from
Array = NDArray[np.float64]
Among = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of a subject on the rows of a split, or on a slice of them.

    What an intervention adds to a source's loss has no known limits: those seen over evidence and
    claims rows stand for them. With fewer than `LEAST_ROWS` sources a change by all there is to
    know of the answer counts as possible too: ln k nats for k classes, the variance of a value.

    Attributes:
        subject: the network, taken apart.
        split: which rows.
        as_on: how many rows the intervals shall be as wide as; as many as there are if None.
        where: a condition that says which samples count; all if empty.
    """

    subject: Subject
    split: Split
    as_on: float | None = None
    where: str = ""

    @property
    def among(self) -> Among | None:
        """(b,) bool, the samples that count; None for all."""
        return self.subject.slice(self.split, self.where)

    @property
    def by_chance(self) -> Measures:
        """Measures on the rows that chance is measured on; of text, those of the evidence.

        What random interventions do is a level to be beyond, and takes many passes: it is measured
        once.
        """
        return replace(self, split="train", as_on=None) if self.subject.of_text else self

    def of_module(self, module: int, head: int) -> Estimate:
        """What holding a module at its means adds to a head's loss."""
        added = {split: self.subject.losses_without_module(split, module) for split in self._known}
        return self._added(added, head)

    def of_random_module(self, module: int, head: int) -> float:
        """What holding as many random units adds to a head's loss, at most: to be beyond.

        On a slice it counts from what holding the module adds elsewhere; see `Band`.
        """
        random = self.by_chance
        band = lesion_band(self.subject, random.split, module)
        return float(
            band.beyond_elsewhere(head, random.among, random.change_without_module(module))
        )

    def of_interface(self, pair: tuple[int, int], head: int, reader: int | None = None) -> Estimate:
        """What cutting the edges between two modules adds to a head's loss.

        Args:
            pair: the modules.
            head: the question.
            reader: cut only what this one of them reads of the other.
        """
        added = {
            split: self.subject.losses_without_interface(split, pair, reader)
            for split in self._known
        }
        return self._added(added, head)

    def change_without_module(self, module: int) -> Tensor:
        """(b, heads) what holding a module at its means adds to each sample's loss."""
        after = self.subject.losses_without_module(self.split, module)
        return after - self.subject.losses(self.split)

    def change_without_interface(self, pair: tuple[int, int], reader: int | None = None) -> Tensor:
        """(b, heads) what cutting the edges between two modules adds to each sample's loss."""
        after = self.subject.losses_without_interface(self.split, pair, reader)
        return after - self.subject.losses(self.split)

    def of_inputs(self, inputs: tuple[int, ...], head: int) -> Estimate:
        """What taking inputs from other samples adds to a head's loss."""
        rows = self.subject.rows(self.split)
        rng = np.random.default_rng((self.subject.seed, 4))
        pairs = []
        for giver in givers(len(rows.x), GIVERS, rng):
            after = self.subject.losses_with_resampled(self.split, inputs, giver)
            pairs.append((giver, self._change(after, self.split, head)))
        limits = self._limits([values for _, values in pairs], head)
        return self.subject.resampling(self.split, self.as_on).mean_of_pairs(pairs, limits)

    def of_unit(self, unit: int, threshold: float, holds: Among) -> tuple[Estimate, float]:
        """F1 of a unit's being above a threshold where a condition holds, and of one always on.

        F1 = 2J / (1 + J), J being the share of samples with both among those with either.
        """
        active = self.activations(unit).numpy() > threshold
        jaccard = self.share(active & holds, active | holds)
        return jaccard.map(_f1), float(_f1(np.array(holds.mean())))

    def of_program(self, given: Tensor, head: int) -> tuple[Estimate, float]:
        """Share of samples where a program gives the network's answer, and its commonest one.

        Values agree within a tenth of the answers' standard deviation.
        """
        answers = self.subject.answers(self.split, head)
        classes = self.subject.data.heads[head].kind != "value"
        within = 0.1 if classes else 0.1 * self.spread(head)
        found = self.share(((given - answers).abs() < within).numpy(), self.among)
        seen = answers if self.among is None else answers[self.among]
        middle = seen.mode().values if classes else seen.median()
        return found, float(((seen - middle).abs() < within).float().mean())

    def share(self, hits: Among, among: Among | None = None) -> Estimate:
        """The share of the samples that count where something is so."""
        resampling = self.subject.resampling(self.split, self.as_on)
        return resampling.mean(hits.astype(float), (0.0, 1.0), among)

    def mean_share(self, shares: Tensor, among: Among) -> Estimate:
        """The mean of a share per sample."""
        resampling = self.subject.resampling(self.split, self.as_on)
        return resampling.mean(shares.double().numpy(), (0.0, 1.0), among)

    def mean(self, values: Array, among: Among | None = None) -> Estimate:
        """The mean of a value per sample, whose limits are those that sources show."""
        resampling = self.subject.resampling(self.split, self.as_on)
        return resampling.mean(values, limits_of(resampling.by_source(values, among)), among)

    def activations(self, unit: int) -> Tensor:
        """(b,) value of a hidden unit, or an input."""
        return self.subject.activity_of(self.split, unit)

    def spread(self, head: int) -> float:
        """Standard deviation of the right values over the evidence rows."""
        return float(self.subject.rows("train").y[:, head].std(correction=0))

    @property
    def _known(self) -> tuple[Split, ...]:
        return ("train",) if self.split == "train" else ("train", self.split)

    def _added(self, after: dict[Split, Tensor], head: int) -> Estimate:
        changes = {split: self._change(losses, split, head) for split, losses in after.items()}
        by_source = [
            self.subject.resampling(split).by_source(values, self.subject.slice(split, self.where))
            for split, values in changes.items()
        ]
        limits = self._limits([each for each in by_source if len(each)], head)
        resampling = self.subject.resampling(self.split, self.as_on)
        return resampling.mean(changes[self.split], limits, self.among)

    def _change(self, after: Tensor, split: Split, head: int) -> Array:
        """(b,) what an intervention adds to each sample's loss at a head."""
        return (after - self.subject.losses(split))[:, head].double().numpy()

    def _limits(self, changes: list[Array], head: int) -> tuple[float, float]:
        low, high = limits_of(*changes) if changes else (0.0, 0.0)
        if self.subject.sources(self.split, self.where) >= LEAST_ROWS:
            return low, high
        asked = self.subject.data.heads[head]
        wide = max(asked.stop - asked.start, 2)
        most = self.spread(head) ** 2 if asked.kind == "value" else float(np.log(wide))
        return min(low, -most), max(high, most)


def _f1(jaccard: Array) -> Array:
    return 2 * jaccard / (1 + jaccard)
