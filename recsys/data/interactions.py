"""Interactions as models read them: int32 rows, a sparse matrix, and the events of every user over time."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.trust import user_trust
from recsys.errors import NotEnoughDataError
from recsys.ids import IdMap, Rows
from recsys.schema import CONFIDENCE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT

MICROSECONDS_PER_DAY = 86_400_000_000
IS_OWNING = "is_owning"


@dataclass(frozen=True)
class Interactions:
    """All interactions of users with items before one moment.

    The five event arrays are parallel, with one entry for each event, in order of user, then time; `age_days` is
    the time from the event to that moment, exact to the microsecond.
    """

    users: IdMap
    items: IdMap
    user_items: csr_matrix  # users x items, float32 confidence; an explicit 0 where refunds cancel it
    user_rows: Rows
    item_rows: Rows
    age_days: NDArray[np.float64]
    weights: NDArray[np.float32]
    is_owning: NDArray[np.bool_]
    """Whether the user has the item after the event."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users, number of items."""
        return len(self.users), len(self.items)

    @cached_property
    def positives(self) -> csr_matrix:
        """The positive interactions: `user_items` without its explicit zeros. Models learn from these."""
        matrix = self.user_items.copy()
        matrix.eliminate_zeros()
        return matrix

    @cached_property
    def owned(self) -> csr_matrix:
        """The items that users have, (users, items), which may be excluded from their lists."""
        rows, columns = self.user_rows[self.is_owning], self.item_rows[self.is_owning]
        owned = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), self.user_items.shape)
        owned.sum_duplicates()
        return owned

    @cached_property
    def trust(self) -> NDArray[np.float64]:
        """The trust in each user in aggregates over all users, (users,), from the days with positive events."""
        positive = self.weights > 0
        return user_trust(self.user_rows[positive], self.age_days[positive], len(self.users))


def build_interactions(pairs: pl.DataFrame, sequences: pl.DataFrame, as_of: datetime) -> Interactions:
    """Build arrays from the tables `interactions` (rows of users and items) and `sequences` (rows of events).

    Events at the same time keep their order. Without a column `IS_OWNING` in `sequences`, users have the item of
    every event. Raises `NotEnoughDataError` when there is no pair of
    positive confidence.
    """
    if pairs.filter(pl.col(CONFIDENCE) > 0).is_empty():
        raise NotEnoughDataError("no interactions before the cut: ingest events with a weight above 0 first")
    users, items = IdMap.from_ids(pairs[USER_ID]), IdMap.from_ids(pairs[ITEM_ID])
    confidence = pairs[CONFIDENCE].cast(pl.Float32).clip(lower_bound=0).to_numpy()
    user_items = csr_matrix(
        (confidence, (users.rows(pairs[USER_ID]), items.rows(pairs[ITEM_ID]))),
        shape=(len(users), len(items)),
        dtype=np.float32,
    )
    user_items.sort_indices()
    age = (pl.lit(as_of) - pl.col(TIMESTAMP)).dt.total_microseconds() / MICROSECONDS_PER_DAY
    age_days = sequences.select(age).to_series().to_numpy()
    user_rows = users.rows(sequences[USER_ID])
    # Sorts rows instead of ids: numbers that are mostly in order sort many times as fast as text.
    order = np.lexsort((sequences[TIMESTAMP].to_physical().to_numpy(), user_rows))
    return Interactions(
        users=users,
        items=items,
        user_items=user_items,
        user_rows=user_rows[order],
        item_rows=items.rows(sequences[ITEM_ID])[order],
        age_days=age_days[order],
        weights=sequences[WEIGHT].cast(pl.Float32).to_numpy()[order],
        is_owning=sequences[IS_OWNING].to_numpy()[order]
        if IS_OWNING in sequences.columns
        else np.ones(len(order), bool),
    )
