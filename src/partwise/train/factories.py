"""Functions of a user's own that a recipe names, as `module:name`."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

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


def network_from(name: str, data: object | None) -> nn.Module:
    """The network that a user's function makes, given the data where it takes an argument.

    Args:
        name: `package.module:function`; its code is run.
        data: a `Task` or `Text`; None where nobody gave any.

    Raises:
        RecipeError: if there is no such function, it wants data and there are none, or it gives no
            network.
    """
    make = factory_named(name)
    if not _takes_data(make):
        made = make()
    elif data is None:
        raise RecipeError(f"{name} takes the data as its argument; give them with --data")
    else:
        made = make(data)
    if not isinstance(made, nn.Module):
        raise RecipeError(f"{name} gave a {type(made).__name__}, wanted a torch.nn.Module")
    return made


def _takes_data(make: Callable[..., Any]) -> bool:
    """Whether a function cannot be called without an argument."""
    try:
        inspect.signature(make).bind()
    except TypeError:
        return True
    except ValueError:  # no signature is known, as of some built-in classes
        return False
    return False


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
