"""A colour per module, the same wherever the module appears, and told apart by colour-blind eyes.

Hues follow Okabe and Ito (2008), darkened for paper and lightened for the dark page until numbers
on them can be read. There are eight; further modules share hues, never numbers.
"""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[int, int, int]


class ModuleColour(NamedTuple):
    """One hue in three lights.

    Attributes:
        light: on paper, under white numbers.
        dark: on the dark page, under black numbers.
        picture: in pictures, which look the same on both.
    """

    light: str
    dark: str
    picture: RGB


MODULE_COLOURS = (
    ModuleColour("#0b66a0", "#63b4e6", (38, 128, 190)),
    ModuleColour("#c2500a", "#f0935a", (222, 104, 34)),
    ModuleColour("#0a7a5c", "#45c6a0", (24, 150, 116)),
    ModuleColour("#a3417a", "#e09ac4", (196, 96, 152)),
    ModuleColour("#876200", "#e2b944", (190, 146, 26)),
    ModuleColour("#5450a8", "#aeaaf0", (118, 112, 204)),
    ModuleColour("#8c2f39", "#e58b92", (186, 78, 88)),
    ModuleColour("#55606b", "#b4bec8", (128, 138, 148)),
)
POSITIVE: RGB = (128, 72, 160)
NEGATIVE: RGB = (84, 140, 52)
INK: RGB = (0, 0, 0)
SHADES = 8
DEEPEST = 0.62
"""Opacity of the deepest shade, on which text can still be read."""


def colour_class(module: int) -> str:
    """CSS class that carries a module's colour; negative means no module."""
    return "mixed" if module < 0 else f"m{module % len(MODULE_COLOURS)}"


def picture_colour(module: int) -> RGB:
    """The module's colour in pictures."""
    return MODULE_COLOURS[module % len(MODULE_COLOURS)].picture


def shade_css() -> str:
    """CSS rules for the shades of marks: `a1` to `a8` above 0, `b1` to `b8` below."""
    return "".join(
        f".{name}{k}.{name}{k}{{background:rgb(var(--{sign}) / {DEEPEST * k / SHADES:.2f})}}"
        for name, sign in (("a", "above"), ("b", "below"))
        for k in range(1, SHADES + 1)
    )


def module_css(shade: str) -> str:
    """CSS rules that set `--m` for every module class, `shade` being `light` or `dark`."""
    return "".join(
        f".m{k}{{--m:{getattr(colour, shade)}}}" for k, colour in enumerate(MODULE_COLOURS)
    )
