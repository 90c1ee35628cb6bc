"""Rules about next tokens as one Python file that needs NumPy only: a function per module."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from partwise.programs.export import comment, numpy_file
from partwise.programs.language import Program
from partwise.programs.numpy_code import TEXTS, numpy_expression

EVERYWHERE = -1
"""In place of a module's number: what holds of the whole network."""
VARIABLES = (TEXTS | {"position"}) - {"next"}


@dataclass(frozen=True)
class TextRule:
    """A rule that gives the next token.

    Attributes:
        module: whose rule it is, or `EVERYWHERE`.
        rule: the program that gives a token's text.
        where: the condition under which it holds; None for always.
        agreement: how often it gives the network's answer.
        note: what is known of it, in words.
    """

    module: int
    rule: Program
    where: Program | None
    agreement: float
    note: str


def text_file(title: Iterable[str], rules: Sequence[TextRule], modules: int) -> str:
    """The text of a Python file whose `predict` gives next tokens as the rules do.

    Args:
        title: what is known of the whole: comments.
        rules: the rules.
        modules: number of modules; those without rules are named in a comment.

    Raises:
        ProgramError: if a rule reads what the file has not.
    """
    functions = [
        _function(module, [rule for rule in rules if rule.module == module])
        for module in [*range(modules), EVERYWHERE]
    ]
    body = "\n\n\n".join(functions)
    called = ", ".join(map(_name, sorted({rule.module for rule in rules})))
    return numpy_file(title, [], body, [_REST.format(modules=f"{called},")])


def _function(module: int, rules: Sequence[TextRule]) -> str:
    if not rules:
        whole = "The whole network" if module == EVERYWHERE else f"Module {module}"
        return comment(f"{whole}: no short rule was found.")
    names = set().union(
        *(r.rule.variables | (r.where.variables if r.where else set()) for r in rules)
    )
    lines = [f"def {_name(module)}(seen):"]
    lines += [f'    {name} = seen["{name}"]' for name in sorted(names & VARIABLES)]
    lines += ["    return ["]
    for rule in sorted(rules, key=lambda each: -each.agreement):
        given = numpy_expression(rule.rule, VARIABLES)
        holds = "True" if rule.where is None else numpy_expression(rule.where, VARIABLES)
        lines += [textwrap.indent(comment(rule.note), "        ")]
        lines += [f"        ({rule.agreement:.4f}, {holds}, {given}),"]
    return "\n".join([*lines, "    ]"])


def _name(module: int) -> str:
    return "whole_network" if module == EVERYWHERE else f"module_{module}"


_REST = '''def seen_in(tokens, stream=None):
    """What rules read of every place in a document: texts, None where there is none."""
    def back(steps):
        return np.array([None] * min(steps, len(tokens)) + tokens[: len(tokens) - steps], object)

    induced, after = [], {{}}
    for place, token in enumerate(tokens):
        induced.append(after.get(token))
        if place + 1 < len(tokens):
            after[token] = tokens[place + 1]
    return {{
        "token": np.array(tokens, object),
        **{{name: back(k) for k, name in enumerate(("prev", "prev2", "prev3"), 1)}},
        "induced": np.array(induced, object),
        "stream": np.array([stream] * len(tokens), object),
        "position": np.arange(len(tokens), dtype=np.float32),
    }}


def predict(tokens, stream=None):
    """Per token, the one that comes next; None where no rule says.

    tokens: the texts of a document's tokens; stream: the name of its source.
    """
    tokens = list(tokens)
    said, best = np.full(len(tokens), None, object), np.zeros(len(tokens))
    seen = seen_in(tokens, stream)
    for module in ({modules}):
        for agreement, holds, given in module(seen):
            given = np.broadcast_to(np.asarray(given, object), len(tokens))
            holds = np.broadcast_to(np.asarray(holds) != 0, len(tokens))
            chosen = holds & (agreement > best) & (given != None)  # noqa: E711
            said[chosen], best[chosen] = given[chosen], agreement
    return said.tolist()


if __name__ == "__main__":
    import sys

    text = sys.argv[1] if len(sys.argv) > 1 else "abc"
    for token, following in zip(text, predict(text)):
        print(repr(token), "->", "?" if following is None else repr(following))
'''
