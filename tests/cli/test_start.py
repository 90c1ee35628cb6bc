"""What the command line and the package load before anybody needs it."""

import subprocess
import sys

START = """
import sys
import partwise
from partwise.cli import main
for arguments, code in (["--help"], 0), (["--version"], 0), (["trian"], 2), (["demo", "-x"], 2):
    try:
        main(arguments)
    except SystemExit as done:
        assert done.code == code, arguments
assert "find_modules" in dir(partwise)
print([name for name in ("torch", "numpy", "numba", "partwise.stages") if name in sys.modules])
"""
NAMES = """
import sys
from partwise import *
import partwise, partwise.audit, partwise.explain, partwise.stages
from partwise import audit, explain
assert set(partwise.__all__) <= set(dir(partwise)) and "import_module" not in dir(partwise)
assert all(getattr(partwise, name) is globals()[name] for name in partwise.__all__)
assert audit.__module__ == "partwise.audit.audit" and callable(partwise.explain)
try:
    partwise.nonsense
except AttributeError as error:
    assert str(error) == "module 'partwise' has no attribute 'nonsense'"
heavy = "transformers", "sklearn", "sympy", "openai", "anthropic", "httpx2", "networkx", "igraph"
print([name for name in heavy if name in sys.modules])
"""


def said_by(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_help_version_and_a_typo_load_nothing_heavy():
    assert said_by(START) == "[]"


def test_names_of_the_package_come_when_asked_for_and_load_no_extras():
    assert said_by(NAMES) == "[]"
