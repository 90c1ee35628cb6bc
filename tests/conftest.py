"""Fixtures that several suites share."""

import os
from pathlib import Path

import pytest

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
