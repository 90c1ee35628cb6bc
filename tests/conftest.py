"""Fixtures that several suites share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; `make test` has a worker per core
os.environ.pop("COLUMNS", None)  # a console that is made under it keeps that width for good

import partwise.cli.console  # noqa: F401, made here, so that tests can change its width

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

DEADLY = """
import os, signal, sys
from partwise.cli import main
from partwise.train import Trainer

def advance(trainer, step=int(sys.argv.pop(1)), advance=Trainer.advance):
    if trainer.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(trainer)

Trainer.advance = advance
main()
"""


def pytest_collection_modifyitems(config, items):
    """Tests that share a fixture made once go to one worker, or each worker would make it."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        info = getattr(item, "_fixtureinfo", None)
        places = {
            fixture.baseid
            for fixtures in (info.name2fixturedefs.values() if info else ())
            for fixture in fixtures
            if fixture.scope != "function" and fixture.baseid
        }
        if places:
            item.add_marker(pytest.mark.xdist_group(min(places, key=len)))


@pytest.fixture
def killed_at():
    """`killed_at(step, *arguments)` calls `partwise` in a process that is killed at that step."""

    def call(step, *arguments):
        command = [sys.executable, "-c", DEADLY, str(step), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr

    return call


@pytest.fixture
def chromium():
    """The system's Chromium, headless; skips where there is none, unless it is required."""
    if not CHROMIUM.exists():
        if os.environ.get("PARTWISE_REQUIRE_BROWSER") == "1":
            pytest.fail(f"PARTWISE_REQUIRE_BROWSER is 1, but there is no {CHROMIUM}")
        pytest.skip(f"needs Chromium at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield browser
        browser.close()
