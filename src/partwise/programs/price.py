"""What a program costs, and what it saves, in bits: the minimum description length.

A program is worth its bits where it shortens the answers by more. Every operation costs the same,
a variable the logarithm of how many there are, a number its digits, a text its characters.
"""

from __future__ import annotations

import ast
import math

import numpy as np
from numpy.typing import NDArray

from partwise.programs.language import Program

OPERATION = 3.0
CHARACTER = 5.0
DIGIT = math.log2(10)
FINEST = 0.05
"""Values are told no finer than this share of their standard deviation."""
Array = NDArray[np.float64]


def program_bits(program: Program, variables: int) -> float:
    """Bits to write a program that may read so many variables.

    >>> from partwise.programs.language import parse_program
    >>> round(program_bits(parse_program("x0 > 0.5"), 8), 1)
    16.3
    """
    return sum(_node_bits(node, variables) for node in ast.walk(program.tree))


def _node_bits(node: ast.AST, variables: int) -> float:
    match node:
        case ast.Name():
            return OPERATION + math.log2(max(variables, 1))
        case ast.Constant(value=str() as text):
            return OPERATION + CHARACTER * len(text)
        case ast.Constant(value=bool() | int() | float() as number):
            return OPERATION + number_bits(float(number))
        case ast.expr():
            return OPERATION
    return 0.0


def number_bits(number: float) -> float:
    """Bits of a number: its significant digits, its sign, and where its point is.

    >>> [round(number_bits(number), 1) for number in (0, 1, -12, 0.125)]
    [3.3, 3.3, 7.6, 12.0]
    """
    mantissa, exponent = f"{abs(number):.6e}".split("e")
    digits = mantissa.replace(".", "").rstrip("0") or "0"
    point = len(digits) - 1 - int(exponent)  # digits behind the point, less zeros before it
    return DIGIT * len(digits) + math.log2(1 + abs(point)) + (number < 0)


def class_bits(wrong: int, samples: int, classes: int) -> float:
    """Bits that correct a program's answers: how many are wrong, which, and what they should be."""
    which = _log2_choose(samples, wrong) + math.log2(samples + 1)
    return which + wrong * math.log2(max(classes - 1, 1))


def _log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def value_bits(errors: Array, spread: float) -> float:
    """Bits that correct a program's values, told to `FINEST` of their spread (a Gaussian code)."""
    finest = (FINEST * spread) ** 2
    mean = float(np.mean(np.square(errors))) + finest
    if not math.isfinite(mean):
        return math.inf
    return 0.5 * len(errors) * math.log2(max(mean / max(finest, 1e-300), 1.0))
