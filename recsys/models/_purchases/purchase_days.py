"""What users bought on which days, with what was given back taken away."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions


@dataclass(frozen=True)
class PurchaseDays:
    """One entry for each user, item and day with a purchase that was kept; by pair, oldest first."""

    pairs: NDArray[np.int64]  # user row x items + item row
    ages: NDArray[np.float64]  # days back from the moment of the interactions
    shape: tuple[int, int]  # users, items

    def before(self, days: float) -> "PurchaseDays":
        """What was known so many days earlier, in ages of that moment."""
        known = self.ages > days
        return PurchaseDays(self.pairs[known], self.ages[known] - days, self.shape)

    def within(self, days: float) -> NDArray[np.int64]:
        """The distinct pairs bought in the last `days`, ascending."""
        return np.unique(self.pairs[self.ages <= days])


def purchase_days(interactions: Interactions) -> PurchaseDays:
    """The purchases, which are the events of the greatest weight, counted once a day, days counted back from now.

    A refund takes back the user's latest purchase of the item before it.
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
    """Whether an event is a purchase (sign 1) that no refund (-1) takes back; events by pair, then time.

    They match as brackets do: of the steps of a pair's running balance over the same level, up and down in turn,
    the last is a purchase that was kept or the refund of the one before.
    """
    level = np.cumsum(signs) + (signs < 0)
    backwards = np.lexsort((level, pairs))[::-1]
    last = np.zeros(len(pairs), bool)
    last[backwards] = _differs_from_previous(pairs[backwards], level[backwards])
    return last & (signs > 0)


def _differs_from_previous(first: NDArray[np.generic], second: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether either array has another value than in the entry before; True for the first entry."""
    differs = np.ones(len(first), bool)
    differs[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return differs
