"""Programs in words: conditionals as a list of rules, comparisons as clauses."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import NamedTuple

from partwise.programs.language import Program

CLAUSES = {
    ast.Gt: "is above",
    ast.GtE: "is at least",
    ast.Lt: "is below",
    ast.LtE: "is at most",
    ast.Eq: "is",
    ast.NotEq: "is not",
    ast.In: "is among",
    ast.NotIn: "is not among",
}


class Rule(NamedTuple):
    """What a program gives where all conditions hold, and none of an earlier rule's did."""

    conditions: tuple[ast.expr, ...]
    gives: ast.expr


def rules_of(node: ast.expr, conditions: tuple[ast.expr, ...] = ()) -> list[Rule]:
    """A conditional, however deep it is nested, as a list of rules in their order."""
    if not isinstance(node, ast.IfExp):
        return [Rule(conditions, node)]
    return [
        *rules_of(node.body, (*conditions, node.test)),
        *rules_of(node.orelse, conditions),
    ]


def in_words(program: Program, names: Mapping[str, str], answer: str) -> str:
    """What a program says.

    Args:
        program: the program.
        names: variable -> what it is called.
        answer: what the program gives, in words.

    >>> from partwise.programs.language import parse_program
    >>> tree = parse_program("(3 if x1 > 2 else 1) if x0 <= 0.5 else 7")
    >>> in_words(tree, {"x0": "width"}, "the answer")
    'the answer is 3 when width is at most 0.5 and x1 is above 2; else 1 when width is at most 0.5; else 7'
    >>> in_words(parse_program("x0 > 0.5 and x1 == 2"), {}, "it")
    'it is 1 when x0 is above 0.5 and x1 is 2; else 0'
    """  # noqa: E501
    rules = rules_of(program.tree)
    if len(rules) == 1:
        only = rules[0].gives
        if _is_condition(only):
            return f"{answer} is 1 when {_clause(only, names)}; else 0"
        if isinstance(only, ast.Call) and ast.unparse(only.func) == "argmax":
            scores = "; ".join(f"{k}: {_expression(s, names)}" for k, s in enumerate(only.args))
            return f"{answer} is the one with the highest score, of {scores}"
        return f"{answer} is {_expression(only, names)}"
    return f"{answer} is " + "; else ".join(_rule(rule, names) for rule in rules)


def _rule(rule: Rule, names: Mapping[str, str]) -> str:
    given = _expression(rule.gives, names)
    if not rule.conditions:
        return given
    return f"{given} when {' and '.join(_clause(each, names) for each in rule.conditions)}"


def _is_condition(node: ast.expr) -> bool:
    return isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _clause(node: ast.expr, names: Mapping[str, str], inside: bool = False) -> str:
    match node:
        case ast.BoolOp(op=op, values=parts):
            word = " and " if isinstance(op, ast.And) else " or "
            text = word.join(_clause(part, names, True) for part in parts)
            return f"({text})" if inside else text
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"not {_clause(operand, names, True)}"
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return f"{_side(left, names)} {CLAUSES[type(op)]} {_expression(right, names)}"
    return f"{_side(node, names)} is not 0"


def _side(node: ast.expr, names: Mapping[str, str]) -> str:
    match node:
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            by = _expression(right, names)
            return f"the remainder of {_expression(left, names)} by {by}"
    return _expression(node, names)


class _Named(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]):
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def _expression(node: ast.expr, names: Mapping[str, str]) -> str:
    """An expression with variables called what they are called."""
    copy = ast.parse(ast.unparse(node), mode="eval").body
    return ast.unparse(_Named(names).visit(copy))
