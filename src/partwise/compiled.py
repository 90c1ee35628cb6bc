"""Kernels compiled by numba, kept on disk between processes where there is a place for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function without the interpreter's lock, and caches it.

    The cache lies in `NUMBA_CACHE_DIR`, else beside the source, else in the user's cache folder.
    Where none of them can be written, every process compiles anew, and the log says so once.

    Args:
        options: as `numba.njit` takes them.
    """

    def compile_kernel(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            _say_that_nothing_is_kept()
            return njit(nogil=True, **options)(function)

    return compile_kernel


@cache
def _say_that_nothing_is_kept() -> None:
    logging.getLogger("partwise").warning(
        "Partwise cannot write its compiled kernels anywhere, so each process compiles them anew "
        "(about a minute); set NUMBA_CACHE_DIR to a folder that can be written"
    )
