"""`write_report`: everything about a run in one HTML file that loads nothing."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from partwise.audit.triggers import FLAG_P, FLAG_SUCCESS
from partwise.files import write_text
from partwise.report.content import ReportContent
from partwise.report.page import Page, page_of
from partwise.report.palette import colour_class, module_css, shade_css
from partwise.report.tokens import shown_token
from partwise.report.words import counted, fixed, listed, named_program, number, percent, visible

POLICY = (
    "default-src 'none'; style-src '{style}'; img-src data:; base-uri 'none'; form-action 'none'"
)
TEMPLATES = Path(__file__).parent / "templates"


def write_report(path: Path, content: ReportContent) -> None:
    """Writes a report as one self-contained HTML file, whole or not at all.

    The file runs no script and loads nothing; its content security policy says so. Texts that
    come from writers are escaped. The same content gives the same bytes.

    Args:
        path: where to; a file that is there is replaced.
        content: what to show; sections without content are left out.

    Raises:
        OutputError: if the disk is full or the place cannot be written.
    """
    write_text(Path(path), render_report(content))


def render_report(content: ReportContent) -> str:
    """The report as HTML text."""
    return render_page(page_of(content))


def render_page(page: Page) -> str:
    """A page as HTML text."""
    css = _style()
    policy = POLICY.format(style=_hash(css))
    template = _environment().get_template("report.html.j2")
    return template.render(page=page, css=Markup(css), policy=policy)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "fixed": fixed,
        "named": named_program,
        "token": shown_token,
    }
    environment.globals |= {"colour": colour_class, "counted": counted, "listed": listed}
    environment.globals |= {"flag_success": FLAG_SUCCESS, "flag_p": FLAG_P}
    return environment


@cache
def _style() -> str:
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    css = css.replace("/*light-modules*/", module_css("light"))
    return css.replace("/*dark-modules*/", module_css("dark")).replace("/*shades*/", shade_css())


def _hash(css: str) -> str:
    digest = hashlib.sha256(css.encode("utf-8")).digest()
    return "sha256-" + b64encode(digest).decode("ascii")
