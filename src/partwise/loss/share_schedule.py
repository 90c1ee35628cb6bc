"""When and how hard the penalty on contribution shares presses."""

from __future__ import annotations

from dataclasses import dataclass

from partwise.checks import require_at_least
from partwise.errors import RecipeError


@dataclass(frozen=True)
class ShareSchedule:
    """When and how hard the penalty presses; with `strength` and `mask_share` 0, not at all.

    Attributes:
        strength: weight of the penalty, in nats per unit of Newman's Q.
        start: steps of plain training before the first partition.
        ramp: steps over which the strength rises from 0 to full.
        press_every: steps between steps with a penalty, which then counts as many times; large
            networks save time with 4.
        refresh_every: steps between partitions.
        lag: steps that training goes on for while the cut tree is built, in a thread, before the
            new partition is in force; less than `refresh_every`. Where a GPU trains, a CPU has
            the time.
        freeze_after: steps after `start` from which no partition is looked for any more; if it is
            negative, none ever is.
        inflations: powers of the co-usage capacities that trees are built for.
        min_gain: Q that a split must earn to be kept.
        min_contrast: how distinct a split must be to be kept (see `search_modules`).
        modules: how many modules are wanted; as many as the tree shows, if 0.
        min_correlation: weakest correlation of usages that is an edge.
        quota_power: heads, neurons and channels go to modules in proportion to the loss at their
            tokens to this power.
        mask_share: share of steps in which the network runs without its interface weights.
        silence_share: share of steps in which every sequence runs without the heads and neurons
            of modules that it has no tokens of.
        mask_after: steps after `start` before masking and silencing begin.
        probes: pieces of text that usage is measured over.
        piece: tokens per piece; longer sequences are cut into such.
        tree_units: tokens that the cut tree of co-usage is built over, at most.
        watch_every: steps between measurements of input scales.
        seed: seed of the choice of masked and of silenced steps.

    Raises:
        RecipeError: for a negative number of steps, or 0 where there must be some, or a share of
            steps that is none.
    """

    strength: float = 3.0
    start: int = 400
    ramp: int = 1600
    press_every: int = 1
    refresh_every: int = 50
    lag: int = 0
    freeze_after: int = 300
    inflations: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    min_gain: float = 0.05
    min_contrast: float = 0.7
    modules: int = 0
    min_correlation: float = 0.12
    quota_power: float = 1.0
    mask_share: float = 0.2
    silence_share: float = 0.2
    mask_after: int = 800
    probes: int = 768
    piece: int = 32
    tree_units: int = 2048
    watch_every: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(1, self, "press_every", "refresh_every", "watch_every")
        require_at_least(1, self, "probes", "piece", "tree_units")
        require_at_least(0, self, "start", "ramp", "lag", "mask_after", "modules")
        for name in ("mask_share", "silence_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} = {getattr(self, name)}, wanted 0 to 1")
