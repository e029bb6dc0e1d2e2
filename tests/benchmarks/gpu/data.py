"""Interactions to measure with: Gowalla where it is, else generated ones of its size."""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.ids import IdMap

GOWALLA: Final = Path(__file__).parents[4] / "shared" / "data" / "gowalla"
GROUPS: Final = 64
OWN_GROUP: Final = 0.7
"""Share of the generated interactions with items of the user's own group."""


def read_gowalla() -> tuple[csr_matrix, csr_matrix] | None:
    """Return the training and the test interactions, (users, items) each; None if the files are not there."""
    if not GOWALLA.is_dir():
        return None
    train, test = (
        pl.read_parquet(GOWALLA / f"{name}.parquet").select("user_id", "item_id").to_numpy()
        for name in ("train", "test")
    )
    shape = tuple(np.concatenate([train, test]).max(axis=0) + 1)
    return _matrix(train[:, 0], train[:, 1], shape), _matrix(test[:, 0], test[:, 1], shape)


def generate(users: int, items: int, interactions: int, seed: int = 0) -> tuple[csr_matrix, csr_matrix]:
    """Draw interactions of users who prefer a group of items, a fifth of them for the test.

    The numbers of interactions of users and of items follow power laws.
    """
    random = np.random.default_rng(seed)
    rows = random.permutation(users)[_skewed(random, users, interactions)]
    own = random.integers(GROUPS, size=users)[rows]
    columns = _skewed(random, items, interactions)
    is_own = random.random(interactions) < OWN_GROUP
    columns = np.where(is_own, np.minimum(columns // GROUPS * GROUPS + own, items - 1), columns)
    drawn = _matrix(rows, columns, (users, items))
    rows, columns = drawn.nonzero()
    is_test = random.random(len(rows)) < 0.2
    train, test = (_matrix(rows[mask], columns[mask], drawn.shape) for mask in (~is_test, is_test))
    return train, test


def as_interactions(user_items: csr_matrix) -> Interactions:
    """Return a matrix as models read it, each interaction on its own day."""
    users, items = (pl.Series([f"{number:07}" for number in range(size)]) for size in user_items.shape)
    rows, columns = user_items.nonzero()
    size = len(rows)
    return Interactions(
        users=IdMap.from_ids(users),
        items=IdMap.from_ids(items),
        user_items=user_items,
        user_rows=rows.astype(np.int32),
        item_rows=columns.astype(np.int32),
        age_days=np.arange(size, 0, -1, dtype=np.float64),
        weights=np.ones(size, np.float32),
        is_owning=np.ones(size, np.bool_),
        is_disliked=np.zeros(size, np.bool_),
    )


def _skewed(random: np.random.Generator, size: int, draws: int) -> NDArray[np.int64]:
    """Draw numbers below `size`, the small ones more often."""
    return (size * random.random(draws) ** 3).astype(np.int64)


def _matrix(rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> csr_matrix:
    """Return a matrix of ones."""
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
