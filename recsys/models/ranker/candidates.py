"""Candidates of the ranker: the best items of the members' lists together, with their place in each list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.rank_merging import pool_lists
from recsys.ids import UNKNOWN, Rows


@dataclass(frozen=True)
class Candidates:
    """Pairs of users and items, N in order of user, then item."""

    users: Rows  # (N,) position of the user among those of the lists
    items: Rows  # (N,)
    values: NDArray[np.float32]  # (N, members) the value of the item's place in each list, 0 when it is absent
    sums: NDArray[np.float32]  # (N,) of the values
    places: NDArray[np.int64]  # (N,) place among the candidates of the user by this sum, from 0

    def select(self, chosen: NDArray[np.bool_]) -> "Candidates":
        """Select some of the pairs, (N,)."""
        return Candidates(
            self.users[chosen], self.items[chosen], self.values[chosen], self.sums[chosen], self.places[chosen]
        )


def pool_candidates(lists: Sequence[Rows], maximum: int) -> Candidates:
    """Join the members' lists (users, depth); of each user, keep the `maximum` items of the highest sum of values.

    `rank_values` gives the values of places; ties go to the lower item row.
    """
    pool = pool_lists(lists)
    sums = pool.values.sum(axis=1)
    order = np.lexsort((pool.items, -sums, pool.users))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.searchsorted(pool.users, pool.users)  # the order keeps the users'
    candidates = Candidates(pool.users.astype(np.int32), pool.items, pool.values, sums, places)
    return candidates.select(places < maximum)


def find_later_items(lists: Sequence[Rows], depth: int) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """Find the items that no list (users, n) has in its first `depth` places, with the best place of each from 1.

    Returns the position of the user, the item and the place, three arrays (N,).
    """
    if lists[0].shape[1] <= depth:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64)
    listed = np.stack(lists, axis=2)
    users, places, _ = np.nonzero(listed != UNKNOWN)  # the places of a user ascend
    items = listed[listed != UNKNOWN]
    _, first = np.unique(users * (np.int64(items.max(initial=0)) + 1) + items, return_index=True)
    first = first[places[first] >= depth]
    return users[first].astype(np.int32), items[first], places[first] + 1
