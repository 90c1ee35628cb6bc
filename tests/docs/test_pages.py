"""Every block of the pages is run, and what they show is compared (see `benchmarks.pages`)."""

import re
import subprocess
import sys

import pytest

import partwise
from benchmarks import cli_page, doc_pictures, pages
from tests.test_pins import MADE_ON, here

STORIES = pages.stories()
PROSE = sorted(
    path
    for part in ("", "tutorials", "how-to", "explanation", "examples", "reference")
    for path in (pages.DOCS / part).glob("*.md")
)
MOST_WORDS = 25
OTHER_NUMBERS = re.compile(r"[-+]?\d[\d.,e-]*")


def name_of(path):
    return path.relative_to(pages.DOCS).as_posix()


def kind_of(text):
    """Text without its numbers and spaces, which other machines may print otherwise."""
    return re.sub(r"\s+", " ", OTHER_NUMBERS.sub("#", text)).strip()


def differences(path, quick):
    """Blocks of a page that print something else than the page shows, as (line, printed)."""
    text, story, wrong = path.read_text(encoding="utf-8"), pages.Story(quick), []
    with pages.folder():
        for block in pages.blocks_of(text):
            if not block.is_run or (quick and block.is_slow):
                continue
            printed, shown = story.printed(block), pages.shown_after(text, block)
            if shown is None:
                same = not printed.strip()
            elif story.is_changed:
                same = bool(printed.strip())
            elif here() == MADE_ON:
                same = printed.strip("\n") == shown.body.strip("\n")
            else:
                same = kind_of(printed) == kind_of(shown.body)
            if not same:
                wrong.append((block.line, printed))
    return wrong


@pytest.mark.parametrize("path", STORIES, ids=name_of)
def test_blocks_run_with_quick_settings(path):
    assert differences(path, quick=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", STORIES, ids=name_of)
def test_blocks_print_what_the_page_shows(path):
    assert differences(path, quick=False) == []


@pytest.mark.parametrize("path", [*PROSE, pages.ROOT / "README.md"], ids=lambda path: path.name)
def test_blocks_that_are_not_run_could_be(path):
    for block in pages.blocks_of(path.read_text(encoding="utf-8")):
        if not block.is_run or path not in STORIES:
            pages.refuse_wrong_block(block)


def test_a_block_is_run_replaced_or_shown():
    text = (
        "<!-- quick: 9 => 2 -->\n```python\nprint(9)\n```\n\n```text\n9\n```\n"
        "<!-- shown -->\n```sh\npartwise demo\n```\n<!-- slow -->\n```sh\nls\n```\n"
    )
    run, output, shown, slow = pages.blocks_of(text)
    assert pages.Story().printed(run) == "9\n"
    assert pages.Story(quick=True).printed(run) == "2\n"
    assert pages.shown_after(text, run) == output
    assert [each.is_run for each in (run, output, shown, slow)] == [True, False, False, True]
    assert [each.is_slow for each in (run, shown, slow)] == [False, False, True]


@pytest.mark.parametrize("command", ["partwise trian x", "partwise cut x --methode newman_q"])
def test_a_wrong_command_is_refused(command):
    with pytest.raises(AssertionError):
        pages.refuse_wrong_command(command)


def test_the_command_line_is_what_help_says():
    assert cli_page.PAGE.read_text(encoding="utf-8") == cli_page.page(), (
        "run python -m benchmarks.cli_page"
    )


def test_the_reference_has_every_public_name():
    page = (pages.DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^::: partwise\.(?:\w+\.)*(\w+)$", page, re.MULTILINE))
    assert set(partwise.__all__) <= known


def test_small_pictures_are_what_the_library_computes():
    for path, text in doc_pictures.small().items():
        assert path.read_text(encoding="utf-8") == text


def sentences(text):
    """Sentences of a page's prose, without code, tables, comments and link targets."""
    text = re.sub(r"^---\n.*?^---\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?", r"\1", text)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", ":::", "    "))]
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*>\d])", "\n".join(lines)):
        yield from re.split(r"(?<=[.:?!])[*_]*\s", " ".join(paragraph.split()))


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_sentences_are_short(path):
    if path.name == "cli.md":
        return  # made from the command line's own words
    text = path.read_text(encoding="utf-8")
    long = [each for each in sentences(text) if len(each.split()) > MOST_WORDS]
    assert long == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()
