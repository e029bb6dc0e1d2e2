"""Compiled loops of exact top-N: one pass over scores, with a heap of the best so far for each row.

A heap is a row of `best_scores` and the same row of `best_rows`, with the worst entry first: the lowest score, and
among equal scores the highest item row. It is initialized with -inf and -1. Import this module inside functions: it
imports numba, which takes longer than all else that ranking needs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Offsets = NDArray[np.int64]

MIN_SCORE = np.finfo(np.float32).min
CHUNK = 64  # scores compared at a time without a branch, so that the compiler emits vector instructions


@compiled
def _offer(scores: Floats, rows: Integers, score: Any, row: Any, size: int) -> None:
    """Replace the worst entry of a heap of `size` by another one when that is better."""
    if not (score > scores[0] or (score == scores[0] and row < rows[0])):
        return
    _replace(scores, rows, score, row, size)


@compiled
def _replace(scores: Floats, rows: Integers, score: Any, row: Any, size: int) -> None:
    """Replace the root of a heap of `size` and sift the new entry down."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        other = child + 1
        if other < size and (
            scores[other] < scores[child] or (scores[other] == scores[child] and rows[other] > rows[child])
        ):
            child = other
        if not (scores[child] < score or (scores[child] == score and rows[child] > row)):
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
    scores[place], rows[place] = score, row


@compiled
def sort_heaps(best_scores: Floats, best_rows: Integers) -> None:
    """Sort every heap in place, best first."""
    for number in range(best_scores.shape[0]):
        scores, rows = best_scores[number], best_rows[number]
        for last in range(len(scores) - 1, 0, -1):
            score, row = scores[last], rows[last]
            scores[last], rows[last] = scores[0], rows[0]
            _replace(scores, rows, score, row, last)


@compiled
def _holds(sorted_rows: Integers, start: Any, stop: Any, row: Any) -> bool:
    """Search `sorted_rows[start:stop]` for `row` by bisection."""
    end = stop
    while start < end:
        middle = (start + end) // 2
        if sorted_rows[middle] < row:
            start = middle + 1
        else:
            end = middle
    return start < stop and sorted_rows[start] == row


@compiled
def _all_below(scores: Floats, start: int, cut: Any) -> bool:
    """Check that all `CHUNK` scores from `start` on are below `cut`; NaN is not."""
    first = np.uint64(start)  # numba checks the sign of a signed index for every score
    reached = np.int32(0)
    for place in range(np.uint64(CHUNK)):
        reached |= np.int32(not (scores[first + place] < cut))
    return reached == 0


@compiled
def scan_scores(
    scores: Floats,
    hidden: NDArray[np.bool_],
    seen_offsets: Offsets,
    seen_rows: Integers,
    best_scores: Floats,
    best_rows: Integers,
) -> bool:
    """Select the best columns of each row of `scores` that are neither hidden nor seen, never one of -inf.

    `seen_rows` holds sorted columns, those of row r from `seen_offsets[r]` to `seen_offsets[r + 1]`. The heaps come
    back as sorted lists. Returns False when a score is NaN.
    """
    size = best_scores.shape[1]
    for number in range(scores.shape[0]):
        best, rows = best_scores[number], best_rows[number]
        line = scores[number]
        cut = MIN_SCORE
        for start in range(0, len(line), CHUNK):
            stop = min(start + CHUNK, len(line))
            if stop - start == CHUNK and _all_below(line, start, cut):
                continue
            for column in range(start, stop):
                score = line[column]
                if score < cut:
                    continue
                if np.isnan(score):
                    return False
                if hidden[column]:
                    continue
                if _holds(seen_rows, seen_offsets[number], seen_offsets[number + 1], column):
                    continue
                _offer(best, rows, score, column, size)
                cut = max(best[0], MIN_SCORE)
    sort_heaps(best_scores, best_rows)
    return True


@compiled
def scan_entries(
    offsets: Offsets,
    columns: Integers,
    scores: Floats,
    base: Floats,
    base_order: Integers,
    hidden: NDArray[np.bool_],
    seen_offsets: Offsets,
    seen_rows: Integers,
    best_scores: Floats,
    best_rows: Integers,
) -> bool:
    """Select like `scan_scores` from rows that equal `base` except at the entries of a sparse matrix.

    `base_order` holds the columns that are not hidden, by descending `base`, ties in order of column.
    """
    size = best_scores.shape[1]
    done = np.full(len(base), -1, np.int64)  # the last row for which a column was seen or offered
    for number in range(best_scores.shape[0]):
        best, rows = best_scores[number], best_rows[number]
        for place in range(seen_offsets[number], seen_offsets[number + 1]):
            done[seen_rows[place]] = number
        for place in range(offsets[number], offsets[number + 1]):
            column, score = columns[place], scores[place]
            if done[column] == number or hidden[column]:
                continue
            done[column] = number
            if np.isnan(score):
                return False
            if score >= MIN_SCORE:
                _offer(best, rows, score, column, size)
        for column in base_order:
            score = base[column]
            if score < best[0] or (score == best[0] and column > rows[0]):
                break
            if done[column] != number:
                _offer(best, rows, score, column, size)
    sort_heaps(best_scores, best_rows)
    return True


@compiled
def _dot(one: Floats, other: Floats) -> float:
    """Compute a dot product in double precision, where products are exact, in a fixed order of summation."""
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    whole = len(one) // 4 * 4
    for place in range(0, whole, 4):
        first += np.float64(one[place]) * np.float64(other[place])
        second += np.float64(one[place + 1]) * np.float64(other[place + 1])
        third += np.float64(one[place + 2]) * np.float64(other[place + 2])
        fourth += np.float64(one[place + 3]) * np.float64(other[place + 3])
    for place in range(whole, len(one)):
        first += np.float64(one[place]) * np.float64(other[place])
    return (first + second) + (third + fourth)


@compiled
def scan_tile(
    tile: Floats,
    users: Offsets,
    margins: Floats,
    user_vectors: Floats,
    item_vectors: Floats,
    item_bias: Floats,
    item_rows: Integers,
    seen_offsets: Offsets,
    seen_rows: Integers,
    best_scores: Floats,
    best_rows: Integers,
) -> None:
    """Offer each user the items of a tile of scores (users, items), which may be off by up to the user's margin.

    An item that may be among the best is scored again by `_dot`, so that the heap holds exact scores. `users` are
    the rows of the tile in `user_vectors`, `margins`, `seen_offsets` and the heaps.
    """
    size, items = best_scores.shape[1], tile.shape[1]
    for number in range(len(users)):
        user = users[number]
        best, rows, line = best_scores[user], best_rows[user], tile[number]
        cut = best[0] - margins[user]
        for start in range(0, items, CHUNK):
            stop = min(start + CHUNK, items)
            if stop - start == CHUNK and _all_below(line, start, cut):
                continue
            for place in range(start, stop):
                if line[place] < cut:
                    continue
                row = item_rows[place]
                if _holds(seen_rows, seen_offsets[user], seen_offsets[user + 1], row):
                    continue
                score = np.float32(_dot(user_vectors[user], item_vectors[place]) + np.float64(item_bias[place]))
                _offer(best, rows, score, row, size)
                cut = best[0] - margins[user]


@compiled
def scan_candidates(
    candidates: Offsets,
    user_vectors: Floats,
    item_vectors: Floats,
    item_bias: Floats,
    item_rows: Integers,
    best_scores: Floats,
    best_rows: Integers,
) -> None:
    """Offer each user candidates, (users, candidates) places in `item_vectors` or -1, scored by `_dot`."""
    size = best_scores.shape[1]
    for user in range(candidates.shape[0]):
        for place in candidates[user]:
            if place >= 0:
                score = np.float32(_dot(user_vectors[user], item_vectors[place]) + np.float64(item_bias[place]))
                _offer(best_scores[user], best_rows[user], score, item_rows[place], size)
