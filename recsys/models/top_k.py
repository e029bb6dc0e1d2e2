"""The n best of many scores: exact, block by block, ties broken by item row so that results repeat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.ids import UNKNOWN, Rows

Scores = NDArray[np.float32]

# Scores ranked at a time, whatever the number of items: 64 MiB of float32, and 128 MiB to pick the best.
BLOCK_SCORES = 1 << 24


@dataclass(frozen=True)
class Exclude:
    """What must not be recommended: pairs a user has had, items nobody may be shown."""

    user_items: csr_matrix | None = None  # users x items; every stored entry is left out for that user
    items: NDArray[np.bool_] | None = None  # one entry an item; True is left out for everyone


def rank_blocks(score: Callable[[Rows], Scores], rows: Rows, n: int, exclude: Exclude) -> tuple[Rows, Scores]:
    """Rank all items for each of `rows`: item rows and scores, both (len(rows), n), best first.

    `score` maps known rows to a fresh (len(rows), items) array. Where fewer than n items are left, and for row -1,
    the rest is item row -1 with score -inf.
    """
    best_rows = np.full((len(rows), n), UNKNOWN, np.int32)
    best_scores = np.full((len(rows), n), -np.inf, np.float32)
    known = np.flatnonzero(rows != UNKNOWN)
    start = 0
    size = 1  # the first row tells how many items there are
    while start < len(known):
        block = known[start : start + size]
        scores = score(rows[block])
        _mask(scores, rows[block], exclude)
        best_rows[block], best_scores[block] = top_k(scores, n)
        start += len(block)
        size = max(1, BLOCK_SCORES // max(1, scores.shape[1]))
    return best_rows, best_scores


def top_k(scores: Scores, n: int) -> tuple[Rows, Scores]:
    """The n best columns of each row and their scores, both (rows, n); equal scores in order of column.

    A score of -inf is never among them: its place is column -1 with score -inf.
    """
    width = min(n, scores.shape[1])
    columns = np.full((len(scores), n), UNKNOWN, np.int32)
    values = np.full((len(scores), n), -np.inf, np.float32)
    if width == 0 or len(scores) == 0:
        return columns, values
    chosen = _choose(scores, width)
    chosen.sort(axis=1)
    picked = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-picked, axis=1, kind="stable")
    values[:, :width] = np.take_along_axis(picked, order, axis=1)
    columns[:, :width] = np.take_along_axis(chosen, order, axis=1)
    columns[values == -np.inf] = UNKNOWN
    return columns, values


def top_k_of_entries(
    rows: NDArray[np.integer], columns: NDArray[np.integer], scores: Scores, size: int, n: int
) -> tuple[Rows, Scores]:
    """`top_k` of a sparse matrix of `size` rows given by its entries, three parallel arrays; no others count."""
    best_columns = np.full((size, n), UNKNOWN, np.int32)
    best_scores = np.full((size, n), -np.inf, np.float32)
    order = np.lexsort((columns, -scores, rows))
    sorted_rows = rows[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_rows, sorted_rows)
    kept = order[place < n]
    best_columns[rows[kept], place[place < n]] = columns[kept]
    best_scores[rows[kept], place[place < n]] = scores[kept]
    return best_columns, best_scores


def _choose(scores: Scores, width: int) -> NDArray[np.intp]:
    """The columns of the `width` best scores of each row, in any order; of equal ones above -inf, the first."""
    if width == scores.shape[1]:
        return np.tile(np.arange(width), (len(scores), 1))
    chosen = np.argpartition(scores, -width, axis=1)[:, -width:]
    threshold = np.take_along_axis(scores, chosen, axis=1).min(axis=1)
    tied = (scores == threshold[:, None]).sum(axis=1)
    taken = (np.take_along_axis(scores, chosen, axis=1) == threshold[:, None]).sum(axis=1)
    for row in np.flatnonzero((tied > taken) & (threshold > -np.inf)):
        above = np.flatnonzero(scores[row] > threshold[row])
        equal = np.flatnonzero(scores[row] == threshold[row])[: width - len(above)]
        chosen[row] = np.concatenate([above, equal])
    return chosen


def _mask(scores: Scores, rows: Rows, exclude: Exclude) -> None:
    if exclude.items is not None:
        scores[:, exclude.items] = -np.inf
    if exclude.user_items is not None:
        seen = exclude.user_items[rows]
        scores[np.repeat(np.arange(len(rows)), np.diff(seen.indptr)), seen.indices] = -np.inf
