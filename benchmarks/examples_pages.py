"""Pages of the examples: a script and what it prints, put there by this, so that nothing is typed.

python -m benchmarks.examples_pages                  # runs all scripts: minutes
python -m benchmarks.examples_pages two-tables       # one of them
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.tables import filled

ROOT = Path(__file__).parent.parent
SCRIPTS, PAGES = ROOT / "examples", ROOT / "docs" / "examples"


def names() -> list[str]:
    """The examples, as their pages are called."""
    return sorted(path.stem.replace("_", "-") for path in SCRIPTS.glob("*.py"))


def script_of(name: str) -> Path:
    """The script of an example."""
    return SCRIPTS / f"{name.replace('-', '_')}.py"


def page_of(name: str) -> Path:
    """The page of an example."""
    return PAGES / f"{name}.md"


def printed_by(name: str) -> str:
    """What an example prints, run as a reader would, on one thread.

    Raises:
        CalledProcessError: if it fails.
    """
    done = subprocess.run(
        [sys.executable, str(script_of(name))],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.stdout


def shown_in(page: str) -> str:
    """The output that a page shows."""
    return page.split("<!-- output -->\n```text\n")[1].split("```\n<!-- /output -->")[0]


def page(name: str, output: str | None = None) -> str:
    """A page with its script, and with an output in place of the one it shows.

    Args:
        name: of the example.
        output: what the script printed; the page's own if left out.
    """
    text = page_of(name).read_text(encoding="utf-8")
    code = script_of(name).read_text(encoding="utf-8")
    text = filled(text, "script", f'```python title="examples/{script_of(name).name}"\n{code}```')
    return text if output is None else filled(text, "output", f"```text\n{output}```")


if __name__ == "__main__":
    for each in sys.argv[1:] or names():
        print(each)
        page_of(each).write_text(page(each, printed_by(each)), encoding="utf-8")
