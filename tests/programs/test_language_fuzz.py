"""Nothing that anybody writes crashes the language, hangs it, or runs outside its whitelist."""

import ast
import string

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partwise.errors import ProgramError
from partwise.programs.language import Sequences, Words, parse_program

VALUES = {
    "x0": torch.tensor([0.0, 1.5, -2.0]),
    "x1": torch.tensor([1.0, torch.nan, torch.inf]),
    "token": Words(torch.tensor([0, 1, -1]), ("a", "1")),
    "tokens": Sequences(torch.tensor([[0, 1], [1, -1], [-1, -1]]), ("a", "1")),
}
ALLOWED = (
    *(ast.Constant, ast.Name, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp),
    *(ast.Call, ast.Tuple, ast.List, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    ast.expr_context,
)
CALLABLE = {
    *("abs", "sin", "cos", "exp", "log", "sqrt", "tanh", "relu", "sigmoid", "floor", "round"),
    *("min", "max", "sum", "argmax", "count", "automaton"),
}


def run(text):
    """Runs a text as far as it goes; only a ProgramError may stop it."""
    try:
        program = parse_program(text)
    except ProgramError:
        return
    for node in ast.walk(program.tree):
        assert isinstance(node, ALLOWED)
        assert not isinstance(node, ast.Call) or node.func.id in CALLABLE
    for evaluate in (program.evaluate, program.evaluate_text):
        try:
            assert len(evaluate(VALUES)) == 3
        except ProgramError:
            continue


PIECES = st.sampled_from(
    [
        *("x0", "x1", "token", "tokens", "DIGITS", "(", ")", "[", "]", ",", "+", "-", "*", "/"),
        *("//", "%", "**", "<", "==", "!=", "in", "not", "and", "or", "if", "else", ":", "."),
        *("=", "@", "lambda", "1", "0.5", "1e9", "'a'", "''", "abs(", "max(", "count("),
        *("automaton(", "argmax(", "__class__", "{", "}", "\\", "\n", "#", "f''"),
    ]
)


@settings(max_examples=200, deadline=2000)
@given(st.text(max_size=60))
@example("\x00")
@example("\ud800")
@example("'\\d'")
@example("9" * 3999)
@example("~" * 3999 + "1")
def test_any_string_is_a_program_or_refused(text):
    run(text)


@settings(max_examples=300, deadline=2000)
@given(st.lists(PIECES, max_size=25))
def test_any_run_of_pieces_is_a_program_or_refused(pieces):
    run(" ".join(pieces))


NUMBERS = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False))
LEAVES = st.one_of(
    st.sampled_from(list(VALUES)).map(lambda name: ast.Name(name, ast.Load())),
    NUMBERS.map(ast.Constant),
    st.text(string.printable, max_size=3).map(ast.Constant),
)


def branches(inner):
    many = st.lists(inner, min_size=1, max_size=4)
    compare = st.sampled_from([ast.Lt, ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is])
    binary = st.sampled_from([ast.Add, ast.Pow, ast.Mod, ast.FloorDiv, ast.Div, ast.MatMult])
    names = st.sampled_from([*sorted(CALLABLE), "eval", "open"])
    return st.one_of(
        st.builds(lambda op, a, b: ast.BinOp(a, op(), b), binary, inner, inner),
        st.builds(lambda op, a, b: ast.Compare(a, [op()], [b]), compare, inner, inner),
        st.builds(ast.IfExp, inner, inner, inner),
        st.builds(lambda parts: ast.BoolOp(ast.And(), [*parts, parts[0]]), many),
        st.builds(lambda a: ast.UnaryOp(ast.Not(), a), inner),
        st.builds(lambda f, args: ast.Call(ast.Name(f, ast.Load()), args, []), names, many),
        st.builds(lambda parts: ast.Tuple(parts, ast.Load()), many),
        st.builds(lambda a: ast.Attribute(a, "real", ast.Load()), inner),
        st.builds(lambda a, b: ast.Subscript(a, b, ast.Load()), inner, inner),
    )


@settings(max_examples=400, deadline=2000)
@given(st.recursive(LEAVES, branches, max_leaves=25))
def test_any_tree_is_a_program_or_refused(tree):
    run(ast.unparse(ast.fix_missing_locations(ast.Expression(tree))))
