"""Which columns of a matrix are like each other, found by `implicit` without a matrix of all pairs."""

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array


def once_each(wanted: csr_matrix) -> csr_matrix:
    """The matrix with every confidence 1, in double precision."""
    return csr_matrix((np.ones(wanted.nnz), wanted.indices, wanted.indptr), shape=wanted.shape)


def closest_columns(matrix: csr_matrix, size: int) -> csr_matrix:
    """Columns x columns: of each, its greatest dot products with columns, `size` and one more, in order of column.

    The one more is for the column itself, which mostly is among them.
    """
    finder = ItemItemRecommender(K=min(size + 1, matrix.shape[1]))
    finder.fit(csr_matrix(matrix, dtype=np.float64), show_progress=False)
    closest = csr_matrix(finder.similarity, dtype=np.float32)
    closest.sort_indices()
    return closest


def scaled(matrix: csr_matrix, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> csr_matrix:
    """The matrix, each row and each column multiplied by a number of its own."""
    return csr_matrix(diags_array(rows) @ matrix @ diags_array(columns))


def cosine_weights(counts: NDArray[np.integer], shrinkage: float) -> NDArray[np.float64]:
    """What makes a dot product of columns of ones their cosine, each with so many ones and `shrinkage` more."""
    return 1 / np.sqrt(np.maximum(counts + shrinkage, 1))
