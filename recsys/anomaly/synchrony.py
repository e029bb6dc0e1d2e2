"""Users whose items are all alike in how they are wanted, as those of a farm's accounts are: CatchSync.

Jiang, Cui, Beutel, Faloutsos, Yang, "CatchSync: Catching Synchronized Behavior in Large Directed Graphs" (KDD
2014).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

CELLS: Final = 24
"""Cells a side of the grid in which two items are alike."""
MIN_ITEMS: Final = 3
AUTHORITY_STEPS: Final = 10

Numbers = NDArray[np.float64]


def synchrony(user_items: csr_matrix) -> Numbers:
    """By how much each user's items are more alike than the least they must be, (users,), 0 to 1, high for farms.

    Items are points in a grid of the logarithms of their users and their authority (HITS: how much the users that
    matter want them). Synchronicity is the chance that two of the user's items share a cell, normality that one of
    the user's and one of all do. Of normality n, synchronicity is at least (1 - 2 n + cells s n^2 ...), the paper's
    parabola; what it has beyond that, over what it could have, is returned. Warm-up: nan for users with fewer than
    `MIN_ITEMS` items. Linear in the entries.
    """
    cells = _item_cells(user_items)
    count = int(cells.max()) + 1
    of_cell = csr_matrix((np.ones(len(cells)), (np.arange(len(cells)), cells)), shape=(len(cells), count))
    per_user = np.diff(user_items.indptr)
    counts = csr_matrix(user_items, dtype=np.float64) @ of_cell
    shares = csr_matrix(counts.multiply(1 / np.maximum(per_user, 1)[:, None]))
    background = np.asarray(counts.sum(axis=0)).ravel() / max(user_items.nnz, 1)
    synchronicity = np.asarray(shares.multiply(shares).sum(axis=1)).ravel()
    normality = shares @ background
    least = _least_synchronicity(normality, background)
    beyond = (synchronicity - least) / np.maximum(1 - least, np.finfo(float).tiny)
    return np.where(per_user < MIN_ITEMS, np.nan, np.clip(beyond, 0, 1))


def _least_synchronicity(normality: Numbers, background: Numbers) -> Numbers:
    """The least that synchronicity can be: by Lagrange multipliers over shares that sum to 1 and have this
    normality, (M n^2 - 2 n + s) / (M s - 1) of M cells in use, s the background's own synchronicity (theorem 1 of
    the
    paper).
    """
    used = background[background > 0]
    cells, own = len(used), float((used**2).sum())
    if cells * own <= 1:
        return np.full(len(normality), 1 / max(cells, 1))
    return (cells * normality**2 - 2 * normality + own) / (cells * own - 1)


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
