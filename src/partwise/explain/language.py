"""The small language descriptions are written in: one expression, evaluated on tensors.

A program is parsed to an abstract syntax tree, every node is checked against a whitelist, and
the tree is evaluated directly; nothing is ever handed to Python's own evaluator. Comparisons and
`and`, `or`, `not` give booleans; `a if condition else b` chooses per sample.

Variables hold a number per sample, or a text (`Words`). Texts compare by `==` and `!=`; `in` asks
whether a text is one of a tuple, made of the characters of a string, or of a class: `LETTERS`,
`DIGITS`, `PUNCTUATION` or `BLANKS`.

>>> import torch
>>> program = parse_program("1 if x0 > 0.5 and not x1 > 0 else max(x1, 0)")
>>> program.evaluate({"x0": torch.tensor([1.0, 0.0]), "x1": torch.tensor([-1.0, 3.0])}).tolist()
[1.0, 3.0]
>>> token = Words(torch.tensor([0, 1, 2, -1]), ("a", "12", "="))
>>> parse_program("token in DIGITS or token == '='").evaluate({"token": token}).tolist()
[0.0, 1.0, 1.0, 0.0]
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from partwise.errors import ProgramError
from partwise.tasks.words import CLASSES, Words, is_of_class

MAX_LENGTH = 4000
MAX_NODES = 800
MAX_DEPTH = 40
MAX_TEXT = 400
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


Value = Tensor | Words


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

    def evaluate(self, values: Mapping[str, Value]) -> Tensor:
        """(b,) float value of each sample.

        Args:
            values: (b,) numbers or texts of each variable.

        Raises:
            ProgramError: if a variable has no value, or the program gives a text.
        """
        found = self._evaluated(values)
        if isinstance(found, Words):
            raise ProgramError(f"program gives a text, wanted a number: {self.text[:80]}")
        return found.float().expand(_length(values))

    def evaluate_text(self, values: Mapping[str, Value]) -> Words:
        """The text that the program gives for each sample.

        Args:
            values: as `evaluate`.

        Raises:
            ProgramError: if a variable has no value, or the program gives a number.
        """
        found = self._evaluated(values)
        if not isinstance(found, Words):
            raise ProgramError(f"program gives a number, wanted a text: {self.text[:80]}")
        return Words(found.ids.expand(_length(values)), found.vocabulary)

    def _evaluated(self, values: Mapping[str, Value]) -> Value:
        unknown = sorted(self.variables - values.keys())
        if unknown:
            raise ProgramError(f"program reads {unknown[0]}, which has no value here: {self.text}")
        return _evaluate(self.tree, values)


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
        case ast.Constant(value=str() as text) if len(text) <= MAX_TEXT:
            return []
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[among]) if _texts(among):
            return [node.left]
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


class _Class(str):
    """The name of a class of tokens."""

    __slots__ = ()


def _texts(node: ast.expr) -> str | tuple[str, ...] | None:
    """What may stand to the right of `in`: a string, a tuple of strings or a class; else None."""
    match node:
        case ast.Name(id=name) if name in CLASSES:
            return _Class(name)
        case ast.Constant(value=str() as text) if 0 < len(text) <= MAX_TEXT:
            return text
        case ast.Tuple(elts=parts) | ast.List(elts=parts) if 0 < len(parts) <= MAX_TEXT:
            texts = tuple(_texts(part) for part in parts if isinstance(part, ast.Constant))
            given = tuple(text for text in texts if isinstance(text, str))
            return given if len(given) == len(parts) else None
    return None


def _length(values: Mapping[str, Value]) -> int:
    return max((len(each) for each in values.values()), default=1)


def _evaluate(node: ast.expr, values: Mapping[str, Value]) -> Value:
    match node:
        case ast.Constant(value=str() as text):
            return Words(torch.zeros(1, dtype=torch.long), (text,))
        case ast.Name(id=name) if isinstance(values[name], Words):
            return values[name]
        case ast.IfExp():
            return _chosen(
                _computed(node.test, values) != 0,
                _evaluate(node.body, values),
                _evaluate(node.orelse, values),
            )
    return _number(node, values)


def _chosen(holds: Tensor, body: Value, other: Value) -> Value:
    if isinstance(body, Words) and isinstance(other, Words):
        both = body.vocabulary
        if other.vocabulary is not both:
            both = tuple(dict.fromkeys([*body.vocabulary, *other.vocabulary]))
        return Words(torch.where(holds, body.over(both), other.over(both)), both)
    if isinstance(body, Words) or isinstance(other, Words):
        raise ProgramError("one side of 'if' gives a text, the other a number")
    return torch.where(holds, body, other)


def _compared(node: ast.Compare, values: Mapping[str, Value]) -> Tensor:
    """(b,) float, whether a comparison of texts or numbers holds."""
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        left, among = _evaluate(node.left, values), _texts(node.comparators[0])
        if not isinstance(left, Words) or among is None:
            raise ProgramError("'in' asks about a text")
        inside = left.among(_member_test(among))
        return inside if isinstance(node.ops[0], ast.In) else 1 - inside
    sides = [_evaluate(side, values) for side in (node.left, *node.comparators)]
    pairs = zip(node.ops, sides, sides[1:], strict=False)
    return reduce(torch.minimum, [_holds(op, a, b) for op, a, b in pairs])


def _member_test(among: str | tuple[str, ...]) -> Callable[[str], bool]:
    chosen = set(among)
    if isinstance(among, _Class):
        return lambda text: is_of_class(text, among)
    if isinstance(among, tuple):
        return lambda text: text in chosen
    return lambda text: text != "" and chosen.issuperset(text)


def _holds(op: ast.cmpop, left: Value, right: Value) -> Tensor:
    if isinstance(left, Words) and isinstance(right, Words):
        if not isinstance(op, ast.Eq | ast.NotEq):
            raise ProgramError("texts compare by == and != only")
        same = ((left.ids >= 0) & (left.ids == right.over(left.vocabulary))).float()
        return same if isinstance(op, ast.Eq) else 1 - same
    if isinstance(left, Words) or isinstance(right, Words):
        raise ProgramError("a text is compared with a number")
    return _COMPARE[type(op)](left, right).float()


def _computed(node: ast.expr, values: Mapping[str, Value]) -> Tensor:
    """The number that a part of a program gives; a text is refused."""
    found = _evaluate(node, values)
    if isinstance(found, Words):
        raise ProgramError(f"cannot compute with a text: {ast.unparse(node)[:80]!r}")
    return found


def _number(node: ast.expr, values: Mapping[str, Value]) -> Tensor:
    value = partial(_computed, values=values)

    match node:
        case ast.Constant(value=number):
            return torch.tensor(float(number))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return values[name].float()  # type: ignore[union-attr]
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
            return _compared(node, values)
        case ast.Call(func=ast.Name(id=name)) if name in _MANY:
            return reduce(_MANY[name], (value(each) for each in node.args))
        case ast.Call(func=ast.Name(id=name)):
            return _FUNCTIONS[name](value(node.args[0]))
    raise AssertionError(f"unchecked node {node!r}")
