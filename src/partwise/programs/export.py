"""Programs as one Python file that needs NumPy only: a function per module, and a self-check.

Whatever is not made here gets into the file as a number, by `repr`, or as a comment of printable
characters on one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from partwise.programs.language import Program
from partwise.programs.numpy_code import helpers_of, numpy_rules

WIDTH = 96
MOST_CHECKED = 4000
"""Numbers of the rows that the file checks itself on."""
BLANK = "\u2007"
Row = Sequence[float]


@dataclass(frozen=True)
class Answer:
    """A question that the file answers.

    Attributes:
        name: the question.
        module: the module whose program answers it.
        program: the program, over variables `x{k}`; None where no short one was found.
        otherwise: what is answered then, and where the program gives no finite number.
        notes: what is known of the program, in words: a comment each.
    """

    name: str
    module: int
    program: Program | None
    otherwise: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """Rows that the file checks itself on.

    Attributes:
        rows: held-out inputs.
        network: the network's answers to them.
        within: how far each answer may be off.
    """

    rows: Sequence[Row]
    network: Sequence[Row]
    within: Row

    def cut(self) -> Checked:
        """As many rows as the file should hold."""
        most = max(1, MOST_CHECKED // max(len(self.rows[0]), 1)) if self.rows else 0
        return Checked(self.rows[:most], self.network[:most], self.within)


def python_file(
    title: Iterable[str],
    inputs: Sequence[str],
    answers: Sequence[Answer],
    modules: int,
    checked: Checked,
) -> str:
    """The text of a Python file whose `predict` answers as the programs do.

    Args:
        title: what is known of the whole: comments.
        inputs: names of the inputs.
        answers: one per question.
        modules: number of modules; those that answer nothing are named in a comment.
        checked: rows for the self-check.

    Raises:
        ProgramError: if a program reads what the file has not.
    """
    functions = [
        _function(module, [(k, a) for k, a in enumerate(answers) if a.module == module])
        for module in range(modules)
    ]
    body = "\n\n\n".join(functions)
    called = [f"module_{m}" for m in range(modules) if any(a.module == m for a in answers)]
    cut = checked.cut()
    constants = [
        f"INPUTS = {_listed(inputs)}",
        f"ANSWERS = {_listed([answer.name for answer in answers])}",
        f"USUAL = {[_short(answer.otherwise) for answer in answers]!r}",
        "",
    ]
    rest = [
        _PREDICT.format(modules=f"{', '.join(called)},"),
        f"WITHIN = {list(map(_short, cut.within))!r}  # how far an answer may be off",
        f"ROWS = {_rows(cut.rows)}",
        f"NETWORK = {_rows(cut.network)}",
        _CHECK,
    ]
    return numpy_file(title, constants, body, rest)


def numpy_file(
    title: Iterable[str], constants: Sequence[str], body: str, rest: Sequence[str]
) -> str:
    """A Python file: comments, the import, constants, the helpers that `body` calls, and the rest.

    Args:
        title: what is known of the whole.
        constants: lines before the helpers.
        body: the functions.
        rest: lines after them.
    """
    head = [*map(comment, title), "", "import numpy as np", "", *constants]
    return "\n".join([*head, helpers_of(body), "", body, "", "", *rest])


_PREDICT = '''def predict(inputs):
    """Answers to every question.

    inputs: (rows, inputs) numbers, in the order of INPUTS; gives (rows, answers) numbers.
    """
    x = np.asarray(inputs, np.float32)
    answers = np.empty((len(x), len(ANSWERS)), np.float32)
    with np.errstate(all="ignore"):
        for module in ({modules}):
            for place, answer in module(x).items():
                answers[:, place] = answer
    return np.where(np.isfinite(answers), answers, np.array(USUAL, np.float32))


# Held-out rows, and what the network answers to them.'''
_CHECK = '''

def check():
    """Per answer, the share of ROWS on which it is the network's."""
    network = np.array(NETWORK, np.float32)
    return (np.abs(predict(ROWS) - network) < np.array(WITHIN)).mean(0)


if __name__ == "__main__":
    print(f"{len(ROWS)} held-out rows:")
    for name, share in zip(ANSWERS, check()):
        print(f"  {name}: the network's answer on {share:.1%}")
'''


def comment(text: str) -> str:
    """Text as comment lines, of printable characters only."""
    clean = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return "\n".join(textwrap.wrap(clean, WIDTH, initial_indent="# ", subsequent_indent="#   "))


def _function(module: int, answers: Sequence[tuple[int, Answer]]) -> str:
    if not answers:
        return comment(
            f"Module {module} answers no question itself: what it passes on is worked into the "
            "programs of the modules that read it."
        )
    read = sorted(
        {name for _, a in answers if a.program for name in a.program.variables},
        key=lambda name: int(name[1:]) if name[1:].isdecimal() else -1,
    )
    lines = [f"def module_{module}(x):"]
    lines += [f"    {name} = x[:, {int(name[1:])}]" for name in read if _is_input(name)]
    for place, answer in answers:
        lines += [textwrap.indent(comment(note), "    ") for note in answer.notes]
        lines += [f"    answer_{place} = {_value(answer, set(filter(_is_input, read)))}"]
    given = ", ".join(f"{place}: answer_{place}" for place, _ in answers)
    return "\n".join([*lines, f"    return {{{given}}}"])


def _is_input(name: str) -> bool:
    return name[:1] == "x" and name[1:].isdecimal() and name == f"x{int(name[1:])}"


def _value(answer: Answer, variables: set[str]) -> str:
    """What a program gives, as NumPy; rules one a line."""
    if answer.program is None:
        return repr(float(answer.otherwise))
    *rules, (_, otherwise) = numpy_rules(answer.program, variables)
    if not rules:
        return otherwise
    lines = "".join(f"            ({holds}, {given}),\n" for holds, given in rules)
    return f"first_of(\n        [\n{lines}        ],\n        {otherwise},\n    )"


def _listed(names: Sequence[str]) -> str:
    packed = textwrap.wrap(
        ", ".join(map(_quoted, names)), WIDTH, break_long_words=False, break_on_hyphens=False
    )
    lines = "".join(f"    {line.replace(BLANK, ' ')}\n" for line in packed)
    return f"[\n{lines}]"


def _quoted(name: str) -> str:
    """A string by `repr`, whose blanks no line is broken at."""
    return ascii(name).replace(" ", BLANK)


def _rows(rows: Sequence[Row]) -> str:
    lines = "".join(f"    {list(map(_short, row))!r},\n" for row in rows)
    return f"[\n{lines}]"


def _short(number: float) -> float | int:
    """A number in the digits that single precision has."""
    found = float(f"{number:.9g}")
    return int(found) if found == int(found) else found
