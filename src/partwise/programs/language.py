"""The small language descriptions are written in: one expression, evaluated on tensors.

A program is parsed to an abstract syntax tree, every node is checked against a whitelist, and
the tree is evaluated directly; nothing is ever handed to Python's own evaluator. The grammar is in
`docs/design/language.md`. What is refused is named with its place: `column 12: ...`.

Variables hold a number per sample, a text (`Words`), or a run of texts (`Sequences`).

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
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from partwise.errors import ProgramError
from partwise.programs.evaluate import (
    BINARY,
    COMPARE,
    FUNCTIONS,
    MANY,
    Given,
    RefusedNodeError,
    evaluate,
    length_of,
    texts_of,
    work_of,
)
from partwise.programs.sequences import Sequences, automaton_of
from partwise.tasks.words import Words

MAX_LENGTH = 4000
MAX_NODES = 2000
MAX_DEPTH = 40
MAX_TEXT = 400
LARGEST = 1e30
MOST_WORK = 1e9
"""Nodes times samples, and texts that a vocabulary holds: a few seconds on one core."""

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

    def evaluate(self, values: Mapping[str, Given]) -> Tensor:
        """(b,) float value of each sample.

        Args:
            values: (b,) numbers or texts of each variable.

        Raises:
            ProgramError: if a variable has no value, the program gives a text, or there is too
                much to compute.
        """
        found = self._evaluated(values)
        if isinstance(found, Words):
            raise ProgramError(f"program gives a text, wanted a number: {self.text[:80]}")
        return found.float().expand(length_of(values))

    def evaluate_text(self, values: Mapping[str, Given]) -> Words:
        """The text that the program gives for each sample.

        Args:
            values: as `evaluate`.

        Raises:
            ProgramError: if a variable has no value, the program gives a number, or there is too
                much to compute.
        """
        found = self._evaluated(values)
        if not isinstance(found, Words):
            raise ProgramError(f"program gives a number, wanted a text: {self.text[:80]}")
        return Words(found.ids.expand(length_of(values)), found.vocabulary)

    def _evaluated(self, values: Mapping[str, Given]) -> Value:
        unknown = sorted(self.variables - values.keys())
        if unknown:
            raise ProgramError(f"program reads {unknown[0]}, which has no value here: {self.text}")
        read = {name: values[name] for name in self.variables}
        if self.size * work_of(read) > MOST_WORK:
            raise ProgramError(
                f"program of {self.size} parts on {length_of(values)} samples is too much work"
            )
        try:
            return evaluate(self.tree, values)
        except RefusedNodeError as error:
            raise ProgramError(f"{_place(self.text, error.node)}: {error}") from error


def parse_program(text: str) -> Program:
    """Parses and checks a program.

    Raises:
        ProgramError: if it is too long, no expression, or uses anything outside the language; it
            says at which column.
    """
    if len(text) > MAX_LENGTH:
        raise ProgramError(f"program has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    text = text.strip()
    tree = _parsed(text)
    try:
        nodes = _check(tree, MAX_DEPTH)
    except RefusedNodeError as error:
        raise ProgramError(f"{_place(text, error.node)}: {error}") from error
    if len(nodes) > MAX_NODES:
        raise ProgramError(f"program has {len(nodes)} parts; at most {MAX_NODES} are allowed")
    names = frozenset(node.id for node in nodes if isinstance(node, ast.Name))
    return Program(text, tree, names, len(nodes))


def _parsed(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        column = error.offset or len(text) + 1
        raise ProgramError(f"column {column}: not an expression: {text[:80]!r}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(f"not an expression: {text[:80]!r}") from error


def _place(text: str, node: ast.expr) -> str:
    """Where a node begins, in words; columns count characters from 1.

    >>> _place("x0 + y", parse_program("x0 + y").tree.right)
    'column 6'
    """
    lines = re.split("\r\n|\r|\n", text)
    line = lines[min(node.lineno, len(lines)) - 1].encode()
    column = len(line[: node.col_offset].decode(errors="replace")) + 1
    return f"column {column}" if len(lines) == 1 else f"line {node.lineno}, column {column}"


def _check(node: ast.expr, depth: int) -> list[ast.expr]:
    if depth == 0:
        raise RefusedNodeError(node, f"program is nested more than {MAX_DEPTH} deep")
    children = _children(node)
    return [node, *(each for child in children for each in _check(child, depth - 1))]


def _children(node: ast.expr) -> list[ast.expr]:
    """The parts of a node that is in the language."""
    match node:
        case ast.Constant(value=bool() | int() | float() as number) if abs(number) <= LARGEST:
            return []
        case ast.Constant(value=str() as text) if len(text) <= MAX_TEXT:
            return []
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[among]) if _is_texts(among):
            return [node.left]
        case ast.Name():
            return []
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            return [node.operand]
        case ast.BinOp() if type(node.op) in BINARY:
            return [node.left, node.right]
        case ast.BoolOp():
            return node.values
        case ast.Compare() if all(type(op) in COMPARE for op in node.ops):
            return [node.left, *node.comparators]
        case ast.IfExp():
            return [node.test, node.body, node.orelse]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if _arity_fits(name, len(node.args)):
            return node.args
        case ast.Call(func=ast.Name(id="count"), keywords=[], args=[ast.Name() as read, among]) if (
            _is_texts(among)
        ):
            return [read]
        case ast.Call(func=ast.Name(id="automaton"), keywords=[]) if found := automaton_of(node):
            return [*found.read, *found.constants]
    raise RefusedNodeError(node, f"not in the language: {_source(node)!r}")


def _source(node: ast.expr) -> str:
    """The kind of a node; its text where that is short to write."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return f"{name}(...)"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant():
            return str(node.value)[:40] if not isinstance(node.value, int) else "a large number"
    return type(node).__name__


def _arity_fits(name: str, arguments: int) -> bool:
    return arguments == 1 if name in FUNCTIONS else name in MANY and arguments >= 2


def _is_texts(among: ast.expr) -> bool:
    found = texts_of(among)
    return found is not None and len(found) <= MAX_TEXT and max(map(len, found)) <= MAX_TEXT


__all__ = ["Given", "Program", "Sequences", "Value", "Words", "parse_program"]
