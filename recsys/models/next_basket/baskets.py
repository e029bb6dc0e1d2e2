"""Baskets: the items that a user bought on one day, numbered back from the user's latest one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.models._purchases.purchase_days import PurchaseDays
from recsys.ranking.top_k import Scores


@dataclass(frozen=True)
class Baskets:
    """Purchases that were not refunded, one entry for each user, item and basket."""

    user_rows: NDArray[np.int64]  # (N,) ascending
    item_rows: NDArray[np.int64]  # (N,)
    positions: NDArray[np.int64]  # (N,) number of later baskets of the user: 0 for the latest one
    counts: NDArray[np.int64]  # (users,) number of baskets
    shape: tuple[int, int]  # users, items

    def sum_entries(self, values: NDArray[np.floating]) -> csr_matrix:
        """Sum a value of each entry, (N,), by user and item, (users, items), float32; entries of 0 are left out."""
        sums = csr_matrix((values, (self.user_rows, self.item_rows)), self.shape)
        sums.eliminate_zeros()
        sums.sort_indices()
        return csr_matrix(sums, dtype=np.float32)

    def before_latest(self) -> "Baskets":
        """Return the baskets without each user's latest one."""
        earlier = self.positions > 0
        entries = self.user_rows[earlier], self.item_rows[earlier], self.positions[earlier] - 1
        return Baskets(*entries, np.maximum(self.counts - 1, 0), self.shape)

    @property
    def latest_pairs(self) -> NDArray[np.int64]:
        """The pairs of each user's latest basket, as user row x items + item row."""
        latest = self.positions == 0
        return self.user_rows[latest] * self.shape[1] + self.item_rows[latest]

    @cached_property
    def user_items(self) -> csr_matrix:
        """The items that each user bought, 1 each, (users, items), float64."""
        pairs = np.unique(self.user_rows * self.shape[1] + self.item_rows)
        users, items = np.divmod(pairs, self.shape[1])
        return csr_matrix((np.ones(len(pairs)), (users, items)), self.shape)

    @cached_property
    def item_share(self) -> Scores:
        """The share of all users who bought each item, (items,)."""
        return (np.bincount(self.user_items.indices, minlength=self.shape[1]) / self.shape[0]).astype(np.float32)


def group_into_baskets(purchases: PurchaseDays) -> Baskets:
    """Group each user's purchases of one day into a basket."""
    users, items = purchases.shape
    user_rows, item_rows = np.divmod(purchases.pairs, max(items, 1))
    days = np.floor(purchases.ages).astype(np.int64)
    span = days.max(initial=0) + 1
    baskets, basket_of_entry = np.unique(user_rows * span + days, return_inverse=True)
    users_of_baskets = baskets // span
    first_of_user = np.searchsorted(users_of_baskets, np.arange(users))
    positions = np.arange(len(baskets)) - first_of_user[users_of_baskets]
    counts = np.bincount(users_of_baskets, minlength=users)
    return Baskets(user_rows, item_rows, positions[basket_of_entry], counts, purchases.shape)
