"""A program in NumPy gives what it gives on tensors."""

import ast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.errors import ProgramError
from partwise.programs.language import Words, parse_program
from partwise.programs.numpy_code import helpers_of, numpy_expression

X = np.random.default_rng(0).integers(-3, 4, (40, 3)).astype(np.float32) / 2
VOCABULARY = ("a", " the", "12", "=")
IDS = torch.tensor([0, 1, 2, 3, -1, 0])
PREV = torch.tensor([0, -1, 1, 3, 2, 2])


def run_file(source, names):
    """What a generated expression gives; only tests run it in their own process."""
    module = {"np": np, **names}
    exec(helpers_of(source), module)
    with np.errstate(all="ignore"):
        return eval(source, module)


def on_both(text):
    program = parse_program(text)
    columns = {f"x{k}": X[:, k] for k in range(3)}
    source = numpy_expression(program, set(columns))
    found = np.broadcast_to(run_file(source, columns), len(X))
    wanted = program.evaluate({k: torch.from_numpy(v) for k, v in columns.items()}).numpy()
    return found, wanted


@pytest.mark.parametrize(
    "text",
    [
        "x0 + 2*x1 - x2/3",
        "x0 ** 2 % 3 // 0.5",
        "(x0 > 0) + (x1 > 0) + (x2 > 0)",
        "not x0 or x1 > x2 and x0 <= 1",
        "0 < x0 <= 1",
        "(3 if x1 > 0 else 1) if x0 else -x2",
        "max(x0, x1, 1) - min(x0, x1) + relu(x2) + abs(x1)",
        "argmax(x0, x1, 1) + round(x0) + floor(x1)",
        "sum(x0, x1, x2, 1) + sigmoid(x0) + tanh(x1) + sin(x2) + cos(x0)",
        "automaton((x0, x1, x2), (0, 1), (0, 1), (1, 0))",
        "2 + 3 * 4",
        "1 / 0",
        "x0 / 0",
        "sqrt(-1) + x0",
        "log(exp(x0))",
        "True + x0",
    ],
)
def test_numbers(text):
    np.testing.assert_allclose(*on_both(text), rtol=1e-5, atol=1e-5)


LEAVES = st.one_of(
    st.sampled_from(["x0", "x1", "x2"]).map(lambda name: ast.Name(name, ast.Load())),
    st.integers(-3, 3).map(ast.Constant),
)


def branches(inner):
    binary = st.sampled_from([ast.Add, ast.Sub, ast.Mult])
    compare = st.sampled_from([ast.Lt, ast.LtE, ast.Eq, ast.NotEq])
    names = st.sampled_from(["min", "max", "sum", "argmax"])
    one = st.sampled_from(["abs", "relu", "floor", "tanh"])
    return st.one_of(
        st.builds(lambda op, a, b: ast.BinOp(a, op(), b), binary, inner, inner),
        st.builds(lambda op, a, b: ast.Compare(a, [op()], [b]), compare, inner, inner),
        st.builds(ast.IfExp, inner, inner, inner),
        st.builds(lambda a, b: ast.BoolOp(ast.And(), [a, b]), inner, inner),
        st.builds(lambda a, b: ast.BoolOp(ast.Or(), [a, b]), inner, inner),
        st.builds(lambda a: ast.UnaryOp(ast.Not(), a), inner),
        st.builds(
            lambda f, a, b: ast.Call(ast.Name(f, ast.Load()), [a, b], []), names, inner, inner
        ),
        st.builds(lambda f, a: ast.Call(ast.Name(f, ast.Load()), [a], []), one, inner),
    )


@settings(max_examples=200, deadline=2000)
@given(st.recursive(LEAVES, branches, max_leaves=12))
def test_any_program_of_numbers(tree):
    text = ast.unparse(ast.fix_missing_locations(ast.Expression(tree)))
    np.testing.assert_allclose(*on_both(text), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "token == 'a' or token == prev",
        "token in DIGITS",
        "token not in LETTERS and prev != 'a'",
        "token in ('a', '12')",
        "token in '=12'",
        "prev == prev",
    ],
)
def test_conditions_on_texts(text):
    tensors = {"token": Words(IDS, VOCABULARY), "prev": Words(PREV, VOCABULARY)}
    words = [None if k < 0 else VOCABULARY[k] for k in IDS.tolist()]
    prev = [None if k < 0 else VOCABULARY[k] for k in PREV.tolist()]
    arrays = {"token": np.array(words, object), "prev": np.array(prev, object)}
    program = parse_program(text)
    found = run_file(numpy_expression(program, set(arrays)), arrays)
    assert found.tolist() == program.evaluate(tensors).tolist()


def test_programs_that_give_texts():
    arrays = {
        "token": np.array(["a", None, "b"], object),
        "prev": np.array(["x", "y", None], object),
    }
    program = parse_program("'q' if token == 'a' else prev")
    assert run_file(numpy_expression(program, set(arrays)), arrays).tolist() == ["q", "y", None]


def test_nothing_but_known_variables_is_written():
    for text in ("np + 1", "x9", "print", "count(tokens, 'a')", "automaton(tokens, ('a',), (0,))"):
        with pytest.raises(ProgramError, match=r"has not|not exported"):
            numpy_expression(parse_program(text), {"x0", "tokens"})


def test_strings_are_quoted():
    text = "token == '\\'); import os; (\\''"
    source = numpy_expression(parse_program(text), {"token"})
    assert [type(node) for node in ast.parse(source).body] == [ast.Expr]
    same = ast.parse(source, mode="eval").body.args[0]
    assert ast.literal_eval(same.args[1]) == "'); import os; ('"
