"""Small systems of equations inside compiled loops; imported where they are used."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled

Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])


@compiled
def solve_positive_definite(matrix: Floats, target: Floats) -> Floats:
    """The x that solves matrix x = target, from the lower triangle of a positive definite matrix."""
    lower = np.linalg.cholesky(matrix)
    solution = target.copy()
    for place in range(len(target)):
        solution[place] = (solution[place] - np.dot(lower[place, :place], solution[:place])) / lower[place, place]
    for place in range(len(target) - 1, -1, -1):
        solution[place] /= lower[place, place]
        solution[:place] -= solution[place] * lower[place, :place]
    return solution
