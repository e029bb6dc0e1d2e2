"""Synchrony: users whose items resemble each other in popularity and authority, as those of a farm do (CatchSync).

Jiang, Cui, Beutel, Faloutsos, Yang, "CatchSync: Catching Synchronized Behavior in Large Directed Graphs" (KDD
2014).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

CELLS: Final = 24
"""Cells along each side of the grid; items in one cell are alike."""
MIN_ITEMS: Final = 3
AUTHORITY_STEPS: Final = 10

Numbers = NDArray[np.float64]


def synchrony(user_items: csr_matrix) -> Numbers:
    """Compute by how much each user's items are more alike than they must be, (users,), 0 to 1, high for farms.

    Items lie in a grid by the logarithms of their number of users and of their authority (HITS). Synchronicity is
    the probability that two of the user's items share a cell, normality that one of the user's and one of all items
    do. Given the normality, synchronicity has a lower bound, the paper's parabola; returned is the excess over the
    bound, as a share of the greatest possible excess. nan for users with fewer than `MIN_ITEMS` items. Linear in
    the entries.
    """
    cells = _item_cells(user_items)
    count = int(cells.max()) + 1
    item_cells = csr_matrix((np.ones(len(cells)), (np.arange(len(cells)), cells)), shape=(len(cells), count))
    per_user = np.diff(user_items.indptr)
    counts = csr_matrix(user_items, dtype=np.float64) @ item_cells
    shares = csr_matrix(counts.multiply(1 / np.maximum(per_user, 1)[:, None]))
    background = np.asarray(counts.sum(axis=0)).ravel() / max(user_items.nnz, 1)
    synchronicity = np.asarray(shares.multiply(shares).sum(axis=1)).ravel()
    normality = shares @ background
    minimum = _min_synchronicity(normality, background)
    excess = (synchronicity - minimum) / np.maximum(1 - minimum, np.finfo(float).tiny)
    return np.where(per_user < MIN_ITEMS, np.nan, np.clip(excess, 0, 1))


def _min_synchronicity(normality: Numbers, background: Numbers) -> Numbers:
    """Compute the lower bound of synchronicity given the normality n (theorem 1 of the paper).

    (M n^2 - 2 n + s) / (M s - 1), for M cells in use and the synchronicity s of the background: Lagrange
    multipliers over shares that sum to 1 and have this normality.
    """
    used = background[background > 0]
    cells, background_synchronicity = len(used), float((used**2).sum())
    if cells * background_synchronicity <= 1:
        return np.full(len(normality), 1 / max(cells, 1))
    return (cells * normality**2 - 2 * normality + background_synchronicity) / (
        cells * background_synchronicity - 1
    )


def _item_cells(user_items: csr_matrix) -> NDArray[np.int64]:
    users = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(float)
    return _bins(np.log(np.maximum(users, 1))) * CELLS + _bins(np.log(_authority(user_items)))


def _authority(user_items: csr_matrix) -> Numbers:
    authority = np.ones(user_items.shape[1])
    for _ in range(AUTHORITY_STEPS):
        authority = user_items.T @ (user_items @ authority)
        authority /= max(float(authority.max()), np.finfo(float).tiny)
    return np.maximum(authority, 1e-12)


def _bins(values: Numbers) -> NDArray[np.int64]:
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(len(values), np.int64)
    return np.minimum((values - low) / (high - low) * CELLS, CELLS - 1).astype(np.int64)
