"""Compilation of loops by numba, and a linear solver for use inside them.

Modules that import this one are imported inside the functions that use them: numba takes longer to import than all
else that ranking needs.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])


def compiled(function: F) -> F:
    """Compile a function on its first call, and cache the code beside its file or in the user's cache directory."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither place is writable: every process compiles it again
        return njit(nogil=True)(function)


@compiled
def solve_positive_definite(matrix: Floats, target: Floats) -> Floats:
    """Solve matrix x = target by Cholesky; only the lower triangle of `matrix` is read."""
    lower = np.linalg.cholesky(matrix)
    solution = target.copy()
    for place in range(len(target)):
        solution[place] = (solution[place] - np.dot(lower[place, :place], solution[:place])) / lower[place, place]
    for place in range(len(target) - 1, -1, -1):
        solution[place] /= lower[place, place]
        solution[:place] -= solution[place] * lower[place, :place]
    return solution
