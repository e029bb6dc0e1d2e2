"""The largest singular values of a sparse matrix and their right vectors."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

SMALL_SIDE: Final = 1_500  # up to so many rows or columns, the Gram matrix of the smaller side is solved whole
OVERSAMPLING: Final = 32
POWER_STEPS: Final = 4  # enough for a start, as the first vectors of a neural model
NOTHING: Final = 1e-5  # of the largest singular value

Values = NDArray[np.float32]
Vectors = NDArray[np.float32]


def truncated_svd(
    matrix: csr_matrix, rank: int, seed: int, power_steps: int = POWER_STEPS
) -> tuple[Values, Vectors]:
    """At most `rank` singular values of (M, N), descending, all above 0, and their right vectors (N, values).

    Exact for a matrix with a small side; otherwise by subspace iteration from a random start (Halko, Martinsson,
    Tropp, "Finding Structure with Randomness", SIAM Review 2011, algorithm 4.4), orthogonal by Cholesky factors of
    Gram matrices, which are sums in one order: equal seeds give equal bytes.
    """
    if min(matrix.shape) <= SMALL_SIDE:
        values, vectors = _of_small_side(matrix)
    else:
        values, vectors = _by_iteration(matrix, rank, seed, power_steps)
    kept = values[:rank] > NOTHING * max(values[0], np.finfo(np.float32).tiny)
    return values[:rank][kept].astype(np.float32), np.ascontiguousarray(vectors[:, :rank][:, kept], np.float32)


def _of_small_side(matrix: csr_matrix) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    exact = csr_matrix(matrix, dtype=np.float64)
    few_rows = matrix.shape[0] <= matrix.shape[1]
    gram = (exact @ exact.T if few_rows else exact.T @ exact).toarray()
    squares, vectors = np.linalg.eigh(gram)
    values, vectors = np.sqrt(np.maximum(squares[::-1], 0)), vectors[:, ::-1]
    if few_rows:
        vectors = (exact.T @ vectors) / np.where(values > 0, values, 1)
    return values, vectors


def _by_iteration(
    matrix: csr_matrix, rank: int, seed: int, power_steps: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    columns = min(rank + OVERSAMPLING, *matrix.shape)
    turned = csr_matrix(matrix.T)
    start = np.random.default_rng(seed).standard_normal((matrix.shape[1], columns), np.float32)
    basis = _orthogonal(start)
    for _ in range(power_steps):
        basis = _orthogonal(turned @ _orthogonal(matrix @ basis))
    image = matrix @ basis
    squares, rotation = np.linalg.eigh(_gram(image))
    values, rotation = np.sqrt(np.maximum(squares[::-1], 0)), rotation[:, ::-1]
    return values, basis @ rotation.astype(np.float32)


def _orthogonal(columns: Vectors) -> Vectors:
    """An orthonormal basis of the columns, by the Cholesky factor of their Gram matrix.

    The diagonal is raised by what single precision leaves uncertain (Fukaya, Kannan, Nakatsukasa, Yamamoto,
    Yanagisawa, "Shifted Cholesky QR", SIAM J. Sci. Comput. 2020); passes after the first make up for it.
    """
    for uncertain in (1e-6, 1e-7, 0.0):
        gram = _gram(columns)
        gram[np.diag_indices_from(gram)] += uncertain * np.trace(gram) + np.finfo(np.float32).tiny
        columns = columns @ np.linalg.inv(np.linalg.cholesky(gram)).T.astype(np.float32)
    return columns


def _gram(columns: Vectors) -> NDArray[np.float64]:
    return (columns.T @ columns).astype(np.float64)
