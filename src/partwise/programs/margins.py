"""How clear a program's answer is: the scores that it takes the largest of."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import torch
from torch import Tensor

from partwise.programs.evaluate import Given, Value, evaluate, length_of
from partwise.programs.language import Program


def scores_of(program: Program, values: Mapping[str, Given]) -> Tensor | None:
    """(b, classes) a score per answer, of which the program gives the largest.

    None where it does not decide by one `argmax`, or one comparison, of numbers.

    >>> from partwise.programs.language import parse_program
    >>> scores_of(parse_program("x0 <= 1"), {"x0": torch.tensor([0.0, 3.0])}).tolist()
    [[0.0, 1.0], [0.0, -2.0]]
    """
    match program.tree:
        case ast.Call(func=ast.Name(id="argmax"), args=nodes):
            found = [evaluate(each, values) for each in nodes]
        case ast.Compare(left=left, ops=[ast.Gt() | ast.GtE()], comparators=[right]):
            found = _difference(left, right, values)
        case ast.Compare(left=left, ops=[ast.Lt() | ast.LtE()], comparators=[right]):
            found = _difference(right, left, values)
        case _:
            return None
    numbers = [each for each in found if isinstance(each, Tensor)]
    if not numbers or len(numbers) < len(found):
        return None
    scores = torch.stack(torch.broadcast_tensors(*numbers), 1).float()
    return scores.expand(length_of(values), -1)


def _difference(larger: ast.expr, smaller: ast.expr, values: Mapping[str, Given]) -> list[Value]:
    a, b = evaluate(larger, values), evaluate(smaller, values)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return []
    return [torch.zeros(1), a - b]
