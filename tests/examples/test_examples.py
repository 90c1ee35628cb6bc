"""Examples run; a slow test compares what they print with what their pages show."""

import importlib.util
import re

import pytest
import torch

from benchmarks import examples_pages
from tests.docs.test_pages import kind_of
from tests.test_pins import MADE_ON, here

NAMES = examples_pages.names()
STEPS = {"gpt-token-by-token": 8, "hugging-face": 30, "conv-net": 20}
"""Steps of the quick run; others take `FEW`."""
FEW = 40
MOST_LINES = 60


def example(name):
    """The script, imported."""
    spec = importlib.util.spec_from_file_location(name, examples_pages.script_of(name))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, capsys):
    example(name).main(steps=STEPS.get(name, FEW))
    assert re.search(r"\d modules?", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_prints_what_its_page_shows(name):
    printed = examples_pages.printed_by(name)
    shown = examples_pages.shown_in(examples_pages.page_of(name).read_text(encoding="utf-8"))
    if here() == MADE_ON:
        assert printed == shown
    else:
        assert kind_of(printed.splitlines()[0]) == kind_of(shown.splitlines()[0])


@pytest.mark.parametrize("name", NAMES)
def test_its_page_has_the_script(name):
    assert examples_pages.page_of(name).read_text(encoding="utf-8") == examples_pages.page(name), (
        "run python -m benchmarks.examples_pages"
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short(name):
    lines = examples_pages.script_of(name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES


def test_every_page_has_an_example():
    pages = {path.stem for path in examples_pages.PAGES.glob("*.md")} - {"index"}
    assert pages == set(NAMES)
