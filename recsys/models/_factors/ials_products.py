"""Compiled products of `ials_solver` with the interactions of a block of rows.

Import this module inside functions: numba takes long to import.
"""

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled

Floats = NDArray[np.float32]


@compiled
def add_observed(
    offsets: NDArray[np.int64], columns: NDArray[np.int32], others: Floats, directions: Floats, products: Floats
) -> None:
    """Add the sum of y (y . d) over the entries of each row to `products`, (rows, factors), in place.

    The entries of row r are `columns` from `offsets[r]` to `offsets[r + 1]`, y the rows of `others` at these, d row
    r of `directions`.
    """
    for row in range(len(directions)):
        product = products[row]
        for place in range(offsets[row], offsets[row + 1]):
            other = others[columns[place]]
            score = np.dot(other, directions[row])
            for factor in range(len(other)):
                product[factor] += score * other[factor]
