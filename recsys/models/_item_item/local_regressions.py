"""Each item's regression on its neighbours, from a Gram matrix of these alone: no matrix of all pairs is made.

Compiled loops; imported where they are used.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled
from recsys.models._factors.positive_definite import solve_positive_definite

Integers = NDArray[np.int32]
Offsets = NDArray[np.int64]
Floats = NDArray[np.float64]


@compiled
def gram_of(support: Integers, offsets: Offsets, users: Integers, weights: Floats, last: Integers) -> Floats:
    """Dot products of the columns of `support`, weighted by user: the lower triangle, (support, support).

    The users of item i are `users[offsets[i]:offsets[i + 1]]`. `last` has an entry a user, before and after all -1.
    """
    size = len(support)
    gram = np.zeros((size, size))
    entries = 0
    for item in support:
        entries += offsets[item + 1] - offsets[item]
    columns = np.empty(entries, np.int32)  # of each entry, its column; those of a user are a list
    before = np.empty(entries, np.int32)  # of each entry, the same user's entry before it
    entry = 0
    for column in range(size):
        row = gram[column]
        for place in range(offsets[support[column]], offsets[support[column] + 1]):
            user = users[place]
            weight = weights[user]
            before[entry], columns[entry] = last[user], column
            last[user] = entry
            other = entry
            while other >= 0:
                row[columns[other]] += weight
                other = before[other]
            entry += 1
    for item in support:
        for place in range(offsets[item], offsets[item + 1]):
            last[users[place]] = -1
    return gram


@compiled
def ridge(gram: Floats, penalties: Floats, target: Floats) -> Floats:
    """The w that solves (gram + diagonal of penalties) w = target, from the lower triangle of the gram."""
    matrix = gram.copy()
    for place in range(len(target)):
        matrix[place, place] += penalties[place]
    return solve_positive_definite(matrix, target)


@compiled
def regress_ridge(
    items: Offsets,
    neighbor_offsets: Offsets,
    neighbors: Integers,
    offsets: Offsets,
    users: Integers,
    weights: Floats,
    penalties: Floats,
    found: NDArray[np.float32],
) -> None:
    """Regress each of `items` on its neighbours by ridge regression; `found` is parallel to `neighbors`."""
    last = np.full(len(weights), -1, np.int32)
    for item in items:
        start, stop = neighbor_offsets[item], neighbor_offsets[item + 1]
        if start == stop:
            continue
        support = np.append(neighbors[start:stop], np.int32(item))
        gram = gram_of(support, offsets, users, weights, last)
        solution = ridge(gram[:-1, :-1], penalties[support[:-1]], gram[-1, :-1])
        for place in range(stop - start):
            found[start + place] = solution[place]


@compiled
def non_negative_net(gram: Floats, target: Floats, l1: Any, l2: Floats, sweeps: int, tolerance: Any) -> Floats:
    """The w >= 0 that makes (w'Gw + sum of l2 w^2) / 2 + l1 sum(w) - w'target least, by coordinate descent.

    `gram` is the lower triangle of G. It ends after a sweep in which no weight moved by more than `tolerance`.
    """
    size = len(target)
    solution = np.zeros(size)
    left = target.copy()  # target - G w
    full = gram + gram.T
    for place in range(size):
        full[place, place] = gram[place, place]
    for _ in range(sweeps):
        moved = 0.0
        for place in range(size):
            own = full[place, place]
            wanted = max(0.0, (left[place] + own * solution[place] - l1) / (own + l2[place]))
            step = wanted - solution[place]
            if step != 0:
                left -= step * full[place]
                solution[place] = wanted
                moved = max(moved, abs(step))
        if moved <= tolerance:
            break
    return solution


@compiled
def regress_non_negative(
    items: Offsets,
    neighbor_offsets: Offsets,
    neighbors: Integers,
    offsets: Offsets,
    users: Integers,
    weights: Floats,
    l2: Floats,
    l1: Any,
    sweeps: int,
    tolerance: Any,
    found: NDArray[np.float32],
) -> None:
    """Regress each of `items` on its neighbours by a non-negative elastic net; `found` is as in `regress_ridge`."""
    last = np.full(len(weights), -1, np.int32)
    for item in items:
        start, stop = neighbor_offsets[item], neighbor_offsets[item + 1]
        if start == stop:
            continue
        support = np.append(neighbors[start:stop], np.int32(item))
        gram = gram_of(support, offsets, users, weights, last)
        solution = non_negative_net(gram[:-1, :-1], gram[-1, :-1], l1, l2[support[:-1]], sweeps, tolerance)
        for place in range(stop - start):
            found[start + place] = solution[place]
