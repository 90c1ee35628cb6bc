"""The reference of the command line, from what `partwise --help` says.

python -m benchmarks.cli_page          # rewrites docs/reference/cli.md
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import typer

from partwise.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
HEAD = """\
# Command line

This page is made from `partwise --help`, by `python -m benchmarks.cli_page`.

| exit code | meaning |
|---|---|
| 0 | done; of `audit`: passed |
| 1 | `audit` flagged the network; `explain` could describe no part |
| 2 | bad input, told in one line |
| 3 | `audit` cannot judge the network |
| 130 | interrupted |
"""


def page() -> str:
    """The page as Markdown."""
    group: Any = typer.main.get_command(app)
    lines = [HEAD, "| command | does |", "|---|---|"]
    for name, command in group.commands.items():
        first = inspect.cleandoc(command.help or "").split("\n\n")[0]
        lines.append(f"| [`{name}`](#partwise-{name}) | {_one_line(first)} |")
    parts = ["\n".join(lines)]
    parts += [_command(name, command) for name, command in group.commands.items()]
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any) -> str:
    usage = " ".join(["partwise", name, *(_usage(each) for each in command.params)])
    words = inspect.cleandoc(command.help or "")
    examples = re.findall(r"^Example: (.*)$", words, re.MULTILINE)
    words = re.sub(r"^Example: .*\n?", "", words, flags=re.MULTILINE).strip()
    parts = [f"## partwise {name}", re.sub(r"\n{3,}", "\n\n", words)]
    parts.append("```text\n" + re.sub(r" {2,}", " ", usage).strip() + " [OPTIONS]\n```")
    rows = [_row(each) for each in command.params if not getattr(each, "hidden", False)]
    parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]))
    if examples:
        parts.append("```sh\n" + "\n".join(examples) + "\n```")
    return "\n\n".join(parts)


def _usage(parameter: Any) -> str:
    if parameter.param_type_name != "argument":
        return ""
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    name = parameter.metavar or parameter.name.upper()
    if not is_argument:
        takes = "" if getattr(parameter, "is_flag", False) else f" {_metavar(parameter)}"
        name = ", ".join(parameter.opts) + takes
    words = _one_line(parameter.help or "")
    default = parameter.default
    if isinstance(default, str | int | float | Path) and not isinstance(default, bool):
        words += f" Default: `{default}`."
    return f"| `{name.replace('|', chr(92) + '|')}` | {words.replace('|', chr(92) + '|')} |"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
