"""The days on which users bought items, without refunded purchases."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.ids import Rows


@dataclass(frozen=True)
class PurchaseDays:
    """Purchases that were not refunded, one entry for each user, item and day; by pair, oldest first."""

    pairs: NDArray[np.int64]  # user row x items + item row
    ages: NDArray[np.float64]  # days before the moment of the interactions
    shape: tuple[int, int]  # users, items

    def before(self, days: float) -> "PurchaseDays":
        """Return the purchases as of `days` days earlier, with ages at that moment."""
        earlier = self.ages > days
        return PurchaseDays(self.pairs[earlier], self.ages[earlier] - days, self.shape)

    def by_category(self, codes: Rows, categories: int) -> "PurchaseDays":
        """Return the purchases with each item replaced by its category, `codes` (items,) below `categories`."""
        users, items = self.shape
        pairs = self.pairs // items * categories + codes[self.pairs % items]
        order = np.lexsort((-self.ages, pairs))
        pairs, ages = pairs[order], self.ages[order]
        new_day = _differs_from_previous(pairs, np.floor(ages))
        return PurchaseDays(pairs[new_day], ages[new_day], (users, categories))

    def within(self, days: float) -> NDArray[np.int64]:
        """Return the distinct pairs bought in the last `days` days, ascending."""
        return np.unique(self.pairs[self.ages <= days])


def purchase_days(interactions: Interactions) -> PurchaseDays:
    """Extract the purchases, which are the events of the largest weight, once for each 24 hours back from now.

    A refund cancels the user's latest purchase of the item before it.
    """
    weights = interactions.weights
    counted = (weights == weights.max(initial=0)) | (weights < 0)
    pairs = interactions.user_rows.astype(np.int64) * interactions.shape[1] + interactions.item_rows
    pairs, ages, signs = pairs[counted], interactions.age_days[counted], np.sign(weights[counted])
    order = np.lexsort((-signs, -ages, pairs))
    pairs, ages, signs = pairs[order], ages[order], signs[order]
    kept = _is_kept(pairs, signs.astype(np.int64))
    pairs, ages = pairs[kept], ages[kept]
    new_day = _differs_from_previous(pairs, np.floor(ages))
    return PurchaseDays(pairs[new_day], ages[new_day], interactions.shape)


def _is_kept(pairs: NDArray[np.int64], signs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find purchases (sign 1) that no refund (-1) cancels; events are sorted by pair, then time.

    Purchases and refunds match like brackets. The running balance of a pair crosses a level up and down in turn;
    the last crossing is either a purchase that was kept or the refund of the one before.
    """
    level = np.cumsum(signs) + (signs < 0)
    backwards = np.lexsort((level, pairs))[::-1]
    last = np.zeros(len(pairs), bool)
    last[backwards] = _differs_from_previous(pairs[backwards], level[backwards])
    return last & (signs > 0)


def _differs_from_previous(first: NDArray[np.generic], second: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Compare each entry of two arrays with the previous one; True where either differs and for the first entry."""
    differs = np.ones(len(first), bool)
    differs[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return differs
