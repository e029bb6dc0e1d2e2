"""The union of several models' lists, and the NDCG of the ranking that weights of the models give it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.data.rank_merging import Pool, pool_lists
from recsys.evaluation.ground_truth import Relevance
from recsys.evaluation.metrics.ranking import Values
from recsys.ids import Rows

BLOCK_USERS: Final = 512

Offsets = NDArray[np.int64]
Users = NDArray[np.intp]
Weights = NDArray[np.float32]


@dataclass(frozen=True)
class ListPool:
    """The N items of the lists of M models for U users, in order of user, then item.

    Users without a relevant item in any list have no items, because their NDCG is 0 whatever the weights.
    """

    offsets: Offsets  # (U + 1,) the items of user u are those from offsets[u] to offsets[u + 1]
    values: NDArray[np.float32]  # (M, N) the value of the item's place in each list
    hit_offsets: Offsets  # (U + 1,) the same for the relevant items
    hits: Offsets  # (H,) the relevant ones of the N items
    ideal: Values  # (U,)
    k: int

    def ndcg(self, weights: Weights, users: Users) -> Values:
        """Return the NDCG@k of users when items are ranked by the weighted sum of their values, (len(users),).

        An item without a positive sum is in no list; ties are in order of item row, as in `merge_lists`.
        """
        from recsys.evaluation.comparison.ndcg_kernel import sum_discounts  # numba takes long to import

        gains = np.empty(len(users))
        discounts = 1 / np.log2(np.arange(self.k) + 2)
        sum_discounts(users, self.offsets, self.values, self.hit_offsets, self.hits, weights, discounts, gains)
        return gains / self.ideal[users]


def build_list_pool(lists: Sequence[Rows], relevance: Relevance, k: int) -> ListPool:
    """Unite the lists (U, depth) of M models for the users of `relevance`, in blocks of users."""
    users, items = relevance.relevant.shape
    blocks = [
        _pool_block([rows[start : start + BLOCK_USERS] for rows in lists], relevance, start)
        for start in range(0, users, BLOCK_USERS)
    ]
    pooled_users = np.concatenate([block.users for block in blocks])
    pooled_items = np.concatenate([block.items for block in blocks])
    values = np.concatenate([block.values.T for block in blocks], axis=1)
    hits = np.flatnonzero(np.isin(pooled_users * items + pooled_items, _relevant_keys(relevance)))
    boundaries = np.arange(users + 1)
    return ListPool(
        offsets=np.searchsorted(pooled_users, boundaries),
        values=np.ascontiguousarray(values),
        hit_offsets=np.searchsorted(pooled_users[hits], boundaries),
        hits=hits,
        ideal=np.cumsum(1 / np.log2(np.arange(k) + 2))[np.minimum(relevance.relevant_counts, k) - 1],
        k=k,
    )


def _pool_block(lists: list[Rows], relevance: Relevance, start: int) -> Pool:
    """Pool the lists of users from row `start` on, without the users that have no hit."""
    items = relevance.relevant.shape[1]
    pool = pool_lists(lists)
    users = pool.users + start
    hits = np.isin(users * items + pool.items, _relevant_keys(relevance))
    kept = np.isin(users, users[hits])
    return Pool(users[kept], pool.items[kept], pool.values[kept])


def _relevant_keys(relevance: Relevance) -> NDArray[np.int64]:
    """Return user row x items + item row of the relevant items."""
    users, items = relevance.relevant.shape
    return np.repeat(np.arange(users), np.diff(relevance.relevant.indptr)) * items + relevance.relevant.indices
