"""What past purchases say of a user and an item: how often, how lately, how regularly, and how others buy."""

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
# What an item's cycle, a pair's gap and an item's share of repeats are shrunk by.
PRIOR_GAPS: Final = 5.0
PRIOR_CYCLES: Final = 2.0
PRIOR_BUYERS: Final = 10.0
NEVER_DAYS: Final = 1e4

Table = NDArray[np.float32]
COUNT, LAST, SPAN = 0, 1, 2  # columns of `of_pair`, before the decayed sums
CYCLE: Final = 0  # column of `of_item`
TOTAL: Final = 0  # column of `of_user`


@dataclass(frozen=True)
class PurchaseFeatures:
    """Features of pairs, items and users, at one moment; a purchase counts once a day."""

    pairs: NDArray[np.int64]  # (P,) user row x items + item row, ascending
    of_pair: Table  # (P, 7): purchases, days since the last, days from first to last, decayed sums
    of_item: Table  # (items, 8): cycle, share of buyers who repeat, buyers, purchases in all and in windows
    of_user: Table  # (users, 4): purchases in all and in windows, days since the last

    def of(self, user_rows: Rows, item_rows: Rows) -> Table:
        """The features of pairs given by two parallel arrays (N,), as (N, 22)."""
        keys = user_rows.astype(np.int64) * len(self.of_item) + item_rows
        places = np.searchsorted(self.pairs, keys)
        known = np.append(self.pairs, -1)[places] == keys
        never = np.zeros((1, self.of_pair.shape[1]), np.float32)
        never[0, LAST] = NEVER_DAYS
        pair = np.concatenate([self.of_pair, never])[np.where(known, places, len(self.pairs))]
        item, user = self.of_item[item_rows], self.of_user[user_rows]
        repeats = np.maximum(pair[:, COUNT] - 1, 0)
        gap = (pair[:, SPAN] + PRIOR_CYCLES * item[:, CYCLE]) / (repeats + PRIOR_CYCLES)
        due, due_as_usual = pair[:, LAST] / gap, pair[:, LAST] / item[:, CYCLE]
        share = pair[:, COUNT] / np.maximum(user[:, TOTAL], 1)
        return np.column_stack([pair, item, user, due, due_as_usual, share])

    def arrays(self) -> dict[str, Array]:
        """Every array by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "PurchaseFeatures":
        """What `arrays` gave."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def describe_purchases(purchases: PurchaseDays) -> PurchaseFeatures:
    """The features at the moment of the purchases."""
    users, items = purchases.shape
    ages = purchases.ages
    pairs, starts, counts = np.unique(purchases.pairs, return_index=True, return_counts=True)
    last, span = ages[starts + counts - 1], ages[starts] - ages[starts + counts - 1]
    pair_of_entry = np.repeat(np.arange(len(pairs)), counts)
    decayed = [np.bincount(pair_of_entry, 0.5 ** (ages / days), len(pairs)) for days in HALF_LIVES]
    return PurchaseFeatures(
        pairs=pairs,
        of_pair=np.column_stack([counts, last, span, *decayed]).astype(np.float32),
        of_item=_of_items(purchases, (pairs % items).astype(np.int32), counts, span).astype(np.float32),
        of_user=_of_users(purchases, users).astype(np.float32),
    )


def _of_items(
    purchases: PurchaseDays, item_of_pair: Rows, counts: NDArray[np.intp], span: NDArray[np.float64]
) -> NDArray[np.floating]:
    items = purchases.shape[1]
    gaps, days = np.bincount(item_of_pair, counts - 1, items), np.bincount(item_of_pair, span, items)
    shop_cycle = days.sum() / gaps.sum() if days.sum() > 0 else NEVER_DAYS
    cycle = (days + PRIOR_GAPS * shop_cycle) / (gaps + PRIOR_GAPS)
    buyers = np.bincount(item_of_pair, minlength=items).astype(np.float64)
    repeats = np.bincount(item_of_pair, counts > 1, items) / (buyers + PRIOR_BUYERS)
    in_windows = _in_windows((purchases.pairs % items).astype(np.int32), purchases.ages, ITEM_WINDOWS, items)
    return np.column_stack([cycle, repeats, buyers, *in_windows])


def _of_users(purchases: PurchaseDays, users: int) -> NDArray[np.floating]:
    rows = (purchases.pairs // purchases.shape[1]).astype(np.int32)
    last = np.full(users, NEVER_DAYS)
    np.minimum.at(last, rows, purchases.ages)
    return np.column_stack([*_in_windows(rows, purchases.ages, USER_WINDOWS, users), last])


def _in_windows(
    rows: Rows, ages: NDArray[np.float64], windows: tuple[float, ...], size: int
) -> list[NDArray[np.float64]]:
    """Purchases of each row in all, and in the last days of each window."""
    return [np.bincount(rows[ages <= days], minlength=size).astype(np.float64) for days in (np.inf, *windows)]
