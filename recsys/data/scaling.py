"""Users x items as ones, and its rows and columns scaled."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array


def once_each(wanted: csr_matrix) -> csr_matrix:
    """The matrix with every confidence 1, in double precision."""
    return csr_matrix((np.ones(wanted.nnz), wanted.indices, wanted.indptr), shape=wanted.shape)


def scaled(matrix: csr_matrix, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> csr_matrix:
    """The matrix, each row and each column multiplied by a number of its own."""
    return csr_matrix(diags_array(rows) @ matrix @ diags_array(columns))


def scaled_by_counts(once: csr_matrix, row_exponent: float = 0.5, column_exponent: float = 0.5) -> csr_matrix:
    """Ones divided by how many are in their row and column, each to a power: the weights of a graph's edges."""
    rows = np.maximum(np.diff(once.indptr), 1.0) ** -row_exponent
    columns = np.maximum(np.bincount(once.indices, minlength=once.shape[1]), 1.0) ** -column_exponent
    weights = csr_matrix(scaled(once, rows, columns), dtype=np.float32)
    weights.sort_indices()
    return weights


def cosine_weights(counts: NDArray[np.integer], shrinkage: float) -> NDArray[np.float64]:
    """What makes a dot product of columns of ones their cosine, each with so many ones and `shrinkage` more."""
    return 1 / np.sqrt(np.maximum(counts + shrinkage, 1))
