"""The work of a model in units that are the same on every machine: a billion elementary operations.

A unit is about a second of one core of a current server processor. Numbers of operations are rough, as the number
of users in common of two items, for example, is not known before a fit; they are meant to be right within a factor
of three.
"""

from typing import Final

UNIT: Final = 1e9
SPARSE: Final = 20.0
"""Operations to multiply two entries of sparse matrices and to add the product to a sum in memory."""
VECTOR: Final = 0.5
"""Operations to multiply and add one coordinate of vectors that are gathered from memory."""
DENSE: Final = 0.04
"""Operations to multiply and add in a product of dense matrices, which a processor computes many at a time."""
SORT: Final = 100.0
"""Operations to sort and group one of many entries."""
UNEVEN: Final = 2.0
"""Mean square of the length of a row relative to the square of its mean."""
ROW: Final = 20_000.0
"""Operations of each user whose items are ranked, beside their scores."""


def sparse_work(products: float) -> float:
    """Return the work of multiplying entries of sparse matrices."""
    return SPARSE * products / UNIT


def vector_work(products: float) -> float:
    """Return the work of multiplying coordinates of gathered vectors."""
    return VECTOR * products / UNIT


def dense_work(products: float) -> float:
    """Return the work of multiplying entries of dense matrices."""
    return DENSE * products / UNIT


def sort_work(entries: float) -> float:
    """Return the work of sorting and grouping entries."""
    return SORT * entries / UNIT


def row_work(users: float) -> float:
    """Return the work of ranking items for users, beside that of the scores."""
    return ROW * users / UNIT


def common_pairs(rows: int, entries: int) -> float:
    """Return the pairs of entries in the same row of a sparse matrix, with rows of uneven length."""
    return UNEVEN * entries**2 / max(rows, 1)
