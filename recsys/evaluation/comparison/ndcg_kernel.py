"""A compiled loop over the items of a `ListPool`. Import this module inside functions: it imports numba."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled

CHUNK = 64  # scores compared at a time without a branch, so that the compiler emits vector instructions


@compiled
def sum_discounts(
    users: NDArray[np.intp],
    offsets: NDArray[np.int64],
    values: NDArray[np.float32],
    hit_offsets: NDArray[np.int64],
    hits: NDArray[np.int64],
    weights: NDArray[np.float32],
    discounts: NDArray[np.float64],
    gains: NDArray[np.float64],
) -> None:
    """Write to `gains` (len(users),) the sum of the discounts of the places at which the users' hits are ranked.

    `discounts` (k,) are those of the first k places; the other arrays are those of `ListPool`.
    """
    longest = 0
    for user in range(len(offsets) - 1):
        longest = max(longest, offsets[user + 1] - offsets[user])
    scores = np.empty(longest, np.float32)
    for number in range(len(users)):
        user = users[number]
        start, size = offsets[user], offsets[user + 1] - offsets[user]
        gains[number] = 0.0
        if size == 0:
            continue
        scores[:size] = np.float32(0)
        for model in range(len(weights)):
            if weights[model] > 0:
                _add(scores, weights[model], values[model, start : start + size])
        for hit in range(hit_offsets[user], hit_offsets[user + 1]):
            place = _count_above(scores, size, hits[hit] - start, len(discounts))
            if place < len(discounts):
                gains[number] += discounts[place]


@compiled
def _add(scores: NDArray[np.float32], weight: Any, values: NDArray[np.float32]) -> None:
    for place in range(len(values)):
        scores[place] += weight * values[place]


@compiled
def _count_above(scores: NDArray[np.float32], size: Any, place: Any, limit: int) -> Any:
    """Count the scores that are ranked above the one at `place`, ties in order; stop at `limit`.

    A score that is not positive is ranked below the limit.
    """
    score = scores[place]
    if score <= 0:
        return limit
    above = np.int32(0)
    for start in range(0, size, CHUNK):
        stop = min(start + CHUNK, size)
        for other in range(start, min(stop, place)):
            above += np.int32(scores[other] >= score)
        for other in range(max(start, place + 1), stop):
            above += np.int32(scores[other] > score)
        if above >= limit:
            return limit
    return above
