"""Binarization, scaling and normalization of sparse matrices, users x items."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array


def binarize(matrix: csr_matrix) -> csr_matrix:
    """Replace every stored entry by 1, in double precision."""
    return csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def scale(matrix: csr_matrix, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> csr_matrix:
    """Multiply each row by its entry of `rows` and each column by its entry of `columns`."""
    return csr_matrix(diags_array(rows) @ matrix @ diags_array(columns))


def normalize_by_degree(binary: csr_matrix, row_exponent: float = 0.5, column_exponent: float = 0.5) -> csr_matrix:
    """Divide entries of 1 by row degree ** `row_exponent` x column degree ** `column_exponent`, as float32.

    With both exponents 1/2 this is the symmetric normalization of the adjacency matrix of a bipartite graph.
    """
    rows = np.maximum(np.diff(binary.indptr), 1.0) ** -row_exponent
    columns = np.maximum(np.bincount(binary.indices, minlength=binary.shape[1]), 1.0) ** -column_exponent
    weights = csr_matrix(scale(binary, rows, columns), dtype=np.float32)
    weights.sort_indices()
    return weights


def inverse_norms(counts: NDArray[np.integer], shrinkage: float) -> NDArray[np.float64]:
    """Return 1 / sqrt(counts + shrinkage): columns of ones scaled by it have their shrunk cosine as dot product."""
    return 1 / np.sqrt(np.maximum(counts + shrinkage, 1))
