"""The README's pictures, from the report of a real demo run.

python -m benchmarks.pictures runs/demo
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def main(run: Path) -> None:
    """Writes `weights.png` and `audit.png`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        page = browser.new_page(viewport={"width": 1100, "height": 900}, device_scale_factor=1.5)
        page.goto((run / "report.html").resolve().as_uri())
        IMAGES.mkdir(parents=True, exist_ok=True)
        for section in ("weights", "audit"):
            page.locator(f"section#{section}").screenshot(path=IMAGES / f"{section}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
