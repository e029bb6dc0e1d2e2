"""Interactions as models read them: int32 rows, a sparse matrix, and the events of every user over time."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

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
IS_DISLIKED = "is_disliked"


@dataclass(frozen=True)
class Interactions:
    """All interactions of users with items before one moment.

    The six event arrays are parallel, with one entry for each event, in order of user, then time; `age_days` is
    the time from the event to that moment, exact to the microsecond.
    """

    users: IdMap
    items: IdMap
    user_items: csr_matrix  # users x items, float32 confidence; an explicit 0 where nothing good is left
    user_rows: Rows
    item_rows: Rows
    age_days: NDArray[np.float64]
    weights: NDArray[np.float32]
    is_owning: NDArray[np.bool_]
    """Whether the user has the item after the event."""
    is_disliked: NDArray[np.bool_]
    """Whether the user dislikes the item by the event, and has not taken it back since."""

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
        return self._items_of_events(self.is_owning)

    @cached_property
    def disliked(self) -> csr_matrix:
        """The items that users dislike, (users, items), which are hidden from them."""
        return self._items_of_events(self.is_disliked)

    def excluded(self, repeat: Literal["allow", "exclude"]) -> csr_matrix | None:
        """Return the items that must not be in users' lists, (users, items): disliked, and owned if not repeated.

        None if there are none for anyone.
        """
        if not self.is_disliked.any():
            return self.owned if repeat == "exclude" else None
        return self._items_of_events(self.is_disliked | self.is_owning) if repeat == "exclude" else self.disliked

    @cached_property
    def trust(self) -> NDArray[np.float64]:
        """The trust in each user in aggregates over all users, (users,), from the days with positive events."""
        positive = self.weights > 0
        return user_trust(self.user_rows[positive], self.age_days[positive], len(self.users))

    def _items_of_events(self, events: NDArray[np.bool_]) -> csr_matrix:
        """Return the items of the events in a mask, (users, items)."""
        rows, columns = self.user_rows[events], self.item_rows[events]
        items = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), self.user_items.shape)
        items.sum_duplicates()
        return items


def build_interactions(pairs: pl.DataFrame, sequences: pl.DataFrame, as_of: datetime) -> Interactions:
    """Build arrays from the tables `interactions` (rows of users and items) and `sequences` (rows of events).

    Events at the same time keep their order. Without a column `IS_OWNING` in `sequences`, users have the item of
    every event; without `IS_DISLIKED`, they dislike none. Raises `NotEnoughDataError` when there is no pair of
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
        is_owning=_flags(sequences, IS_OWNING, default=True)[order],
        is_disliked=_flags(sequences, IS_DISLIKED, default=False)[order],
    )


def _flags(sequences: pl.DataFrame, name: str, *, default: bool) -> NDArray[np.bool_]:
    """Return a column of booleans, or the default for every event where there is none."""
    if name in sequences.columns:
        return sequences[name].to_numpy()
    return np.full(sequences.height, default, np.bool_)
