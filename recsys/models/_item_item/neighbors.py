"""Which columns of a matrix are like each other, found by `implicit` without a matrix of all pairs."""

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender
from scipy.sparse import csr_matrix


def closest_columns(matrix: csr_matrix, size: int) -> csr_matrix:
    """Columns x columns: of each, its greatest dot products with columns, `size` and one more, in order of column.

    The one more is for the column itself, which mostly is among them.
    """
    finder = ItemItemRecommender(K=min(size + 1, matrix.shape[1]))
    finder.fit(csr_matrix(matrix, dtype=np.float64), show_progress=False)
    closest = csr_matrix(finder.similarity, dtype=np.float32)
    closest.sort_indices()
    return closest
