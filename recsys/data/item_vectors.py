"""Item vectors of whole numbers, by which answers are diversified: a truncated SVD of the users of each item."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.truncated_svd import truncated_svd
from recsys.schema import VECTOR_NORM, VECTOR_SIZE

MIN_LENGTH_SHARE: Final = 1e-4
"""Minimum length of a vector, as a share of the length of the column; a shorter one is rounding error."""


def item_vectors(positives: csr_matrix, seed: int) -> NDArray[np.int8]:
    """Compress each column of `positives` (users x items) to `VECTOR_SIZE` whole numbers, (items, `VECTOR_SIZE`).

    The cosine of two vectors approximates that of the two columns. Each vector has the norm `VECTOR_NORM`. An item
    without interactions, or outside the dimensions of the SVD, has zeros.
    """
    values, right = truncated_svd(positives, VECTOR_SIZE, seed)
    scaled = np.zeros((positives.shape[1], VECTOR_SIZE), np.float32)
    scaled[:, : len(values)] = right * values
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    column_lengths = np.sqrt(np.asarray(positives.power(2).sum(axis=0)).reshape(-1, 1))
    is_described = lengths > MIN_LENGTH_SHARE * column_lengths
    units = np.divide(scaled, lengths, out=np.zeros_like(scaled), where=is_described)
    return np.rint(VECTOR_NORM * units).astype(np.int8)
