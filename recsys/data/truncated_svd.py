"""Truncated singular value decomposition of a sparse matrix, without left vectors."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

MAX_EXACT_SIDE: Final = 1_500  # maximum rows or columns of the side whose Gram matrix is decomposed
OVERSAMPLING: Final = 32
POWER_STEPS: Final = 4  # enough for the initial vectors of a neural model
MIN_RELATIVE_VALUE: Final = 1e-5  # smaller singular values are rounding error

Values = NDArray[np.float32]
Vectors = NDArray[np.float32]


def truncated_svd(
    matrix: csr_matrix, rank: int, seed: int, power_steps: int = POWER_STEPS
) -> tuple[Values, Vectors]:
    """Compute at most `rank` singular values of (M, N), descending, all above 0, and right vectors (N, values).

    Exact for a matrix with a small side; otherwise by subspace iteration from a random start (Halko, Martinsson,
    Tropp, "Finding Structure with Randomness", SIAM Review 2011, algorithm 4.4). Bases are made orthogonal by
    Cholesky factors of Gram matrices, whose sums have a fixed order: equal seeds give equal bytes.
    """
    if min(matrix.shape) <= MAX_EXACT_SIDE:
        values, vectors = _decompose_gram(matrix)
    else:
        values, vectors = _iterate_subspace(matrix, rank, seed, power_steps)
    kept = values[:rank] > MIN_RELATIVE_VALUE * max(values[0], np.finfo(np.float32).tiny)
    return values[:rank][kept].astype(np.float32), np.ascontiguousarray(vectors[:, :rank][:, kept], np.float32)


def _decompose_gram(matrix: csr_matrix) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    exact = csr_matrix(matrix, dtype=np.float64)
    few_rows = matrix.shape[0] <= matrix.shape[1]
    gram = (exact @ exact.T if few_rows else exact.T @ exact).toarray()
    squares, vectors = np.linalg.eigh(gram)
    values, vectors = np.sqrt(np.maximum(squares[::-1], 0)), vectors[:, ::-1]
    if few_rows:
        vectors = (exact.T @ vectors) / np.where(values > 0, values, 1)
    return values, vectors


def _iterate_subspace(
    matrix: csr_matrix, rank: int, seed: int, power_steps: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    columns = min(rank + OVERSAMPLING, *matrix.shape)
    transposed = csr_matrix(matrix.T)
    start = np.random.default_rng(seed).standard_normal((matrix.shape[1], columns), np.float32)
    basis = _orthogonalize(start)
    for _ in range(power_steps):
        basis = _orthogonalize(transposed @ _orthogonalize(matrix @ basis))
    image = matrix @ basis
    squares, rotation = np.linalg.eigh(_gram(image))
    values, rotation = np.sqrt(np.maximum(squares[::-1], 0)), rotation[:, ::-1]
    return values, basis @ rotation.astype(np.float32)


def _orthogonalize(columns: Vectors) -> Vectors:
    """Compute an orthonormal basis of the columns by the Cholesky factor of their Gram matrix.

    The diagonal is shifted by the rounding error of single precision (Fukaya, Kannan, Nakatsukasa, Yamamoto,
    Yanagisawa, "Shifted Cholesky QR", SIAM J. Sci. Comput. 2020); later passes correct the shift.
    """
    for shift in (1e-6, 1e-7, 0.0):
        gram = _gram(columns)
        gram[np.diag_indices_from(gram)] += shift * np.trace(gram) + np.finfo(np.float32).tiny
        columns = columns @ np.linalg.inv(np.linalg.cholesky(gram)).T.astype(np.float32)
    return columns


def _gram(columns: Vectors) -> NDArray[np.float64]:
    return (columns.T @ columns).astype(np.float64)
