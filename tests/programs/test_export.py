"""The Python files of programs: they run alone, hold no one's text, and check themselves."""

import ast
import subprocess
import sys

import numpy as np

from partwise.programs.export import Answer, Checked, comment, python_file
from partwise.programs.export_text import TextRule, text_file
from partwise.programs.language import parse_program

HOSTILE = '\'); import os\n"""\\x00 \u2028 print(1) #'


def run(text, path, *arguments):
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", path, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def file_of(answers, rows, network, inputs=("a", "b", "c"), modules=2):
    checked = Checked(rows, network, [0.5] * len(answers))
    return python_file(["made by hand"], list(inputs), answers, modules, checked)


def test_a_file_answers_and_checks_itself(tmp_path):
    rows = np.random.default_rng(0).integers(0, 3, (50, 3)).astype(float)
    network = np.stack([np.where(rows[:, 0] > 1, 2, rows[:, 1] == 0), rows.sum(1) % 3], 1)
    network[:5, 1] += 1
    answers = [
        Answer("first", 0, parse_program("2 if x0 > 1 else (1 if x1 == 0 else 0)"), 0, ("n",)),
        Answer("second", 0, parse_program("(x0 + x1 + x2) % 3"), 0, ()),
    ]
    text = file_of(answers, rows.tolist(), network.tolist())
    printed = run(text, tmp_path / "program.py")
    assert "first: the network's answer on 100.0%" in printed
    assert "second: the network's answer on 90.0%" in printed
    assert "# Module 1 answers no question itself" in text


def test_a_question_without_a_program_has_the_usual_answer(tmp_path):
    text = file_of([Answer("first", 1, None, 4, ())], [[0.0, 0, 0]], [[4.0]])
    assert "100.0%" in run(text, tmp_path / "program.py")


def test_what_is_no_number_gives_the_usual_answer(tmp_path):
    answers = [Answer("first", 0, parse_program("1 / x0 + sqrt(x1)"), 7, ())]
    text = file_of(answers, [[0.0, 1, 0], [1, -1, 0], [1, 4, 0]], [[7.0], [7], [3]])
    assert "100.0%" in run(text, tmp_path / "program.py")


def test_names_are_text_and_nothing_else(tmp_path):
    answers = [Answer(HOSTILE, 0, parse_program("x0 > 0"), 0, (HOSTILE,))]
    text = file_of(answers, [[1.0, 0, 0]], [[1.0]], inputs=(HOSTILE, "b", "c"))
    assert run(text, tmp_path / "program.py").count("100.0%") == 1
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    assert [name.name for node in imported for name in node.names] == ["numpy"]
    assert all(line.startswith("#") for line in comment(HOSTILE).splitlines())


def rules():
    return [
        TextRule(0, parse_program("'b'"), parse_program("token == 'a'"), 0.9, "half"),
        TextRule(0, parse_program("induced"), parse_program("token in DIGITS"), 0.8, "copies"),
        TextRule(
            1, parse_program("prev"), parse_program("position > 1 and token == 'a'"), 0.95, ""
        ),
    ]


def test_rules_about_tokens_run_alone(tmp_path):
    text = text_file(["rules"], rules(), 3)
    printed = run(text, tmp_path / "rules.py", "a1a21")
    assert [line.split(" -> ")[1] for line in printed.splitlines()] == [
        "'b'",
        "?",
        "'1'",
        "?",
        "'a'",
    ]
    assert "# Module 2: no short rule was found." in text
