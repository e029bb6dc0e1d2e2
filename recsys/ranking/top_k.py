"""The n best of many scores: exact, block by block, ties broken by item row so that results repeat."""

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

# Scores ranked at a time, whatever the number of items: 16 MiB of float32, which stays in a processor's cache.
BLOCK_SCORES = 1 << 22


@dataclass(frozen=True)
class Exclude:
    """What must not be recommended: pairs a user has had, items nobody may be shown."""

    user_items: csr_matrix | None = None  # users x items; every stored entry is left out for that user
    items: NDArray[np.bool_] | None = None  # one entry an item; True is left out for everyone

    def hidden(self, items: int) -> NDArray[np.bool_]:
        """`items`, or that none is hidden, (items,)."""
        return np.zeros(items, np.bool_) if self.items is None else self.items

    def seen(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """What each of the users must not be shown: where each one's item rows start, and these, sorted."""
        if self.user_items is None:
            return np.zeros(len(rows) + 1, np.int64), np.empty(0, np.int32)
        seen = csr_matrix(self.user_items[rows])  # a copy
        seen.sort_indices()
        return seen.indptr.astype(np.int64), seen.indices.astype(np.int32, copy=False)


def rank_blocks(score: Callable[[Rows], Scores], rows: Rows, n: int, exclude: Exclude) -> tuple[Rows, Scores]:
    """Rank all items for each of `rows`: item rows and scores, both (len(rows), n), best first.

    `score` maps known rows to a (len(rows), items) array. Where fewer than n items are left, and for row -1, the
    rest is item row -1 with score -inf. Raises `ModelError` for a score that is not a number.
    """
    best_rows, best_scores = padding(len(rows), n)
    known = np.flatnonzero(rows != UNKNOWN)
    start = 0
    size = 1  # the first row tells how many items there are
    while start < len(known):
        block = known[start : start + size]
        scores = score(rows[block])
        best_rows[block], best_scores[block] = _scan(scores, rows[block], n, exclude)
        start += len(block)
        size = max(1, BLOCK_SCORES // max(1, scores.shape[1]))
    return best_rows, best_scores


def rank_entries(
    entries: Callable[[Rows], csr_matrix] | None, base: Scores, rows: Rows, n: int, exclude: Exclude
) -> tuple[Rows, Scores]:
    """`rank_blocks` where most scores are the same for everyone: `base`, (items,), but for the stored `entries`.

    `entries` maps known rows to a (len(rows), items) matrix whose stored scores stand in place of the base; it is
    called from several threads. Where it is None, every user's scores are the base.
    """
    from recsys.ranking.kernels import scan_entries  # numba takes long to import

    best_rows, best_scores = padding(len(rows), n)
    if n == 0:
        return best_rows, best_scores
    if np.isnan(base).any():
        raise _not_a_number()
    hidden = exclude.hidden(len(base))
    order = np.argsort(-base, kind="stable").astype(np.int32)
    order = order[~hidden[order] & (base[order] > -np.inf)]

    def nothing(users: Rows) -> csr_matrix:
        return csr_matrix((np.empty(0, np.float32), ([], [])), shape=(len(users), len(base)))

    def rank(block: NDArray[np.intp]) -> None:
        matrix = nothing(rows[block]) if entries is None else entries(rows[block])
        of_block = padding(len(block), n)
        stored = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
        seen = exclude.seen(rows[block])
        if not scan_entries(*stored, base, order, hidden, *seen, of_block[1], of_block[0]):
            raise _not_a_number()
        best_rows[block], best_scores[block] = of_block

    known = np.flatnonzero(rows != UNKNOWN)
    in_threads(rank, blocks_of(known, max(1, BLOCK_SCORES // max(1, len(base)))))
    return best_rows, best_scores


def top_k(scores: Scores, n: int) -> tuple[Rows, Scores]:
    """The n best columns of each row and their scores, both (rows, n); equal scores in order of column.

    A score of -inf is never among them: its place is column -1 with score -inf. Raises `ModelError` for one that is
    not a number.
    """
    return _scan(scores, np.empty(len(scores), np.int32), n, Exclude())


def top_k_of_entries(
    rows: NDArray[np.integer], columns: NDArray[np.integer], scores: Scores, size: int, n: int
) -> tuple[Rows, Scores]:
    """`top_k` of a sparse matrix of `size` rows given by its entries, three parallel arrays; no others count."""
    best_columns, best_scores = padding(size, n)
    order = np.lexsort((columns, -scores, rows))
    sorted_rows = rows[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_rows, sorted_rows)
    kept = order[place < n]
    best_columns[rows[kept], place[place < n]] = columns[kept]
    best_scores[rows[kept], place[place < n]] = scores[kept]
    return best_columns, best_scores


def padding(size: int, n: int) -> tuple[Rows, Scores]:
    """`size` lists of n places, all of them empty."""
    return np.full((size, n), UNKNOWN, np.int32), np.full((size, n), -np.inf, np.float32)


def blocks_of(places: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """The places, `size` at a time."""
    return (places[start : start + size] for start in range(0, len(places), size))


def in_threads(work: Callable[[NDArray[np.intp]], None], blocks: Iterable[NDArray[np.intp]]) -> None:
    """Do the work of every block, in as many threads as this process has processors."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(work, blocks):  # raises what the work raised
            pass


def _scan(scores: Scores, rows: Rows, n: int, exclude: Exclude) -> tuple[Rows, Scores]:
    from recsys.ranking.kernels import scan_scores  # numba takes long to import

    best_rows, best_scores = padding(len(scores), n)
    if n > 0:
        hidden, seen = exclude.hidden(scores.shape[1]), exclude.seen(rows)
        if not scan_scores(np.ascontiguousarray(scores), hidden, *seen, best_scores, best_rows):
            raise _not_a_number()
    return best_rows, best_scores


def _not_a_number() -> ModelError:
    return ModelError("a score is not a number: the model is damaged, or was fitted with too extreme settings")
