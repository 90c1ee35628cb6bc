"""Functions of a user's own that a recipe names, as `module:name`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from partwise.errors import RecipeError, first_line


def factory_named(name: str) -> Callable[..., Any]:
    """Imports a function; modules of the working directory are found as well.

    This runs the module's code. Partwise calls it for what a recipe says, and for nothing else.

    Args:
        name: `package.module:function`.

    Raises:
        RecipeError: if there is no such module, or it holds no such function.
    """
    module, _, function = name.partition(":")
    try:
        with _working_directory_importable():
            found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"factory = {name} cannot be found: {first_line(error)}") from error
    if not callable(found):
        raise RecipeError(f"factory = {name} is no function but a {type(found).__name__}")
    made: Callable[..., Any] = found
    return made


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
