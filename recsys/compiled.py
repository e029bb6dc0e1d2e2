"""Compilation of loops by numba; imported only where needed, as importing numba is slow."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function at its first call; cache the result beside its file or in the user's cache directory."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither directory is writable: compile in every process
        return njit(nogil=True)(function)
