"""Regressions of items on their most similar items, for EASE and SLIM, with a check of the memory they take."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.data.scaling import inverse_norms, scale
from recsys.memory import require_bytes
from recsys.models._item_item.similarity import find_nearest_columns
from recsys.models.artifacts import not_finite_error
from recsys.models.work import common_pairs, dense_work, sparse_work, vector_work
from recsys.ranking.top_k import run_in_threads, split_into_blocks

SHRINKAGE = 10.0  # users added to each item's own when its neighbors are searched
BLOCK_ITEMS = 64
NEIGHBOR_BYTES = 48  # of each neighbor of each item, while they are searched and sorted
ENTRY_BYTES = 8
GRAM_USERS = 20  # operations for each pair of neighbors of an item, whose common users are counted
SOLUTION = 2


def user_weights(binary: csr_matrix, exponent: float) -> NDArray[np.float64]:
    """Return each user's weight in a Gram matrix, (user's items) ** -2 exponent x a constant: 1 on average."""
    lengths = np.diff(binary.indptr)
    weights = np.maximum(lengths, 1.0) ** (-2 * exponent)
    return weights * (binary.nnz / (weights @ lengths))


def item_penalties(binary: csr_matrix, regularization: float, exponent: float) -> NDArray[np.float64]:
    """Return each item's penalty, regularization x m x (item's users / m) ** exponent, with the mean m of users."""
    counts = np.bincount(binary.indices, minlength=binary.shape[1])
    mean = binary.nnz / binary.shape[1]
    return regularization * mean * (np.maximum(counts, 1) / mean) ** exponent


def regression_work(users: int, items: int, interactions: int, neighbors: int) -> float:
    """Count the pairs of items of each user, the pairs of each item's neighbors, and the solution for each item."""
    neighbors = min(neighbors, items)
    search = sparse_work(common_pairs(users, interactions))
    grams = vector_work(items * neighbors**2 * GRAM_USERS)
    return search + grams + dense_work(SOLUTION * items * neighbors**3)


def regress_on_neighbors(
    name: str,
    binary: csr_matrix,
    neighbors: int,
    row_weights: NDArray[np.float64],
    regress: Callable[..., None],
    *settings: Any,
) -> csr_matrix:
    """Return weights, items x items: column j holds the regression of item j on its most similar items.

    `binary` is users x items, `row_weights` the weight of each user, `regress` one of `regression_kernels` and
    `settings` its last arguments. Similarity is the cosine. Raises `ModelError` when memory is short or a
    regression fails.
    """
    items = binary.shape[1]
    item_users = np.bincount(binary.indices, minlength=items)
    neighbors = min(neighbors, items - 1)
    _require_memory(name, binary, item_users, neighbors)
    support = _find_neighbors(binary, item_users, neighbors)
    columns = csr_matrix(binary.T)
    columns.sort_indices()
    weights = np.zeros(support.nnz, np.float32)
    arrays = (
        *(support.indptr.astype(np.int64), support.indices.astype(np.int32)),
        *(columns.indptr.astype(np.int64), columns.indices.astype(np.int32)),
        *(row_weights, *settings, weights),
    )
    try:
        with threadpool_limits(1, "blas"):  # `run_in_threads` uses all processors
            run_in_threads(lambda block: regress(block, *arrays), split_into_blocks(np.arange(items), BLOCK_ITEMS))
    except np.linalg.LinAlgError:
        raise not_finite_error(name, "weights") from None
    return csr_matrix(csr_matrix((weights, support.indices, support.indptr), shape=support.shape).T)


def _require_memory(name: str, binary: csr_matrix, item_users: NDArray[np.intp], neighbors: int) -> None:
    """Raise `ModelError` when the regressions do not fit into memory."""
    longest = np.sort(item_users)[-(neighbors + 1) :].sum()
    thread_bytes = ENTRY_BYTES * (longest + 4 * (neighbors + 1) ** 2) + 4 * binary.shape[0]
    threads = len(os.sched_getaffinity(0))
    search_bytes = NEIGHBOR_BYTES * binary.shape[1] * (neighbors + 1)
    require_bytes(name, search_bytes + threads * thread_bytes + 16 * binary.nnz)


def _find_neighbors(binary: csr_matrix, item_users: NDArray[np.intp], neighbors: int) -> csr_matrix:
    """Find the most similar other items of each item, (items, items), by cosine; only similarities above 0."""
    users, items = binary.shape
    norms = inverse_norms(item_users, SHRINKAGE)
    nearest = find_nearest_columns(scale(binary, np.ones(users), norms), neighbors).tocoo()
    others = (nearest.row != nearest.col) & (nearest.data > 0)
    support = csr_matrix((nearest.data[others], (nearest.row[others], nearest.col[others])), shape=(items, items))
    support.sort_indices()
    return support


def set_diagonal(weights: csr_matrix, repeat_weight: float) -> csr_matrix:
    """Return the weights, whose diagonal is 0, with `repeat_weight` on it: the weight of each item on itself."""
    items = weights.shape[0]
    own = np.full(items, repeat_weight, np.float32)
    return csr_matrix(weights + csr_matrix((own, (np.arange(items), np.arange(items))), shape=weights.shape))
