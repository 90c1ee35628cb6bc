"""The same program with less: constants computed, nothing added, nothing times one."""

from __future__ import annotations

import ast
import math

import torch

from partwise.programs.evaluate import BINARY


def simplified(text: str) -> str:
    """An arithmetic expression without idle parts.

    >>> simplified("(0.0 + (1.0 * ((-2) * x0)))"), simplified("(x0 - (-1.5))")
    ('-2 * x0', 'x0 + 1.5')
    """
    return ast.unparse(_simple(ast.parse(text, mode="eval").body))


def _simple(node: ast.expr) -> ast.expr:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _simple(operand)
            value = _number(inner)
            return ast.UnaryOp(ast.USub(), inner) if value is None else _constant(-value)
        case ast.Call(args=arguments):
            return ast.Call(node.func, [_simple(each) for each in arguments], [])
        case ast.BinOp():
            return _binary(_simple(node.left), node.op, _simple(node.right))
    return node


def _binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
    a, b = _number(left), _number(right)
    if a is not None and b is not None:
        value = float(BINARY[type(op)](torch.tensor(a), torch.tensor(b)))
        return _constant(value) if math.isfinite(value) else ast.BinOp(left, op, right)
    match op:
        case ast.Add() if a == 0:
            return right
        case ast.Add() | ast.Sub() if b == 0:
            return left
        case ast.Mult() if a == 1:
            return right
        case ast.Mult() | ast.Div() if b == 1:
            return left
        case ast.Mult() if a == 0 or b == 0:
            return _constant(0.0)
        case ast.Add() if b is not None and b < 0:
            return ast.BinOp(left, ast.Sub(), _constant(-b))
        case ast.Sub() if b is not None and b < 0:
            return ast.BinOp(left, ast.Add(), _constant(-b))
    return ast.BinOp(left, op, right)


def _number(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -float(value)
    return None


def _constant(value: float) -> ast.expr:
    short = float(f"{value:.6g}")
    size = ast.Constant(int(abs(short)) if short == int(short) else abs(short))
    return size if short >= 0 else ast.UnaryOp(ast.USub(), size)
