"""Wrong commands and options, each told in one line that says the way out."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, cast

import typer
from typer.core import TyperGroup

from partwise.errors import PartwiseError

USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[2])
"""The base of all that typer says of a command line; its module differs between versions."""


class UsageError(PartwiseError):
    """A command that there is not."""


class Verbs(TyperGroup):
    """The commands; a wrong one is answered by the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name.

        Raises:
            UsageError: if there is none of that name.
        """
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UsageError(wrong_command(args[0], list(self.commands)))
        return super().resolve_command(ctx, args)


def wrong_command(name: str, known: list[str]) -> str:
    """What to say of a command that there is not.

    >>> wrong_command("trian", ["train", "cut"])
    "there is no command 'trian'; did you mean 'train'?"
    >>> wrong_command("x", ["train", "cut"])
    "there is no command 'x'; choose train, cut"
    >>> wrong_command("version", ["train", "cut"])
    "there is no command 'version'; did you mean '--version'?"
    """
    near = get_close_matches(name, [*known, "--help", "--version"], 1)
    way_out = f"did you mean '{near[0]}'?" if near else f"choose {', '.join(known)}"
    return f"there is no command '{name[:40]}'; {way_out}"


def usage_words(error: Any) -> str:
    """What is wrong with an option or argument, and where to read on."""
    words = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    path = "partwise" if context is None else context.command_path
    return f"{words[:1].lower()}{words[1:]}; see {path} --help"
