"""What EASE and SLIM share: every item is regressed on the items most like it, in memory that is checked first."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.data.scaling import cosine_weights, scaled
from recsys.memory import require_bytes
from recsys.models._item_item.neighbors import closest_columns
from recsys.models.artifacts import not_finite
from recsys.ranking.top_k import blocks_of, in_threads

SHRINKAGE = 10.0  # users added to each item's own when its neighbours are looked for
BLOCK_ITEMS = 64
BYTES_OF_NEIGHBOR = 48  # of each item, while they are found and sorted
BYTES_OF_ENTRY = 8


def user_weights(once: csr_matrix, exponent: float) -> NDArray[np.float64]:
    """What each user's row counts in a Gram matrix: (its items) ** -2 exponent, scaled to 1 an interaction."""
    lengths = np.diff(once.indptr)
    weights = np.maximum(lengths, 1.0) ** (-2 * exponent)
    return weights * (once.nnz / (weights @ lengths))


def item_penalties(once: csr_matrix, regularization: float, exponent: float) -> NDArray[np.float64]:
    """Of each item, regularization x m x (users of the item / m) ** exponent, m being their mean over all items."""
    counts = np.bincount(once.indices, minlength=once.shape[1])
    mean = once.nnz / once.shape[1]
    return regularization * mean * (np.maximum(counts, 1) / mean) ** exponent


def regress_on_neighbors(
    name: str,
    once: csr_matrix,
    size: int,
    row_weights: NDArray[np.float64],
    regress: Callable[..., None],
    *settings: Any,
) -> csr_matrix:
    """Weights, items x items: column j holds what `regress` finds for item j on the `size` items most like it.

    `once` is users x items, `row_weights` what each user counts, `regress` one of `local_regressions` and
    `settings` its last arguments. Likeness is the cosine. Raises `ModelError` where memory is short or a
    regression fails.
    """
    users, items = once.shape
    item_users = np.bincount(once.indices, minlength=items)
    size = min(size, items - 1)
    longest = np.sort(item_users)[-(size + 1) :].sum()
    in_thread = BYTES_OF_ENTRY * (longest + 4 * (size + 1) ** 2) + 4 * users
    threads = len(os.sched_getaffinity(0))
    require_bytes(name, BYTES_OF_NEIGHBOR * items * (size + 1) + threads * in_thread + 16 * once.nnz)
    lengths = cosine_weights(item_users, SHRINKAGE)
    closest = closest_columns(scaled(once, np.ones(users), lengths), size).tocoo()
    others = (closest.row != closest.col) & (closest.data > 0)
    neighbors = csr_matrix((closest.data[others], (closest.row[others], closest.col[others])), shape=(items, items))
    neighbors.sort_indices()
    of_items = csr_matrix(once.T)
    of_items.sort_indices()
    found = np.zeros(neighbors.nnz, np.float32)
    parts = (
        *(neighbors.indptr.astype(np.int64), neighbors.indices.astype(np.int32)),
        *(of_items.indptr.astype(np.int64), of_items.indices.astype(np.int32)),
        *(row_weights, *settings, found),
    )
    try:
        with threadpool_limits(1, "blas"):  # the threads are ours
            in_threads(lambda block: regress(block, *parts), blocks_of(np.arange(items), BLOCK_ITEMS))
    except np.linalg.LinAlgError:
        raise not_finite(name, "weights") from None
    return csr_matrix(csr_matrix((found, neighbors.indices, neighbors.indptr), shape=neighbors.shape).T)


def with_repeats(weights: csr_matrix, repeat_weight: float) -> csr_matrix:
    """The weights with `repeat_weight` for each item on itself."""
    items = weights.shape[0]
    own = np.full(items, repeat_weight, np.float32)
    return csr_matrix(weights + csr_matrix((own, (np.arange(items), np.arange(items))), shape=weights.shape))
