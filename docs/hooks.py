"""What MkDocs asks while it builds the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)(?!\.\.)([^)#]+)(#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """Adds design pages that the navigation does not name, and the log, newest first."""
    named = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    for section in config.nav:
        if "Design" in section:
            pages = section["Design"]
            rest = sorted(f"design/{p.name}" for p in (DOCS / "design").glob("*.md"))
            pages += [{"More": more}] if (more := [p for p in rest if p not in named]) else []
            log = sorted((f"log/{p.name}" for p in (DOCS / "log").glob("*.md")), reverse=True)
            pages.append({"Log": log})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Names files outside the docs in place of linking to them: the site does not hold them."""
    place = Path(page.file.src_path).parent

    def named(match: re.Match[str]) -> str:
        target = (DOCS / place / (match[2] + match[3])).resolve()
        if target.is_relative_to(DOCS):
            return match[0]
        return f"{match[1]} (`{target.relative_to(DOCS.parent)}`)"

    return LINK.sub(named, markdown)
