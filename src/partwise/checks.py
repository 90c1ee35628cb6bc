"""Checks of what users set."""

from __future__ import annotations

from partwise.errors import RecipeError


def require_at_least(least: int, owner: object, *names: str) -> None:
    """Refuses attributes of `owner` that are less.

    Raises:
        RecipeError: that names the first of them.
    """
    for name in names:
        if getattr(owner, name) < least:
            raise RecipeError(f"{name} = {getattr(owner, name)}, wanted at least {least}")
