"""Evidence on rows of numbers and on pictures, as text."""

from __future__ import annotations

import math
from collections.abc import Iterable

from partwise.explain.prompts.writing import cut, joined, line, numbers, visible
from partwise.explain.values import Evidence, Example, Share, Spread

SHADES = ".:-=+*#%@"
MOST_CODE = 6000


def render_inputs(evidence: Evidence) -> str:
    """Names of the inputs, or where each pixel is."""
    if not _is_picture(evidence):
        return joined(f"x{k} = {line(name)}" for k, name in enumerate(evidence.inputs))
    height, width = evidence.picture or (0, 0)
    return f"pixels of {height} rows by {width} columns; row r, column c is x<{width} * r + c>"


def render_units(evidence: Evidence) -> str:
    """Names of the units, layer by layer."""
    lines = (
        f"{line(layer)}: {joined(map(line, names))}" for layer, names in evidence.units.items()
    )
    return joined(lines, separator="\n")


def render_shares(shares: Iterable[Share]) -> str:
    """What is read or fed, and how much of it."""
    return joined(f"{line(each.name)} {each.share:.1%}" for each in shares)


def render_effects(evidence: Evidence) -> str:
    """What the intervention does to each head."""
    return "\n".join(
        f"head {each.head} ({line(each.name)}): {each.loss_before:.4g} -> {each.loss_after:.4g} "
        f"{each.unit}{render_spread(each.spread)}"
        for each in evidence.effects
    )


def render_spread(spread: Spread | None) -> str:
    """How certain a change is, beside chance."""
    if spread is None:
        return ""
    words = f", adds {spread.low:.4g} to {spread.high:.4g} (95%)"
    if spread.chance_high is not None:
        words += f"; random parts of the same size add {spread.chance_high:.4g} or less"
    if spread.chance_low is not None:
        words += f"; random parts of the same size move it by {spread.chance_low:.4g} or more"
    return words


def render_profiles(evidence: Evidence) -> str:
    """The strongest hidden units, and what each tells."""
    return "\n".join(
        f"unit {each.unit} ({line(each.layer)}): strength {each.strength:.3g}, "
        f"quantiles {numbers(each.quantiles)}; above {each.threshold:.4g} it tells "
        f"{line(each.best_answer, 200)} with F1 {each.f1:.2f} (95%: {each.f1_low:.2f} or more; a "
        f"unit that is always on has {each.chance:.2f})"
        for each in evidence.profiles
    )


def render_fit(evidence: Evidence) -> str:
    """The fitted program, and how well it fits."""
    if evidence.fitted is None:
        return ""
    agreement = (
        f"{evidence.fitted_fidelity:.1%} of the evidence samples (95%: {evidence.fitted_low:.1%} "
        f"or more; the most frequent answer {evidence.fitted_chance:.1%})"
    )
    return f"head {evidence.fitted_head} = {evidence.fitted}\nagrees on {agreement}"


def render_code(evidence: Evidence) -> str:
    """The strongest edges, as code."""
    return cut("\n".join(map(visible, evidence.code.splitlines())), MOST_CODE)


def render_examples(evidence: Evidence) -> str:
    """Samples with much, little or some activity; pictures as grids of shades."""
    values = [value for each in evidence.examples for value in each.inputs if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return "\n".join(
        f"{each.why}: activity {each.activity:.3g}, answers {numbers(each.answers)}\n"
        + _render_sample(evidence, each, low, high)
        for each in evidence.examples
    )


def _is_picture(evidence: Evidence) -> bool:
    return evidence.picture is not None and math.prod(evidence.picture) == len(evidence.inputs)


def _render_sample(evidence: Evidence, example: Example, low: float, high: float) -> str:
    if not _is_picture(evidence):
        return joined(f"x{k}={value:.3g}" for k, value in enumerate(example.inputs))
    _, width = evidence.picture or (0, 0)
    shades = "".join(_shade(value, low, high) for value in example.inputs)
    return "\n".join(shades[start : start + width] for start in range(0, len(shades), width))


def _shade(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "?"
    level = (value - low) / (high - low) if high > low else 0.0
    return SHADES[round(level * (len(SHADES) - 1))]
