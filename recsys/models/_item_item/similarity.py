"""Nearest columns of a sparse matrix, and the support of item pairs by common users."""

from typing import Any

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.scaling import scale
from recsys.ids import UNKNOWN, Rows


def find_nearest_columns(matrix: csr_matrix, neighbors: int) -> csr_matrix:
    """Find the `neighbors` + 1 largest dot products of each column with all columns, (columns, columns).

    The extra one is for the column itself, which usually is among them. `implicit` computes them without a dense
    matrix of all pairs. Indices are sorted.
    """
    finder = ItemItemRecommender(K=min(neighbors + 1, matrix.shape[1]))
    finder.fit(csr_matrix(matrix, dtype=np.float64), show_progress=False)
    nearest = csr_matrix(finder.similarity, dtype=np.float32)
    nearest.sort_indices()
    return nearest


def find_similar_users(
    user_items: csr_matrix, sizes: NDArray[np.number], neighbors: int, asymmetry: float
) -> csr_matrix:
    """Find the `neighbors` + 1 most similar users of each user, itself among them, (users, users), float32.

    The similarity of user u to v is the dot product of their rows of `user_items` (users x items) divided by
    sizes[u] ** (1 - asymmetry) x sizes[v] ** asymmetry. Indices are sorted.
    """
    floored = np.maximum(sizes, 1)
    # A factor of a row does not change the order of its entries, so a symmetric product finds the neighbors.
    scaled = scale(user_items, 1 / floored**asymmetry, np.ones(user_items.shape[1]))
    nearest = find_nearest_columns(csr_matrix(scaled.T), neighbors)
    similar = csr_matrix(scale(nearest, floored ** (2 * asymmetry - 1), np.ones(len(floored))), dtype=np.float32)
    similar.sort_indices()
    return similar


class SupportFilter:
    """Removes similar items that have fewer than `min_support` users in common with the item."""

    def __init__(self, positives: csr_matrix, min_support: int) -> None:
        from recsys.compiled import compiled  # numba takes long to import

        item_users = csr_matrix(positives.T)
        item_users.sort_indices()
        self._offsets = item_users.indptr.astype(np.int64)
        self._users = item_users.indices.astype(np.int32)
        self._min_support = min_support
        self._mark: Any = compiled(_mark_supported)

    def apply(self, item_rows: Rows, similar_rows: Rows) -> Rows:
        """Replace unsupported entries of `similar_rows`, (len(item_rows), n), by -1."""
        supported = np.zeros(similar_rows.shape, np.bool_)
        self._mark(item_rows, similar_rows, self._offsets, self._users, self._min_support, supported)
        return np.where(supported, similar_rows, np.int32(UNKNOWN))


def _mark_supported(
    item_rows: Rows,
    similar_rows: Rows,
    offsets: NDArray[np.int64],
    users: Rows,
    min_support: int,
    supported: NDArray[np.bool_],
) -> None:
    """Set `supported` where the sorted users of both items have `min_support` in common; stop counting there."""
    for row in range(len(item_rows)):
        for place in range(similar_rows.shape[1]):
            other = similar_rows[row, place]
            if other < 0:
                continue
            one, one_end = offsets[item_rows[row]], offsets[item_rows[row] + 1]
            two, two_end = offsets[other], offsets[other + 1]
            missing = min_support
            while missing > 0 and one < one_end and two < two_end:
                if users[one] == users[two]:
                    missing -= 1
                    one += 1
                    two += 1
                elif users[one] < users[two]:
                    one += 1
                else:
                    two += 1
            supported[row, place] = missing == 0
