"""What is measured of a network's parts, with intervals, on evidence and on claims rows alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.explain.chance import givers
from partwise.explain.intervals import Estimate, limits_of
from partwise.explain.subject import Subject
from partwise.tasks import Split

LEAST_ROWS = 20
"""Fewer independent rows may miss what happens to one in twenty; see `Measures`."""
GIVERS = 4  # samples that each sample's inputs are taken from
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of a subject on the rows of a split.

    What an intervention adds to a sample's loss has no known limits: those seen over evidence and
    claims rows stand for them. With fewer than `LEAST_ROWS` rows a change by all there is to know
    of the answer counts as possible too: ln k nats for k classes, the variance of a value.

    Attributes:
        subject: the network, taken apart.
        split: which rows.
        as_on: how many rows the intervals shall be as wide as; as many as there are if None.
    """

    subject: Subject
    split: Split
    as_on: float | None = None

    def of_module(self, module: int, head: int) -> Estimate:
        """What holding a module at its means adds to a head's loss."""
        added = {split: self.subject.losses_without_module(split, module) for split in self._known}
        return self._added(added, head)

    def of_interface(self, pair: tuple[int, int], head: int) -> Estimate:
        """What cutting the edges between two modules adds to a head's loss."""
        added = {split: self.subject.losses_without_interface(split, pair) for split in self._known}
        return self._added(added, head)

    def of_inputs(self, inputs: tuple[int, ...], head: int) -> Estimate:
        """What taking inputs from other samples adds to a head's loss."""
        rows = self.subject.batch(self.split)
        rng = np.random.default_rng((self.subject.seed, 4))
        pairs = []
        for giver in givers(len(rows.x), GIVERS, rng):
            after = self.subject.losses_with_resampled(self.split, inputs, giver)
            pairs.append((giver, self._change(after, self.split, head)))
        limits = self._limits([values for _, values in pairs], head)
        return self.subject.resampling(self.split, self.as_on).mean_of_pairs(pairs, limits)

    def of_unit(
        self, unit: int, threshold: float, holds: NDArray[np.bool_]
    ) -> tuple[Estimate, float]:
        """F1 of a unit's being above a threshold where a condition holds, and of one always on.

        F1 = 2J / (1 + J), J being the share of samples with both among those with either.
        """
        active = self.activations()[:, unit].numpy() > threshold
        jaccard = self.subject.resampling(self.split, self.as_on).mean(
            (active & holds).astype(float), (0.0, 1.0), active | holds
        )
        return jaccard.map(_f1), float(_f1(np.array(holds.mean())))

    def of_program(self, given: Tensor, head: int) -> tuple[Estimate, float]:
        """Share of samples where a program gives the network's answer, and its commonest one.

        Values agree within a tenth of the answers' standard deviation.
        """
        answers = self.answers(head)
        within = 0.1 * self.spread(head) if self.subject.task.heads[head].kind == "value" else 0.1
        agrees = ((given - answers).abs() < within).numpy().astype(float)
        found = self.subject.resampling(self.split, self.as_on).mean(agrees, (0.0, 1.0))
        middle = answers.median() if within != 0.1 else answers.mode().values
        return found, float(((answers - middle).abs() < within).float().mean())

    def activations(self) -> Tensor:
        """(b, n) value of each unit."""
        return self.subject.lesions.activations(self.subject.batch(self.split).x)

    @torch.no_grad()
    def answers(self, head: int) -> Tensor:
        """(b,) the network's answers to a head."""
        outputs = self.subject.model(self.subject.batch(self.split).x)
        return self.subject.task.heads[head].answers(outputs)

    def spread(self, head: int) -> float:
        """Standard deviation of the right values over the evidence rows."""
        return float(self.subject.batch("train").y[:, head].std(correction=0))

    @property
    def _known(self) -> tuple[Split, ...]:
        return ("train",) if self.split == "train" else ("train", self.split)

    def _added(self, after: dict[Split, Tensor], head: int) -> Estimate:
        changes = {split: self._change(losses, split, head) for split, losses in after.items()}
        limits = self._limits(list(changes.values()), head)
        return self.subject.resampling(self.split, self.as_on).mean(changes[self.split], limits)

    def _change(self, after: Tensor, split: Split, head: int) -> Array:
        """(b,) what an intervention adds to each sample's loss at a head."""
        return (after - self.subject.losses(split))[:, head].double().numpy()

    def _limits(self, changes: list[Array], head: int) -> tuple[float, float]:
        low, high = limits_of(*changes)
        if self.subject.batch(self.split).independent >= LEAST_ROWS:
            return low, high
        asked = self.subject.task.heads[head]
        wide = max(asked.stop - asked.start, 2)
        most = self.spread(head) ** 2 if asked.kind == "value" else float(np.log(wide))
        return min(low, -most), max(high, most)


def _f1(jaccard: Array) -> Array:
    return 2 * jaccard / (1 + jaccard)
