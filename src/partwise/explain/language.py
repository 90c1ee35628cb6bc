"""The small language descriptions are written in: one expression, evaluated on tensors.

A program is parsed to an abstract syntax tree, every node is checked against a whitelist, and
the tree is evaluated directly; nothing is ever handed to Python's own evaluator. Comparisons and
`and`, `or`, `not` give booleans; `a if condition else b` chooses per sample.

>>> import torch
>>> program = parse_program("1 if x0 > 0.5 and not x1 > 0 else max(x1, 0)")
>>> program.evaluate({"x0": torch.tensor([1.0, 0.0]), "x1": torch.tensor([-1.0, 3.0])}).tolist()
[1.0, 3.0]
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from partwise.errors import ProgramError

MAX_LENGTH = 4000
MAX_NODES = 800
MAX_DEPTH = 40
LARGEST = 1e30

_BINARY: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
}
_MANY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "min": torch.minimum,
    "max": torch.maximum,
}


@dataclass(frozen=True)
class Program:
    """A checked expression.

    Attributes:
        text: as it was written.
        tree: its syntax tree, made of whitelisted nodes only.
        variables: names it reads.
        size: number of operations, constants and variables in it.
    """

    text: str
    tree: ast.expr
    variables: frozenset[str]
    size: int

    def evaluate(self, values: Mapping[str, Tensor]) -> Tensor:
        """(b,) float value of each sample.

        Args:
            values: (b,) tensor of each variable.

        Raises:
            ProgramError: if a variable has no value.
        """
        unknown = sorted(self.variables - values.keys())
        if unknown:
            raise ProgramError(f"program reads {unknown[0]}, which has no value here: {self.text}")
        length = max((len(each) for each in values.values()), default=1)
        return _evaluate(self.tree, values).float().expand(length)


def parse_program(text: str) -> Program:
    """Parses and checks a program.

    Raises:
        ProgramError: if it is too long, no expression, or uses anything outside the language.
    """
    if len(text) > MAX_LENGTH:
        raise ProgramError(f"program has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(f"not an expression: {text[:80]!r}") from error
    nodes = _check(tree, MAX_DEPTH)
    if len(nodes) > MAX_NODES:
        raise ProgramError(f"program has {len(nodes)} parts; at most {MAX_NODES} are allowed")
    names = frozenset(node.id for node in nodes if isinstance(node, ast.Name))
    return Program(text.strip(), tree, names, len(nodes))


def _check(node: ast.expr, depth: int) -> list[ast.expr]:
    if depth == 0:
        raise ProgramError(f"program is nested more than {MAX_DEPTH} deep")
    children = _children(node)
    return [node, *(each for child in children for each in _check(child, depth - 1))]


def _children(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.Constant(value=bool() | int() | float() as number) if abs(number) <= LARGEST:
            return []
        case ast.Name():
            return []
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            return [node.operand]
        case ast.BinOp() if type(node.op) in _BINARY:
            return [node.left, node.right]
        case ast.BoolOp():
            return node.values
        case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
            return [node.left, *node.comparators]
        case ast.IfExp():
            return [node.test, node.body, node.orelse]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if _arity_fits(name, len(node.args)):
            return node.args
    raise ProgramError(f"not in the language: {ast.unparse(node)[:80]!r}")


def _arity_fits(name: str, arguments: int) -> bool:
    return arguments == 1 if name in _FUNCTIONS else name in _MANY and arguments >= 2


def _evaluate(node: ast.expr, values: Mapping[str, Tensor]) -> Tensor:
    def value(child: ast.expr) -> Tensor:
        return _evaluate(child, values)

    match node:
        case ast.Constant(value=number):
            return torch.tensor(float(number))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return values[name].float()
        case ast.UnaryOp(op=ast.Not()):
            return (value(node.operand) == 0).float()
        case ast.UnaryOp():
            return -value(node.operand)
        case ast.BinOp():
            return _BINARY[type(node.op)](value(node.left), value(node.right))
        case ast.BoolOp(op=ast.And()):
            return reduce(torch.minimum, ((value(each) != 0).float() for each in node.values))
        case ast.BoolOp():
            return reduce(torch.maximum, ((value(each) != 0).float() for each in node.values))
        case ast.Compare():
            sides = [value(node.left), *(value(each) for each in node.comparators)]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            links = [_COMPARE[type(op)](a, b).float() for op, a, b in pairs]
            return reduce(torch.minimum, links)
        case ast.IfExp():
            return torch.where(value(node.test) != 0, value(node.body), value(node.orelse))
        case ast.Call(func=ast.Name(id=name)) if name in _MANY:
            return reduce(_MANY[name], (value(each) for each in node.args))
        case ast.Call(func=ast.Name(id=name)):
            return _FUNCTIONS[name](value(node.args[0]))
    raise AssertionError(f"unchecked node {node!r}")
