"""Programs as NumPy expressions: each whitelisted node is written anew, nothing is copied.

The generated text holds numbers and strings by `repr`, variables that the caller names, operators,
and calls of NumPy and of `HELPERS`. No text of a program gets into it otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Set
from typing import Literal, NamedTuple

from partwise.errors import ProgramError
from partwise.programs.evaluate import Value, evaluate, texts_of
from partwise.programs.language import Program
from partwise.programs.sequences import automaton_of
from partwise.programs.wording import rules_of
from partwise.tasks.words import CLASSES, Words

OPERATORS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.Mod: "%",
    ast.FloorDiv: "//",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
CALLS = {
    "abs": "np.abs({})",
    "sin": "np.sin({})",
    "cos": "np.cos({})",
    "exp": "np.exp({})",
    "log": "np.log({})",
    "sqrt": "np.sqrt({})",
    "tanh": "np.tanh({})",
    "relu": "np.maximum({}, 0)",
    "sigmoid": "1 / (1 + np.exp(-{}))",
    "floor": "np.floor({})",
    "round": "np.round({})",
}
HELPERS = {
    "first_of": """
def first_of(rules, otherwise):
    \"\"\"What the first rule gives whose condition holds.\"\"\"
    for holds, given in reversed(rules):
        otherwise = np.where(holds, given, otherwise)
    return otherwise
""",
    "number": """
def number(holds):
    \"\"\"1 where something holds, else 0.\"\"\"
    return np.asarray(holds, np.float32)
""",
    "argmax": """
def argmax(*values):
    \"\"\"The place of the largest value.\"\"\"
    return np.stack(np.broadcast_arrays(*values)).argmax(0).astype(np.float32)
""",
    "automaton": """
def automaton(columns, alphabet, table):
    \"\"\"The state that a run of symbols leads to; others leave it where it is.\"\"\"
    run, table = np.stack(columns, 1), np.array(table)
    state = np.zeros(len(run), int)
    for column in run.T:
        for place, symbol in enumerate(alphabet):
            here = column == symbol
            state[here] = table[state[here], place]
    return state.astype(np.float32)
""",
    "same": """
def same(left, right):
    \"\"\"Whether two texts are the same; a missing one is like none.\"\"\"
    left, right = np.broadcast_arrays(np.asarray(left, object), np.asarray(right, object))
    return np.array([a is not None and a == b for a, b in zip(left.flat, right.flat)])
""",
    "among": """
def among(texts, chosen):
    \"\"\"Whether a text is one of some.\"\"\"
    return np.array([text in chosen for text in np.asarray(texts, object).flat])
""",
    "made_of": """
def made_of(texts, characters):
    \"\"\"Whether a text is made of some characters only.\"\"\"
    texts = np.asarray(texts, object).flat
    return np.array([bool(text) and set(characters).issuperset(text) for text in texts])
""",
    "of_class": """
def of_class(texts, characters):
    \"\"\"Whether a token is made of some characters only, but for a blank before a word.\"\"\"
    texts = [None if text is None else text.removeprefix(" ") or text for text in texts]
    return made_of(np.array(texts, object), characters)
""",
}
"""What a generated file needs, by name, where it is used; `of_class` needs `made_of`."""


class _Code(NamedTuple):
    text: str
    kind: Literal["number", "truth", "text"]


def numpy_expression(program: Program, variables: Set[str]) -> str:
    """A program as a NumPy expression over arrays that are named as its variables.

    Args:
        program: the program.
        variables: names that it may read.

    Raises:
        ProgramError: if it reads another, or something that is not exported.

    >>> from partwise.programs.language import parse_program
    >>> numpy_expression(parse_program("3 if x0 > 1 and x1 % 2 else x0"), {"x0", "x1"})
    'np.where((x0 > 1.0) & ((x1 % 2.0) != 0), 3.0, x0)'
    """
    unknown = sorted(program.variables - variables)
    if unknown:
        raise ProgramError(f"program reads {unknown[0]}, which a file of its own has not")
    code = _code(program.tree)
    return code.text if code.kind == "text" else _as_number(code)


def numpy_rules(program: Program, variables: Set[str]) -> list[tuple[str, str]]:
    """A conditional as NumPy: a condition and what is given there, in order; the last has none.

    Args:
        program: the program.
        variables: names that it may read.

    Raises:
        ProgramError: as `numpy_expression`.
    """
    numpy_expression(program, variables)
    found = []
    for rule in rules_of(program.tree):
        holds = " & ".join(_bracketed(_truth(each)) for each in rule.conditions)
        given = _code(rule.gives)
        found.append((holds, given.text if given.kind == "text" else _as_number(given)))
    return found


def helpers_of(source: str) -> str:
    """The helpers that generated text calls, as Python."""
    wanted = {name for name in HELPERS if f"{name}(" in source}
    wanted |= {"made_of"} if "of_class" in wanted else set()
    return "\n".join(HELPERS[name] for name in HELPERS if name in wanted)


def _code(node: ast.expr) -> _Code:
    match node:
        case ast.Constant(value=str() as text):
            return _Code(repr(text), "text")
        case ast.Constant(value=bool() | int() | float() as number):
            return _Code(repr(float(number)), "number")
        case ast.Name(id=name):
            return _Code(name, "text" if name in TEXTS else "number")
        case _ if not any(isinstance(each, ast.Name) for each in _read(node)):
            return _folded(evaluate(node, {}))
        case ast.IfExp():
            return _chosen(node)
        case ast.UnaryOp(op=ast.Not()):
            return _Code(f"~{_bracketed(_truth(node.operand))}", "truth")
        case ast.UnaryOp():
            return _Code(f"-{_bracketed(_number(node.operand))}", "number")
        case ast.BinOp():
            left, right = _bracketed(_number(node.left)), _bracketed(_number(node.right))
            return _Code(f"{left} {OPERATORS[type(node.op)]} {right}", "number")
        case ast.BoolOp():
            sign = " & " if isinstance(node.op, ast.And) else " | "
            return _Code(sign.join(_bracketed(_truth(each)) for each in node.values), "truth")
        case ast.Compare():
            return _Code(_compared(node), "truth")
        case ast.Call(func=ast.Name(id=name)):
            return _Code(_called(name, node), "number")
    raise AssertionError(f"unchecked node {node!r}")


TEXTS = frozenset({"token", "prev", "prev2", "prev3", "next", "induced", "stream"})
"""Variables that hold texts; see `partwise.tasks.text.VARIABLES`."""


def _read(node: ast.expr) -> list[ast.AST]:
    """The nodes in which variables may stand; not the names of classes and functions."""
    return [
        each
        for each in ast.walk(node)
        if not (isinstance(each, ast.Name) and each.id in {*CLASSES, *CALLS, *MANY})
    ]


MANY = {
    "min": "np.minimum({}, {})",
    "max": "np.maximum({}, {})",
    "sum": "{} + {}",
    "argmax": "",
    "automaton": "",
    "count": "",
}


def _folded(value: Value) -> _Code:
    """A value that is the same for all samples."""
    if isinstance(value, Words):
        return _Code(repr(value.vocabulary[int(value.ids[0])]), "text")
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return _Code(f"np.float32({str(number)!r})", "number")
    return _Code(repr(number), "number")


def _chosen(node: ast.IfExp) -> _Code:
    body, other = _code(node.body), _code(node.orelse)
    kind: Literal["number", "text"] = "text" if body.kind == "text" else "number"
    sides = [each.text if kind == "text" else _as_number(each) for each in (body, other)]
    return _Code(f"np.where({_truth(node.test)}, {sides[0]}, {sides[1]})", kind)


def _number(node: ast.expr) -> str:
    return _as_number(_code(node))


def _as_number(code: _Code) -> str:
    return f"number({code.text})" if code.kind == "truth" else code.text


def _truth(node: ast.expr) -> str:
    code = _code(node)
    return code.text if code.kind == "truth" else f"{_bracketed(code.text)} != 0"


def _bracketed(text: str) -> str:
    return text if text.isidentifier() or text.replace(".", "").isdecimal() else f"({text})"


def _compared(node: ast.Compare) -> str:
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        inside = _inside(_code(node.left).text, node.comparators[0])
        return inside if isinstance(node.ops[0], ast.In) else f"~{inside}"
    sides = [_code(side) for side in (node.left, *node.comparators)]
    pairs = zip(node.ops, sides, sides[1:], strict=False)
    parts = [_held(op, a, b) for op, a, b in pairs]
    return parts[0] if len(parts) == 1 else " & ".join(map(_bracketed, parts))


def _held(op: ast.cmpop, left: _Code, right: _Code) -> str:
    if left.kind == "text":
        same = f"same({left.text}, {right.text})"
        return same if isinstance(op, ast.Eq) else f"~{same}"
    a, b = _bracketed(_as_number(left)), _bracketed(_as_number(right))
    return f"{a} {OPERATORS[type(op)]} {b}"


def _inside(text: str, node: ast.expr) -> str:
    among = texts_of(node)
    if isinstance(node, ast.Name):
        return f"of_class({text}, {CLASSES[node.id]!r})"
    return f"{'among' if isinstance(among, tuple) else 'made_of'}({text}, {among!r})"


def _called(name: str, node: ast.Call) -> str:
    if name in CALLS:
        argument = _number(node.args[0])
        return CALLS[name].format(_bracketed(argument) if name == "sigmoid" else argument)
    if name == "automaton":
        return _driven(node)
    if name == "count":
        raise ProgramError("runs of texts are not exported to NumPy")
    values = [_number(each) for each in node.args]
    if name == "argmax":
        return f"argmax({', '.join(values)})"
    if name == "sum":
        return " + ".join(map(_bracketed, values))
    text = values[0]
    for each in values[1:]:
        text = MANY[name].format(text, each)
    return text


def _driven(node: ast.Call) -> str:
    found = automaton_of(node)
    if found is None or not found.is_run:
        raise ProgramError("runs of texts are not exported to NumPy")
    columns = ", ".join(name.id for name in found.read)
    return f"automaton(({columns},), {found.alphabet!r}, {found.next!r})"
