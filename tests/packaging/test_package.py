"""What a release holds; the slow test builds it and runs the demo from the wheel."""

import ast
import fnmatch
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "partwise"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
METADATA = PROJECT["project"]
IMPORTED_AS = {"scikit-learn": "sklearn", "typing-extensions": "typing_extensions"}
MOST_WORDS = 25
OF_EXTRAS = {"exchange", "harness_model"}
"""Modules that are imported only where an extra is installed."""


def data_files():
    """Files of the package that are no modules, by their path in it."""
    return sorted(
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    )


def imported(path):
    """Top-level names of what a module imports when it is imported."""
    names, waiting = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return names


def everywhere_imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }


def asked_for():
    """Names under which the dependencies of the core are imported."""
    names = [re.match(r"[\w-]+", each)[0] for each in METADATA["dependencies"]]
    return {IMPORTED_AS.get(name, name) for name in names}


def newest_in_changelog():
    """The newest version in the changelog, and its day."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.search(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", text, re.M).groups()


def test_one_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest, day = newest_in_changelog()
    assert cited["version"] == METADATA["version"] == newest
    assert cited["date-released"] == date.fromisoformat(day)
    assert cited["license"] == METADATA["license"]
    assert cited["title"].startswith("Partwise")


def test_the_installed_version_is_the_source_s():
    assert version("partwise") == METADATA["version"], "run make install"


def test_every_data_file_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["partwise"]
    assert "py.typed" in data_files()
    assert [
        name
        for name in data_files()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ] == []


def test_every_folder_of_the_package_is_one():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_what_is_imported_at_once_is_asked_for():
    modules = [path for path in PACKAGE.rglob("*.py") if path.stem not in OF_EXTRAS]
    there = set(sys.stdlib_module_names) | asked_for() | {"partwise", "markupsafe"}
    assert {name for path in modules for name in imported(path)} - there == set()


def test_what_is_asked_for_is_imported():
    names = {name for path in PACKAGE.rglob("*.py") for name in everywhere_imported(path)}
    assert asked_for() - names == set()


def test_licences_are_packaged():
    assert METADATA["license-files"] == ["LICENSE", "NOTICE"]
    assert all((ROOT / name).stat().st_size for name in METADATA["license-files"])


def test_the_package_bundles_what_notice_says():
    assert {Path(name).suffix for name in data_files()} <= {
        "",
        ".typed",
        ".j2",
        ".css",
        ".toml",
        ".md",
    }
    for name in data_files():
        text = (PACKAGE / name).read_text(encoding="utf-8").lower()
        assert not any(
            word in text for word in ("<script", "@font-face", "copyright", "license")
        ), name


def test_python_versions_are_those_that_are_tested():
    flow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    tested = flow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    said = [each for each in METADATA["classifiers"] if each.startswith(prefix)]
    assert said == [f"Programming Language :: Python :: {each}" for each in tested]
    assert METADATA["requires-python"] == f">={tested[0]}"


def test_the_workflow_calls_targets_that_there_are():
    flow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    runs = [step.get("run", "") for job in flow["jobs"].values() for step in job["steps"]]
    targets = {run.split()[1] for run in runs if run.startswith("make ")}
    assert targets == {"install", "check", "test", "docs"}
    assert all(f"\n{target}:" in makefile for target in targets)


@pytest.mark.parametrize("name", ["CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_sentences_are_short(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.S)
    parts = re.split(r"\n\s*(?:[-*#|]|\d+\.)|\n\n|\|", text)
    sentences = [each for part in parts for each in re.split(r"(?<=[.:;?!])\s", part)]
    assert [each for each in sentences if len(each.split()) > MOST_WORDS] == []


@pytest.mark.slow
def test_the_wheel_runs_the_demo_in_an_empty_environment(tmp_path):
    done = subprocess.run(
        [ROOT / ".ci" / "wheel", tmp_path],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the demo ran to its end" in done.stdout
    assert "the extra llm works" in done.stdout
    names = set(zipfile.ZipFile(*tmp_path.glob("*.whl")).namelist())
    assert {f"partwise/{name}" for name in data_files()} <= names
    assert {f"partwise-{METADATA['version']}.dist-info/licenses/NOTICE"} <= names
