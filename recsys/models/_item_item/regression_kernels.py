"""Compiled regressions of items on their neighbors, from Gram matrices of these alone instead of all pairs.

Import this module inside functions: numba takes long to import.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled, solve_positive_definite

Integers = NDArray[np.int32]
Offsets = NDArray[np.int64]
Floats = NDArray[np.float64]


@compiled
def weighted_gram(support: Integers, offsets: Offsets, users: Integers, weights: Floats, last: Integers) -> Floats:
    """Compute the user-weighted dot products of the columns of `support`: the lower triangle, (support, support).

    The users of item i are `users[offsets[i]:offsets[i + 1]]`. `last` is scratch space with an entry
    of -1 for each user, which is restored.
    """
    size = len(support)
    gram = np.zeros((size, size))
    entries = 0
    for item in support:
        entries += offsets[item + 1] - offsets[item]
    columns = np.empty(entries, np.int32)  # the column of each entry; the entries of a user form a linked list
    previous = np.empty(entries, np.int32)  # the user's previous entry
    entry = 0
    for column in range(size):
        row = gram[column]
        for place in range(offsets[support[column]], offsets[support[column] + 1]):
            user = users[place]
            weight = weights[user]
            previous[entry], columns[entry] = last[user], column
            last[user] = entry
            other = entry
            while other >= 0:
                row[columns[other]] += weight
                other = previous[other]
            entry += 1
    for item in support:
        for place in range(offsets[item], offsets[item + 1]):
            last[users[place]] = -1
    return gram


@compiled
def solve_ridge(gram: Floats, penalties: Floats, target: Floats) -> Floats:
    """Solve (gram + diagonal of penalties) w = target for w, from the lower triangle of `gram`."""
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
    solutions: NDArray[np.float32],
) -> None:
    """Regress each of `items` on its neighbors by ridge regression, into `solutions`, parallel to `neighbors`."""
    last = np.full(len(weights), -1, np.int32)
    for item in items:
        start, stop = neighbor_offsets[item], neighbor_offsets[item + 1]
        if start == stop:
            continue
        support = np.append(neighbors[start:stop], np.int32(item))
        gram = weighted_gram(support, offsets, users, weights, last)
        solution = solve_ridge(gram[:-1, :-1], penalties[support[:-1]], gram[-1, :-1])
        for place in range(stop - start):
            solutions[start + place] = solution[place]


@compiled
def solve_elastic_net(gram: Floats, target: Floats, l1: Any, l2: Floats, sweeps: int, tolerance: Any) -> Floats:
    """Minimize (w'Gw + sum of l2 w^2) / 2 + l1 sum(w) - w'target over w >= 0 by coordinate descent.

    `gram` is the lower triangle of G. Ends after a sweep in which no weight changed by more than `tolerance`.
    """
    size = len(target)
    solution = np.zeros(size)
    residual = target.copy()  # target - G w
    full = gram + gram.T
    for place in range(size):
        full[place, place] = gram[place, place]
    for _ in range(sweeps):
        change = 0.0
        for place in range(size):
            own = full[place, place]
            target_weight = max(0.0, (residual[place] + own * solution[place] - l1) / (own + l2[place]))
            step = target_weight - solution[place]
            if step != 0:
                residual -= step * full[place]
                solution[place] = target_weight
                change = max(change, abs(step))
        if change <= tolerance:
            break
    return solution


@compiled
def regress_elastic_net(
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
    solutions: NDArray[np.float32],
) -> None:
    """Regress each of `items` on its neighbors by a non-negative elastic net, like `regress_ridge`."""
    last = np.full(len(weights), -1, np.int32)
    for item in items:
        start, stop = neighbor_offsets[item], neighbor_offsets[item + 1]
        if start == stop:
            continue
        support = np.append(neighbors[start:stop], np.int32(item))
        gram = weighted_gram(support, offsets, users, weights, last)
        solution = solve_elastic_net(gram[:-1, :-1], gram[-1, :-1], l1, l2[support[:-1]], sweeps, tolerance)
        for place in range(stop - start):
            solutions[start + place] = solution[place]
