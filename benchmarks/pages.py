"""Pages of docs whose code is run: tests run them, and this fills in what they show.

python -m benchmarks.pages docs/tutorials/first-network.md    # or all of them

A page is one story. Its blocks run from top to bottom in a folder of their own: Python in one
namespace, shell commands one by one, a block with a `title` is written to a file. A `text` block
right after another block is what that prints. A comment in the line before a block changes this:

    <!-- quick: 4000 => 40 -->    the quick test replaces text in this block; what it shows from
                                  here on is compared by the slow test only
    <!-- slow -->                 the slow test alone runs this block
    <!-- shown -->                not run, because it needs what no test has, such as a cluster;
                                  its commands must parse, its Python compile, its YAML load
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
STORIES = ("tutorials", "how-to", "explanation")
WIDTH = "100"
BLOCK = re.compile(
    r"(?P<notes>(?:^[ ]*<!-- (?:quick|slow|shown)[^\n]*-->\n)*)"
    r"^(?P<indent>[ ]*)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<body>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        language: what the fence names.
        title: the file that it is written to, or None.
        body: its text.
        quick: what the quick test replaces, and by what.
        is_slow: whether the slow test alone runs it.
        is_shown: whether it is not run.
        line: its line in the page.
        start, stop: where the body stands in the page.
    """

    language: str
    title: str | None
    body: str
    quick: tuple[tuple[str, str], ...]
    is_slow: bool
    is_shown: bool
    line: int
    start: int
    stop: int

    @property
    def is_run(self) -> bool:
        """Whether something is done with it."""
        return not self.is_shown and (self.title is not None or self.language in ("python", "sh"))


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for match in BLOCK.finditer(text):
        notes = match["notes"]
        quick = tuple(
            (old.strip(), new.strip())
            for old, new in re.findall(r"<!-- quick: (.*?) => (.*?) -->", notes)
        )
        line = text[: match.start("language")].count("\n") + 1
        found.append(
            Block(
                language=match["language"],
                title=match["title"],
                body=match["body"],
                quick=quick,
                is_slow="<!-- slow" in notes,
                is_shown="<!-- shown" in notes,
                line=line,
                start=match.start("body"),
                stop=match.end("body"),
            )
        )
    return found


def shown_after(text: str, block: Block) -> Block | None:
    """The text block that shows what a block prints."""
    following = [each for each in blocks_of(text) if each.start > block.stop]
    if not following or following[0].language != "text":
        return None
    between = text[block.stop : following[0].start]
    return following[0] if re.fullmatch(r"\s*```\s*```text\n", between) else None


@dataclass
class Story:
    """A page that is being run.

    Attributes:
        quick: whether blocks run with their quick settings.
    """

    quick: bool = False

    def __post_init__(self) -> None:
        self._names: dict[str, Any] = {"__name__": "__page__"}
        self._code = 0
        self.is_changed = False
        """Whether a quick setting has changed what the page shows."""

    def printed(self, block: Block) -> str:
        """Runs a block in the working directory; returns what it prints."""
        body = block.body
        if self.quick and block.quick:
            self.is_changed = True
            for old, new in block.quick:
                assert old in body, f"line {block.line}: no '{old}' to replace"
                body = body.replace(old, new)
        if block.title is not None:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(body, encoding="utf-8")
            return ""
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, f"line {block.line}", "exec"), self._names)
            return out.getvalue()
        return "".join(self._shell(command) for command in commands(body))

    def _shell(self, command: str) -> str:
        if command == "echo $?":
            return f"{self._code}\n"
        if command.startswith("partwise "):
            command, mark, rest = re.match(r"([^|>]*)([|>]?)(.*)", command).groups()
            self._code, out, err = partwise(shlex.split(command)[1:])
            assert self._code in (0, 1, 3), f"{command}: {err}"
            return _redirected(out, mark, rest.strip()) if mark else out
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        self._code = done.returncode
        assert done.returncode == 0, done.stderr
        return done.stdout


def _redirected(text: str, mark: str, rest: str) -> str:
    """What a pipe or a file makes of text."""
    command = f"cat > {rest}" if mark == ">" else rest
    done = subprocess.run(["bash", "-c", command], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(body: str) -> list[str]:
    """Shell commands of a block, without comments, continued lines joined."""
    lines = body.replace("\\\n", " ").splitlines()
    bare = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in lines]
    return [re.sub(r"\s+", " ", line) for line in bare if line]


def partwise(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of the command line, called in this process."""
    from partwise.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["partwise", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
    return code, plain(out.getvalue()), plain(err.getvalue())


def plain(text: str) -> str:
    """Text without spaces at the ends of lines."""
    return re.sub(r"[ ]+$", "", text, flags=re.MULTILINE)


def refuse_wrong_command(command: str) -> None:
    """Refuses a command line that names a command or an option that there is not."""
    import typer

    from partwise.cli import app

    words = shlex.split(command.split("|")[0].split(";")[0])[1:]
    group: Any = typer.main.get_command(app)
    assert words, command
    if words[0].startswith("-"):
        return
    assert words[0] in group.commands, f"no command '{words[0]}': {command}"
    known = {name for each in group.commands[words[0]].params for name in each.opts}
    given = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
    wrong = given - known - {"--help"}
    assert not wrong, f"{command}: there is no {wrong}"


def refuse_wrong_block(block: Block) -> None:
    """What can be said of a block that is not run."""
    if block.language == "python":
        compile(block.body, f"line {block.line}", "exec")
    if block.language in ("yaml", "yml"):
        import yaml

        yaml.safe_load(block.body)
    for line in commands(block.body) if block.language in ("sh", "yaml", "slurm") else []:
        for found in re.findall(r"\bpartwise (?:train|finetune|eval|cut|explain|audit)\b.*", line):
            refuse_wrong_command(found)


def stories() -> list[Path]:
    """The pages whose blocks are run."""
    return sorted(path for part in STORIES for path in (DOCS / part).glob("*.md"))


@contextlib.contextmanager
def folder() -> Iterator[None]:
    """A fresh working directory; what was imported from it is forgotten."""
    known = set(sys.modules)
    with (
        TemporaryDirectory() as path,
        contextlib.chdir(path),
        mock.patch("sys.path", [path, *sys.path]),
    ):
        yield
        for name in set(sys.modules) - known:
            place = getattr(sys.modules[name], "__file__", None) or ""
            if place.startswith(os.path.realpath(path)) or place.startswith(path):
                del sys.modules[name]


def printed_by(text: str) -> dict[str, str]:
    """What the blocks of a page print, run as they stand, by block."""
    story = Story()
    with folder():
        return {each.body: story.printed(each) for each in blocks_of(text) if each.is_run}


def filled_in(text: str, printed: dict[str, str]) -> str:
    """The page with what its blocks print."""
    for block in reversed(blocks_of(text)):
        shown = shown_after(text, block)
        if shown is not None and block.body in printed:
            output = printed[block.body].strip("\n")
            text = f"{text[: shown.start]}{output}\n{text[shown.stop :]}"
    return text


def main(paths: list[Path]) -> None:
    """Fills in the outputs of some pages."""
    import torch

    torch.set_num_threads(1)
    for path in paths:
        print(path)
        printed = printed_by(
            path.read_text(encoding="utf-8")
        )  # minutes; words may change meanwhile
        path.write_text(filled_in(path.read_text(encoding="utf-8"), printed), encoding="utf-8")


if __name__ == "__main__":
    main([Path(each).resolve() for each in sys.argv[1:]] or stories())
