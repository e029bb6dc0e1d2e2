"""Candidates of the ranker: the best items of the members' lists together, with their place in each list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.rank_merging import pool_lists
from recsys.ids import Rows


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
