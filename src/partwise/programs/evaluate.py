"""Evaluation of checked syntax trees on tensors: a table holds every operation there is."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import partial, reduce

import torch
from torch import Tensor

from partwise.programs.sequences import (
    Sequences,
    automaton_of,
    run_automaton,
    symbols_of_numbers,
)
from partwise.tasks.words import CLASSES, Words, is_of_class

Value = Tensor | Words
Given = Value | Sequences

BINARY: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Mod: torch.remainder,
    ast.FloorDiv: torch.floor_divide,
}
COMPARE: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "floor": torch.floor,
    "round": torch.round,
}


def _argmax(values: list[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*values)).argmax(0).float()


MANY: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "min": partial(reduce, torch.minimum),
    "max": partial(reduce, torch.maximum),
    "sum": partial(reduce, operator.add),
    "argmax": _argmax,
}


class RefusedNodeError(Exception):
    """What a program may not do, and the node where it does."""

    def __init__(self, node: ast.expr, why: str):
        super().__init__(why)
        self.node = node


class _Class(str):
    """The name of a class of tokens."""

    __slots__ = ()


def texts_of(node: ast.expr) -> str | tuple[str, ...] | None:
    """What may stand to the right of `in`: a string, a tuple of strings or a class; else None."""
    match node:
        case ast.Name(id=name) if name in CLASSES:
            return _Class(name)
        case ast.Constant(value=str() as text) if text:
            return text
        case ast.Tuple(elts=parts) | ast.List(elts=parts) if parts:
            texts = [part.value for part in parts if isinstance(part, ast.Constant)]
            given = tuple(text for text in texts if isinstance(text, str) and text)
            return given if len(given) == len(parts) else None
    return None


def member_test(among: str | tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a text is among others; see `texts_of`."""
    chosen = set(among)
    if isinstance(among, _Class):
        return lambda text: is_of_class(text, among)
    if isinstance(among, tuple):
        return lambda text: text in chosen
    return lambda text: text != "" and chosen.issuperset(text)


def length_of(values: Mapping[str, Given]) -> int:
    """Number of samples."""
    return max((len(each) for each in values.values()), default=1)


def work_of(values: Mapping[str, Given]) -> int:
    """What one operation on these values takes at most: numbers and texts to look at."""
    return max((_work(each) for each in values.values()), default=1)


def _work(value: Given) -> int:
    if isinstance(value, Tensor):
        return len(value)
    return value.ids.numel() + len(value.vocabulary)


def evaluate(node: ast.expr, values: Mapping[str, Given]) -> Value:
    """The number or text that a checked tree gives for each sample.

    Raises:
        RefusedNodeError: where texts and numbers are mixed.
    """
    match node:
        case ast.Constant(value=str() as text):
            return Words(torch.zeros(1, dtype=torch.long), (text,))
        case ast.Name(id=name):
            found = values[name]
            if isinstance(found, Sequences):
                raise RefusedNodeError(
                    node, f"{name} is a run of texts; count or automaton read it"
                )
            return found if isinstance(found, Words) else found.float()
        case ast.IfExp():
            body, other = evaluate(node.body, values), evaluate(node.orelse, values)
            return _chosen(node, _computed(node.test, values) != 0, body, other)
    return _number(node, values)


def _chosen(node: ast.expr, holds: Tensor, body: Value, other: Value) -> Value:
    if isinstance(body, Words) and isinstance(other, Words):
        both = body.vocabulary
        if other.vocabulary is not both:
            both = tuple(dict.fromkeys([*body.vocabulary, *other.vocabulary]))
        return Words(torch.where(holds, body.over(both), other.over(both)), both)
    if isinstance(body, Words) or isinstance(other, Words):
        raise RefusedNodeError(node, "one side of 'if' gives a text, the other a number")
    return torch.where(holds, body, other)


def _compared(node: ast.Compare, values: Mapping[str, Given]) -> Tensor:
    """(b,) float, whether a comparison of texts or numbers holds."""
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        left, among = evaluate(node.left, values), texts_of(node.comparators[0])
        if not isinstance(left, Words) or among is None:
            raise RefusedNodeError(node, "'in' asks about a text")
        inside = left.among(member_test(among))
        return inside if isinstance(node.ops[0], ast.In) else 1 - inside
    sides = [evaluate(side, values) for side in (node.left, *node.comparators)]
    pairs = zip(node.ops, sides, sides[1:], strict=False)
    return reduce(torch.minimum, [_holds(node, op, a, b) for op, a, b in pairs])


def _holds(node: ast.expr, op: ast.cmpop, left: Value, right: Value) -> Tensor:
    if isinstance(left, Words) and isinstance(right, Words):
        if not isinstance(op, ast.Eq | ast.NotEq):
            raise RefusedNodeError(node, "texts compare by == and != only")
        same = ((left.ids >= 0) & (left.ids == right.over(left.vocabulary))).float()
        return same if isinstance(op, ast.Eq) else 1 - same
    if isinstance(left, Words) or isinstance(right, Words):
        raise RefusedNodeError(node, "a text is compared with a number")
    return COMPARE[type(op)](left, right).float()


def _computed(node: ast.expr, values: Mapping[str, Given]) -> Tensor:
    """The number that a part of a program gives; a text is refused."""
    found = evaluate(node, values)
    if isinstance(found, Words):
        raise RefusedNodeError(node, f"cannot compute with a text: {ast.unparse(node)[:80]!r}")
    return found


def _number(node: ast.expr, values: Mapping[str, Given]) -> Tensor:
    value = partial(_computed, values=values)

    match node:
        case ast.Constant(value=number):
            return torch.tensor(float(number))  # type: ignore[arg-type]
        case ast.UnaryOp(op=ast.Not()):
            return (value(node.operand) == 0).float()
        case ast.UnaryOp():
            return -value(node.operand)
        case ast.BinOp():
            return BINARY[type(node.op)](value(node.left), value(node.right))
        case ast.BoolOp(op=ast.And()):
            return reduce(torch.minimum, ((value(each) != 0).float() for each in node.values))
        case ast.BoolOp():
            return reduce(torch.maximum, ((value(each) != 0).float() for each in node.values))
        case ast.Compare():
            return _compared(node, values)
        case ast.Call(func=ast.Name(id=name)):
            return _called(name, node, values)
    raise AssertionError(f"unchecked node {node!r}")


def _called(name: str, node: ast.Call, values: Mapping[str, Given]) -> Tensor:
    if name == "count":
        return _counted(node, values)
    if name == "automaton":
        return _driven(node, values)
    arguments = [_computed(each, values) for each in node.args]
    return MANY[name](arguments) if name in MANY else FUNCTIONS[name](arguments[0])


def _counted(node: ast.Call, values: Mapping[str, Given]) -> Tensor:
    read, among = node.args[0], texts_of(node.args[1])
    run = values[read.id] if isinstance(read, ast.Name) else None
    if not isinstance(run, Sequences) or among is None:
        raise RefusedNodeError(read, "'count' asks about a run of texts")
    return run.count(member_test(among))


def _driven(node: ast.Call, values: Mapping[str, Given]) -> Tensor:
    automaton = automaton_of(node)
    assert automaton is not None
    first = values[automaton.read[0].id]
    if not automaton.is_run:
        if not isinstance(first, Sequences):
            raise RefusedNodeError(node, "'automaton' reads a run of texts, or (x0, x1)")
        return run_automaton(automaton, first.symbols(automaton.alphabet))
    columns = [_computed(each, values) for each in automaton.read]
    return run_automaton(automaton, symbols_of_numbers(columns, automaton.alphabet))
