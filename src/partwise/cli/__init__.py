"""The command line: arguments -> library calls -> exit codes. One file a command.

Nothing here imports torch before a command has its arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from partwise.cli import (
    audit,
    cut,
    decompile,
    demo,
    explain,
    finetune,
    init,
    report,
    runs,
    train,
)
from partwise.cli import eval as evaluation
from partwise.cli.console import complain, console, told_warnings
from partwise.cli.usage import USAGE_ERROR, Verbs, usage_words
from partwise.errors import PartwiseError

DONE, WRONG, INTERRUPTED = 0, 2, 130
EXIT_CODES = (
    "Exit codes: 0 done; 1 flagged by audit, or no part described by explain; 2 bad input, told in "
    "one line; 3 audit cannot judge the network; 130 interrupted."
)
VERBS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "init": init.init,
    "train": train.train,
    "finetune": finetune.finetune,
    "runs": runs.runs,
    "eval": evaluation.evaluate,
    "cut": cut.cut,
    "explain": explain.explain,
    "audit": audit.audit,
    "report": report.report,
    "decompile": decompile.decompile,
}

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point: errors that a user can put right become one line and exit code 2.

    Args:
        arguments: those of the command line if left out.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with told_warnings():
        code = _code(words or ["--help"])
    sys.exit(code)


def _code(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="partwise", standalone_mode=False)
    except PartwiseError as error:
        return complain(str(error), WRONG)
    except PermissionError as error:
        return complain(f"no permission to use {error.filename}; choose another place", WRONG)
    except USAGE_ERROR as error:
        return complain(usage_words(error), WRONG)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    return complain("interrupted", code) if code == INTERRUPTED else _number(code)


def _number(code: Any) -> int:
    return code if isinstance(code, int) else DONE


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"partwise {version('partwise')}", highlight=False)
        raise typer.Exit()


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train neural networks that come apart, find the parts, and read what each part does."""


__all__ = ["app", "main"]
