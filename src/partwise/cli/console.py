"""Where words go: results to standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from partwise.errors import DataWarning

console = Console()
PER_SECOND = 8
"""How often a bar moves at most."""


class Output:
    """What a command says, and where.

    Args:
        as_json: one JSON object on standard output, and nothing else there.
        quiet: only errors and results.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False):
        self.as_json, self.quiet = as_json, quiet

    def print(self, *things: Any, **how: Any) -> None:
        """A result, for people."""
        if not self.as_json:
            console.print(*things, **how)

    def text(self, words: str) -> None:
        """A result in plain words, whatever they hold."""
        self.print(words, markup=False, highlight=False, soft_wrap=True)

    def rule(self, words: str = "") -> None:
        """A line across, for people."""
        if not self.as_json:
            console.rule(words)

    def note(self, words: str) -> None:
        """A hint, which is no result."""
        if not self.quiet:
            self.print(escape(words), highlight=False)

    def result(self, value: Any) -> None:
        """The result, for programs."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")

    @contextlib.contextmanager
    def bars(self) -> Iterator[Bars]:
        """Live bars on standard error; for the quiet none, and none of the library's remarks."""
        bars, remarks = Bars(shown=not self.quiet), logging.getLogger("partwise")
        level = remarks.level
        try:
            if self.quiet:
                remarks.setLevel(logging.ERROR)
            yield bars
        finally:
            remarks.setLevel(level)
            bars.close()

    @contextlib.contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """A bar that moves until something is over, where somebody watches."""
        with self.bars() as bars, bars.waiting(stage):
            yield


class Bars:
    """Bars of stages, with figures: losses and modules, or tokens and money.

    Args:
        shown: whether any is drawn.
    """

    def __init__(self, shown: bool):
        self._shown = shown
        self._file = _own_errors()
        self._progress = Progress(
            TextColumn("{task.description:24}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(file=self._file),
            refresh_per_second=PER_SECOND,
        )
        self._tasks: dict[str, TaskID] = {}
        self._moved: dict[str, float] = {}
        self._started = False

    def show(self, stage: str, done: int, total: int | None, figures: str | None = None) -> None:
        """Moves a bar; the first call draws it."""
        now = time.monotonic()
        if not self._shown or (
            figures is None and done != total and now < self._moved.get(stage, -1) + 1 / PER_SECOND
        ):
            return
        self._moved[stage] = now
        self._start()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, figures="")
        changes: dict[str, Any] = {} if figures is None else {"figures": figures}
        self._progress.update(self._tasks[stage], completed=done, total=total, **changes)

    def watch(self, stage: str, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """Moves a bar, and shows what a training logs."""
        self.show(stage, done, total, figures_of(metrics) if metrics else None)

    @contextlib.contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """A bar without an end, where standard error is a terminal."""
        if not self._shown or not self._progress.console.is_terminal:
            yield
            return
        self._start()
        task = self._progress.add_task(stage, total=None, figures="")
        try:
            yield
        finally:
            self._progress.remove_task(task)

    def stop(self) -> None:
        """Leaves the bars as they are, until one moves again."""
        if self._started:
            self._progress.stop()
            self._started = False

    def close(self) -> None:
        """Ends all bars."""
        self.stop()
        if self._file is not sys.stderr:
            self._file.close()

    def _start(self) -> None:
        if not self._started:
            self._progress.start()
            self._started = True


def _own_errors() -> TextIO:
    """Standard error; where that is a terminal, a way to it that `silenced` leaves open."""
    if not sys.stderr.isatty():
        return sys.stderr
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace")


def figures_of(metrics: Mapping[str, Any]) -> str:
    """What a bar says of a training."""
    share = metrics["interface_frac"]
    between = "" if share is None else f"  interface {share:.3f}"
    return f"loss {metrics['loss']:.3f}  modules {metrics['modules']}{between}"


def plain(value: Any) -> Any:
    """A value as JSON has it; numbers that JSON has no word for become null.

    >>> plain({"a": (1, float("nan")), "b": {2: "x"}})
    {'a': [1, None], 'b': {'2': 'x'}}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(
            {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        )
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def complain(words: str, code: int) -> int:
    """Says what went wrong, in one line; gives the exit code."""
    line = " ".join(words.split())
    errors().print(f"partwise: {escape(line)}", style="red", highlight=False)
    return code


def errors() -> Console:
    """Standard error, whose lines are never broken."""
    return Console(stderr=True, soft_wrap=True)


@contextlib.contextmanager
def told_warnings() -> Iterator[None]:
    """Partwise's own warnings are a line each; those of libraries are for programmers."""

    def tell(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, DataWarning):
            errors().print(f"partwise: {escape(str(message))}", style="yellow", highlight=False)

    before, warnings.showwarning = warnings.showwarning, tell
    try:
        yield
    finally:
        warnings.showwarning = before


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Nothing that libraries and their processes print or log is heard; what they raise is."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _descriptor_silenced(1),
            _descriptor_silenced(2),
        ):
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _descriptor_silenced(number: int) -> Iterator[None]:
    """A file descriptor leads nowhere, for programs that libraries start as well."""
    kept = os.dup(number)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
