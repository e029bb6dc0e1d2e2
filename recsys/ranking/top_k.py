"""Exact top-N of scores, block by block, with ties broken by item row so that results are reproducible."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.errors import ModelError
from recsys.ids import UNKNOWN, Rows

Scores = NDArray[np.float32]

# Scores ranked at a time, whatever the number of items: 16 MiB of float32, which fits a processor's cache.
BLOCK_SCORES = 1 << 22


@dataclass(frozen=True)
class Exclusion:
    """Items that must not be recommended, to a single user or to anyone."""

    user_items: csr_matrix | None = None  # users x items; every stored entry is excluded for that user
    items: NDArray[np.bool_] | None = None  # (items,); True is excluded for everyone

    def hidden_items(self, items: int) -> NDArray[np.bool_]:
        """Return the items excluded for everyone as a mask, (items,)."""
        return np.zeros(items, np.bool_) if self.items is None else self.items

    def seen_items(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the items excluded for each of the users: offsets, (len(rows) + 1,), and sorted item rows."""
        if self.user_items is None:
            return np.zeros(len(rows) + 1, np.int64), np.empty(0, np.int32)
        seen = csr_matrix(self.user_items[rows])  # a copy
        seen.sort_indices()
        return seen.indptr.astype(np.int64), seen.indices.astype(np.int32, copy=False)


def rank_blocks(score: Callable[[Rows], Scores], rows: Rows, n: int, exclude: Exclusion) -> tuple[Rows, Scores]:
    """Rank all items for each of `rows`: item rows and scores, both (len(rows), n), best first.

    `score` maps rows other than -1 to a (len(rows), items) array. Where fewer than n items are left, and for row
    -1, the rest is item row -1 with score -inf. Raises `ModelError` for NaN.
    """
    best_rows, best_scores = empty_lists(len(rows), n)
    places = np.flatnonzero(rows != UNKNOWN)
    start = 0
    size = 1  # the first block shows how many items there are
    while start < len(places):
        block = places[start : start + size]
        scores = score(rows[block])
        best_rows[block], best_scores[block] = _scan(scores, rows[block], n, exclude)
        start += len(block)
        size = max(1, BLOCK_SCORES // max(1, scores.shape[1]))
    return best_rows, best_scores


def rank_entries(
    entries: Callable[[Rows], csr_matrix] | None, base: Scores, rows: Rows, n: int, exclude: Exclusion
) -> tuple[Rows, Scores]:
    """Rank like `rank_blocks` when most scores are the same for everyone: `base`, (items,).

    `entries` maps rows other than -1 to a (len(rows), items) matrix whose stored scores replace the base; it is
    called from several threads. When it is None, every user has the base scores.
    """
    from recsys.ranking.kernels import scan_entries  # numba takes long to import

    best_rows, best_scores = empty_lists(len(rows), n)
    if n == 0:
        return best_rows, best_scores
    if np.isnan(base).any():
        raise _not_a_number()
    hidden = exclude.hidden_items(len(base))
    order = np.argsort(-base, kind="stable").astype(np.int32)
    order = order[~hidden[order] & (base[order] > -np.inf)]

    def no_entries(users: Rows) -> csr_matrix:
        return csr_matrix((np.empty(0, np.float32), ([], [])), shape=(len(users), len(base)))

    def rank(block: NDArray[np.intp]) -> None:
        matrix = no_entries(rows[block]) if entries is None else entries(rows[block])
        block_rows, block_scores = empty_lists(len(block), n)
        stored = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
        seen = exclude.seen_items(rows[block])
        if not scan_entries(*stored, base, order, hidden, *seen, block_scores, block_rows):
            raise _not_a_number()
        best_rows[block], best_scores[block] = block_rows, block_scores

    places = np.flatnonzero(rows != UNKNOWN)
    run_in_threads(rank, split_into_blocks(places, max(1, BLOCK_SCORES // max(1, len(base)))))
    return best_rows, best_scores


def top_k(scores: Scores, n: int) -> tuple[Rows, Scores]:
    """Select the n best columns of each row and their scores, both (rows, n); ties in order of column.

    A score of -inf is never selected; places left over hold column -1 with score -inf. Raises `ModelError` for NaN.
    """
    return _scan(scores, np.empty(len(scores), np.int32), n, Exclusion())


def top_k_of_entries(
    rows: NDArray[np.integer], columns: NDArray[np.integer], scores: Scores, size: int, n: int
) -> tuple[Rows, Scores]:
    """Select like `top_k` from a sparse matrix of `size` rows, given by its entries as three parallel arrays."""
    best_columns, best_scores = empty_lists(size, n)
    order = np.lexsort((columns, -scores, rows))
    sorted_rows = rows[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_rows, sorted_rows)
    kept = order[place < n]
    best_columns[rows[kept], place[place < n]] = columns[kept]
    best_scores[rows[kept], place[place < n]] = scores[kept]
    return best_columns, best_scores


def empty_lists(size: int, n: int) -> tuple[Rows, Scores]:
    """Return `size` empty lists: item rows of -1 and scores of -inf, both (size, n)."""
    return np.full((size, n), UNKNOWN, np.int32), np.full((size, n), -np.inf, np.float32)


def split_into_blocks(places: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Split an array into blocks of at most `size` entries."""
    return (places[start : start + size] for start in range(0, len(places), size))


def run_in_threads(work: Callable[[NDArray[np.intp]], None], blocks: Iterable[NDArray[np.intp]]) -> None:
    """Call `work` for every block, in as many threads as this process has processors."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(work, blocks):  # raises what `work` raised
            pass


def _scan(scores: Scores, rows: Rows, n: int, exclude: Exclusion) -> tuple[Rows, Scores]:
    from recsys.ranking.kernels import scan_scores  # numba takes long to import

    best_rows, best_scores = empty_lists(len(scores), n)
    if n > 0:
        hidden, seen = exclude.hidden_items(scores.shape[1]), exclude.seen_items(rows)
        if not scan_scores(np.ascontiguousarray(scores), hidden, *seen, best_scores, best_rows):
            raise _not_a_number()
    return best_rows, best_scores


def _not_a_number() -> ModelError:
    return ModelError("a score is not a number: the model is damaged, or was fitted with too extreme settings")
