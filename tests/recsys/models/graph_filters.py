"""A small shop, and the filters of GF-CF and BSPM on it written out with dense matrices."""

import numpy as np
from numpy.typing import NDArray

ROWS = {"a": "xy", "b": "xyz", "c": "zw", "d": "w", "e": "xw"}
EVENTS = [(user, item, 1.0, 1.0) for user, items in ROWS.items() for item in items]
USERS = np.arange(5, dtype=np.int32)
POSITIVES = np.array(
    [[0, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]], float
)  # items w, x, y, z

Matrix = NDArray[np.float64]


def normalized(user_exponent: float, item_exponent: float) -> Matrix:
    return POSITIVES / POSITIVES.sum(1, keepdims=True) ** user_exponent / POSITIVES.sum(0) ** item_exponent


def filters(matrix: Matrix, factors: int) -> tuple[Matrix, Matrix, float]:
    """The linear filter, the ideal one, and the square of the greatest singular value."""
    _, values, turned = np.linalg.svd(matrix)
    lengths = np.sqrt(POSITIVES.sum(0))
    ideal = np.diag(1 / lengths) @ turned[:factors].T @ turned[:factors] @ np.diag(lengths)
    return matrix.T @ matrix, ideal, values[0] ** 2
