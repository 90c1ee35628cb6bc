"""What evidence is measured with: careful intervals, and thresholds for units."""

from __future__ import annotations

import torch
from torch import Tensor

from partwise.explain.measures import Measures
from partwise.explain.subject import Subject

CAREFUL = 0.2
"""Share of the test's rows whose interval a writer's bounds should leave room for: other rows test
a claim, and beside other claims. Reports say so where they show the claims."""


def carefully(subject: Subject, where: str = "") -> Measures:
    """Measures on the evidence, with intervals as wide as on `CAREFUL` of the test's rows."""
    return Measures(subject, "train", CAREFUL * subject.rows("claims").independent, where)


def best_threshold(values: Tensor, truth: Tensor) -> tuple[float, float]:
    """The threshold above which `values` tell `truth` with the highest F1, and that F1."""
    order = values.argsort(descending=True)
    hits = truth[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(values) + 1) + truth.sum())
    best = int(f1[:-1].argmax())
    middle = (values[order[best]] + values[order[best + 1]]) / 2
    return middle.item(), f1[best].item()
