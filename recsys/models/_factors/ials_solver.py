"""Compiled solver of `Ials`: the vectors of one side are updated while those of the other are fixed.

Import this module inside functions: numba takes long to import.
"""

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled, solve_positive_definite

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Offsets = NDArray[np.int64]


@compiled
def gather(vectors: Floats, rows: Integers, first: int, last: int) -> Floats:
    """Copy columns `first` (inclusive) to `last` (exclusive) of some rows of `vectors`."""
    copied = np.empty((len(rows), last - first), np.float32)
    for place in range(len(rows)):
        copied[place] = vectors[rows[place], first:last]
    return copied


@compiled
def update_vectors(
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
    """Minimize the loss over the vector of each of `rows`, by a Newton step for each `block` of its coordinates.

    The entries of row r are `columns` from `offsets[r]` to `offsets[r + 1]`, gathered `chunk` at a time; a row
    without entries becomes 0. `others` are the vectors of the columns, `gram` their Gram matrix times the weight of
    an unobserved pair. `vectors` is changed in place.
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
            gathered = gather(others, columns[place : min(place + chunk, stop)], 0, size)
            errors[place - start : place - start + len(gathered)] = np.dot(gathered, vector) - np.float32(1)
        for first in range(0, size, block):
            last = min(first + block, size)
            hessian = gram[first:last, first:last].copy()
            gradient = np.dot(gram[first:last], vector) + penalties[row] * vector[first:last]
            for place in range(last - first):
                hessian[place, place] += penalties[row]
            for place in range(start, stop, chunk):
                end = min(place + chunk, stop)
                gathered = gather(others, columns[place:end], first, last)
                gradient += np.dot(gathered.T, errors[place - start : end - start])
                hessian += np.dot(gathered.T, gathered)
            step = solve_positive_definite(hessian, gradient)
            vector[first:last] -= step
            if last < size:
                for place in range(start, stop, chunk):
                    end = min(place + chunk, stop)
                    gathered = gather(others, columns[place:end], first, last)
                    errors[place - start : end - start] -= np.dot(gathered, step)
