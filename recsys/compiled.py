"""How loops are compiled; imported where they are used, as numba takes longer to import than all else of a list."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compiled when first called; what was compiled is kept beside its file or in the user's cache directory."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba's answer when it may write to neither: compiled anew in every process
        return njit(nogil=True)(function)
