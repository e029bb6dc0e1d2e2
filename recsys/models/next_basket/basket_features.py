"""Features of past baskets of a user and an item, without times: frequency, recency, repeats and demand."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Rows
from recsys.models.artifacts import Array
from recsys.models.next_basket.baskets import Baskets

DECAYS: Final = (0.9, 0.6)
ITEM_DECAY: Final = 0.6
# Pseudo-counts by which an item's shares are shrunk.
PRIOR_BUYERS: Final = 10.0
PRIOR_ENTRIES: Final = 5.0

Table = NDArray[np.float32]
BUYERS: Final = 0  # column of `of_item`


@dataclass(frozen=True)
class BasketFeatures:
    """Features of pairs, items and users as of now."""

    pairs: NDArray[np.int64]  # (P,) user row x items + item row, ascending
    of_pair: Table  # (P, 4): baskets with the item, decayed sums, 1 / place of the latest one counted back from 1
    of_item: Table  # (items, 6): buyers, entries, share of buyers who repeat, in latest baskets, decayed, growth
    of_user: Table  # (users, 5): baskets, items in one, distinct items, share of repeats, mean log demand of items

    def join(self, user_rows: Rows, item_rows: Rows) -> Table:
        """Return the features of pairs given by two parallel arrays (N,), as (N, 15)."""
        keys = user_rows.astype(np.int64) * len(self.of_item) + item_rows
        places = np.searchsorted(self.pairs, keys)
        has_bought = np.append(self.pairs, -1)[places] == keys
        never = np.zeros((1, self.of_pair.shape[1]), np.float32)
        pair = np.concatenate([self.of_pair, never])[np.where(has_bought, places, len(self.pairs))]
        return np.column_stack([pair, self.of_item[item_rows], self.of_user[user_rows]])

    def arrays(self) -> dict[str, Array]:
        """Return every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "BasketFeatures":
        """Rebuild the features from what `arrays` returned."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def describe_baskets(baskets: Baskets) -> BasketFeatures:
    """Compute the features as of now."""
    items = baskets.shape[1]
    keys = baskets.user_rows * items + baskets.item_rows
    pairs, pair_of_entry, counts = np.unique(keys, return_inverse=True, return_counts=True)
    decayed = [np.bincount(pair_of_entry, np.power(decay, baskets.positions), len(pairs)) for decay in DECAYS]
    latest = np.full(len(pairs), np.iinfo(np.int64).max)
    np.minimum.at(latest, pair_of_entry, baskets.positions)
    return BasketFeatures(
        pairs=pairs,
        of_pair=np.column_stack([counts, *decayed, 1 / (1.0 + latest)]).astype(np.float32),
        of_item=_item_features(baskets, pairs % items, counts).astype(np.float32),
        of_user=_user_features(baskets).astype(np.float32),
    )


def _item_features(baskets: Baskets, pair_items: NDArray[np.int64], counts: NDArray[np.intp]) -> NDArray[np.number]:
    """Compute the features of every item, (items, 6)."""
    items = baskets.shape[1]
    buyers = np.bincount(pair_items, minlength=items)
    entries = np.bincount(baskets.item_rows, minlength=items)
    repeats = np.bincount(pair_items, counts > 1, items) / (buyers + PRIOR_BUYERS)
    latest = np.bincount(baskets.item_rows, baskets.positions == 0, items)
    decayed = np.bincount(baskets.item_rows, np.power(ITEM_DECAY, baskets.positions), items)
    return np.column_stack([buyers, entries, repeats, latest, decayed, latest / (entries + PRIOR_ENTRIES)])


def _user_features(baskets: Baskets) -> NDArray[np.number]:
    """Compute the features of every user, (users, 5)."""
    users, items = baskets.shape
    entries = np.bincount(baskets.user_rows, minlength=users)
    distinct = np.diff(baskets.user_items.indptr)
    demand = np.log1p(np.bincount(baskets.item_rows, minlength=items))[baskets.item_rows]
    mean_demand = np.bincount(baskets.user_rows, demand, users) / np.maximum(entries, 1)
    sizes, repeats = entries / np.maximum(baskets.counts, 1), 1 - distinct / np.maximum(entries, 1)
    return np.column_stack([baskets.counts, sizes, distinct, repeats, mean_demand])
