"""Features of past purchases of a user and an item: frequency, recency, regularity, and those of other users."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Rows
from recsys.models._purchases.purchase_days import PurchaseDays
from recsys.models.artifacts import Array

HALF_LIVES: Final = (15.0, 45.0, 90.0, 240.0)
ITEM_WINDOWS: Final = (7.0, 14.0, 28.0, 84.0)
USER_WINDOWS: Final = (28.0, 84.0)
# Pseudo-counts by which an item's cycle, a pair's gap and an item's share of repeats are shrunk.
PRIOR_GAPS: Final = 5.0
PRIOR_CYCLES: Final = 2.0
PRIOR_BUYERS: Final = 10.0
NEVER_DAYS: Final = 1e4

Table = NDArray[np.float32]
COUNT, LAST, SPAN = 0, 1, 2  # columns of `of_pair` before the decayed sums
CYCLE: Final = 0  # column of `of_item`
TOTAL: Final = 0  # column of `of_user`
FEATURE_NAMES: Final = (
    *("purchases", "days since last", "days from first to last"),
    *(f"purchases, half-life {days:g} days" for days in HALF_LIVES),
    *("cycle", "share of buyers who repeat", "buyers", "sales"),
    *(f"sales in {days:g} days" for days in ITEM_WINDOWS),
    *(
        "user's purchases",
        *(f"user's purchases in {days:g} days" for days in USER_WINDOWS),
        "user's days since last",
    ),
    *("days since last / gap", "days since last / cycle", "share of user's purchases"),
)
"""Names of the columns of `PurchaseFeatures.join`."""


@dataclass(frozen=True)
class PurchaseFeatures:
    """Features of pairs, items and users at one moment; a purchase counts once a day."""

    pairs: NDArray[np.int64]  # (P,) user row x items + item row, ascending
    of_pair: Table  # (P, 7): purchases, days since the last, days from first to last, decayed sums
    of_item: Table  # (items, 8): cycle, share of buyers who repeat, buyers, purchases in all and in windows
    of_user: Table  # (users, 4): purchases in all and in windows, days since the last

    def join(self, user_rows: Rows, item_rows: Rows) -> Table:
        """Return the features of pairs given by two parallel arrays (N,), as (N, 22)."""
        keys = user_rows.astype(np.int64) * len(self.of_item) + item_rows
        places = np.searchsorted(self.pairs, keys)
        has_bought = np.append(self.pairs, -1)[places] == keys
        never = np.zeros((1, self.of_pair.shape[1]), np.float32)
        never[0, LAST] = NEVER_DAYS
        pair = np.concatenate([self.of_pair, never])[np.where(has_bought, places, len(self.pairs))]
        item, user = self.of_item[item_rows], self.of_user[user_rows]
        repeats = np.maximum(pair[:, COUNT] - 1, 0)
        gap = (pair[:, SPAN] + PRIOR_CYCLES * item[:, CYCLE]) / (repeats + PRIOR_CYCLES)
        due, due_as_usual = pair[:, LAST] / gap, pair[:, LAST] / item[:, CYCLE]
        share = pair[:, COUNT] / np.maximum(user[:, TOTAL], 1)
        return np.column_stack([pair, item, user, due, due_as_usual, share])

    def arrays(self) -> dict[str, Array]:
        """Return every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "PurchaseFeatures":
        """Rebuild the features from what `arrays` returned."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def describe_purchases(purchases: PurchaseDays) -> PurchaseFeatures:
    """Compute the features at the moment of the purchases."""
    users, items = purchases.shape
    ages = purchases.ages
    pairs, starts, counts = np.unique(purchases.pairs, return_index=True, return_counts=True)
    last, span = ages[starts + counts - 1], ages[starts] - ages[starts + counts - 1]
    pair_of_entry = np.repeat(np.arange(len(pairs)), counts)
    decayed = [np.bincount(pair_of_entry, 0.5 ** (ages / days), len(pairs)) for days in HALF_LIVES]
    return PurchaseFeatures(
        pairs=pairs,
        of_pair=np.column_stack([counts, last, span, *decayed]).astype(np.float32),
        of_item=_item_features(purchases, (pairs % items).astype(np.int32), counts, span).astype(np.float32),
        of_user=_user_features(purchases, users).astype(np.float32),
    )


def _item_features(
    purchases: PurchaseDays, pair_items: Rows, counts: NDArray[np.intp], span: NDArray[np.float64]
) -> NDArray[np.floating]:
    """Compute the features of every item, (items, 8)."""
    items = purchases.shape[1]
    gaps, days = np.bincount(pair_items, counts - 1, items), np.bincount(pair_items, span, items)
    shop_cycle = days.sum() / gaps.sum() if days.sum() > 0 else NEVER_DAYS
    cycle = (days + PRIOR_GAPS * shop_cycle) / (gaps + PRIOR_GAPS)
    buyers = np.bincount(pair_items, minlength=items).astype(np.float64)
    repeats = np.bincount(pair_items, counts > 1, items) / (buyers + PRIOR_BUYERS)
    counts_in_windows = _count_in_windows(
        (purchases.pairs % items).astype(np.int32), purchases.ages, ITEM_WINDOWS, items
    )
    return np.column_stack([cycle, repeats, buyers, *counts_in_windows])


def _user_features(purchases: PurchaseDays, users: int) -> NDArray[np.floating]:
    """Compute the features of every user, (users, 4)."""
    rows = (purchases.pairs // purchases.shape[1]).astype(np.int32)
    last = np.full(users, NEVER_DAYS)
    np.minimum.at(last, rows, purchases.ages)
    return np.column_stack([*_count_in_windows(rows, purchases.ages, USER_WINDOWS, users), last])


def _count_in_windows(
    rows: Rows, ages: NDArray[np.float64], windows: tuple[float, ...], size: int
) -> list[NDArray[np.float64]]:
    """Count the purchases of each row in total and in each window, (size,) each."""
    return [np.bincount(rows[ages <= days], minlength=size).astype(np.float64) for days in (np.inf, *windows)]
