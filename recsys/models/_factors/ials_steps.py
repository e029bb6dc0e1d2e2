"""The compiled step of `Ials`: one side's vectors move while the other's stand still; imported where it is used."""

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled
from recsys.models._factors.positive_definite import solve_positive_definite

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Offsets = NDArray[np.int64]


@compiled
def gathered(vectors: Floats, rows: Integers, first: int, last: int) -> Floats:
    """Columns `first` up to, not with, `last` of some rows of `vectors`."""
    found = np.empty((len(rows), last - first), np.float32)
    for place in range(len(rows)):
        found[place] = vectors[rows[place], first:last]
    return found


@compiled
def improve(
    rows: Offsets,
    offsets: Offsets,
    columns: Integers,
    others: Floats,
    gram: Floats,
    penalties: Floats,
    block: int,
    chunk: int,
    vectors: Floats,
) -> None:
    """Lower the loss of each of `rows` over its vector by a Newton step for each `block` of its coordinates.

    The entries of row r are `columns` from `offsets[r]` to `offsets[r + 1]`, copied `chunk` at a time; without any
    it becomes 0. `others` are the vectors of the columns, `gram` their Gram matrix times the unobserved weight.
    """
    size = vectors.shape[1]
    for row in rows:
        start, stop = offsets[row], offsets[row + 1]
        vector = vectors[row]
        if start == stop:
            vector[:] = 0
            continue
        errors = np.empty(stop - start, np.float32)
        for place in range(start, stop, chunk):
            some = gathered(others, columns[place : min(place + chunk, stop)], 0, size)
            errors[place - start : place - start + len(some)] = np.dot(some, vector) - np.float32(1)
        for first in range(0, size, block):
            last = min(first + block, size)
            hessian = gram[first:last, first:last].copy()
            gradient = np.dot(gram[first:last], vector) + penalties[row] * vector[first:last]
            for place in range(last - first):
                hessian[place, place] += penalties[row]
            for place in range(start, stop, chunk):
                end = min(place + chunk, stop)
                some = gathered(others, columns[place:end], first, last)
                gradient += np.dot(some.T, errors[place - start : end - start])
                hessian += np.dot(some.T, some)
            step = solve_positive_definite(hessian, gradient)
            vector[first:last] -= step
            if last < size:
                for place in range(start, stop, chunk):
                    end = min(place + chunk, stop)
                    some = gathered(others, columns[place:end], first, last)
                    errors[place - start : end - start] -= np.dot(some, step)
