"""Two parts of what users may be recommended: what they have bought (again) and what they never had (new)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize
from recsys.ids import UNKNOWN, Rows
from recsys.ranking.top_k import Exclusion
from recsys.settings import Settings

AGAIN: Final = "again"
NEW: Final = "new"


def part_lengths(settings: Settings) -> Mapping[str, int]:
    """Return the parts that have lists of their own, with their lengths; none if items are never repeated."""
    if settings.repeat == "exclude":
        return {}
    lengths = {AGAIN: settings.lists.again_items, NEW: settings.lists.new_items}
    return {part: length for part, length in lengths.items() if length}


@dataclass(frozen=True)
class Repeatable:
    """What users may buy again."""

    items: csr_matrix
    """The items that users have, did not return, and may be recommended, (users, items)."""
    events: NDArray[np.bool_]
    """Whether a user got such an item by an event of the interactions, (events,)."""

    @classmethod
    def find(cls, interactions: Interactions, exclude: Exclusion) -> "Repeatable":
        """Find what users have and may be recommended."""
        owned = binarize(interactions.owned).multiply(binarize(interactions.positives)).tocsr()
        if exclude.user_items is not None:
            owned = (owned - owned.multiply(binarize(exclude.user_items))).tocsr()
        if exclude.items is not None:
            owned.data = owned.data * ~exclude.items[owned.indices]
        owned.eliminate_zeros()
        events = _pairs(interactions.user_rows, interactions.item_rows, owned.shape[1])
        return cls(owned, interactions.is_owning & np.isin(events, _entries(owned)))


def keep_items(lists: Rows, kept: csr_matrix) -> Rows:
    """Keep the items of lists, (users, n), that `kept` (users, items) has for the user, in their order.

    The places that are left over at the end hold -1.
    """
    users, places = np.nonzero(lists != UNKNOWN)
    items = lists[users, places]
    is_kept = np.isin(_pairs(users, items, kept.shape[1]), _entries(kept))
    return _pack(lists.shape, users[is_kept], items[is_kept])


def append_items(lists: Rows, others: Rows, n: int) -> Rows:
    """Append to each list, (users, m), the items of another that it lacks; return the first n, padded with -1."""
    both = np.concatenate([lists, others], axis=1)
    users, places = np.nonzero(both != UNKNOWN)
    items = both[users, places]
    _, first = np.unique(_pairs(users, items, int(both.max(initial=0)) + 1), return_index=True)
    first.sort()
    return _pack((len(both), max(both.shape[1], n)), users[first], items[first])[:, :n]


def latest_items(interactions: Interactions, mask: NDArray[np.bool_], rows: Rows, n: int) -> Rows:
    """Return the items of the latest events in a mask of users, each item once, (rows, up to n), padded with -1.

    `rows` are ascending.
    """
    start, end = np.searchsorted(interactions.user_rows, [rows[0], rows[-1] + 1])
    event = slice(int(start), int(end))
    events = {
        "user": interactions.user_rows[event],
        "item": interactions.item_rows[event],
        "age": interactions.age_days[event],
    }
    is_chosen = mask[event] & np.isin(events["user"], rows)
    latest = (
        pl.DataFrame(events)
        .filter(pl.lit(is_chosen))
        .group_by("user", "item")
        .agg(pl.col("age").min())
        .sort("user", "age", "item")
        .with_columns(pl.int_range(pl.len()).over("user").alias("place"))
        .filter(pl.col("place") < n)
    )
    user, item, place = (latest[name].to_numpy() for name in ("user", "item", "place"))
    listed = np.full((len(rows), int(place.max(initial=0)) + 1), UNKNOWN, np.int32)
    listed[np.searchsorted(rows, user), place] = item
    return listed


def list_again(lists: Rows, rows: Rows, n: int, interactions: Interactions, repeatable: Repeatable) -> Rows:
    """Return lists of what users may buy again, (rows, n): those of `lists` in their order, then the latest others.

    `lists`, (rows, m), are of any items.
    """
    latest = latest_items(interactions, repeatable.events, rows, n)
    return append_items(keep_items(lists, csr_matrix(repeatable.items[rows])), latest, n)


def _entries(matrix: csr_matrix) -> NDArray[np.int64]:
    """Return the numbers of the pairs of user and item of a matrix."""
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return _pairs(users, matrix.indices, matrix.shape[1])


def _pairs(users: NDArray[np.integer], items: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Return a number for each pair of user and item."""
    return users.astype(np.int64) * size + items


def _pack(shape: tuple[int, ...], users: NDArray[np.integer], items: NDArray[np.integer]) -> Rows:
    """Return lists of the given shape from their entries in order of user and place, padded with -1."""
    lists = np.full(shape, UNKNOWN, np.int32)
    lists[users, np.arange(len(users)) - np.searchsorted(users, users)] = items
    return lists
