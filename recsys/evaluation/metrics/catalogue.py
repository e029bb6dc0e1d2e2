"""What lists do to the catalogue: how much of it they show, how evenly, and how far from the obvious."""

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.metrics.ranking import Counts, Values
from recsys.ids import Rows


def count_exposure(recommended: Rows, items: int) -> NDArray[np.int64]:
    """How many of the lists (U, n) show each item, (items,); -1 entries are empty places."""
    shown = recommended[recommended >= 0]
    return np.bincount(shown, minlength=items).astype(np.int64)


def coverage(exposure: Counts) -> float:
    """Share of the items that are in at least one list."""
    return float(np.count_nonzero(exposure) / len(exposure))


def gini(exposure: Counts) -> float:
    """How unevenly the items are shown: 0 all alike, 1 one item takes all places.

    The Gini index as recommender surveys write it, divided by items - 1, so that 1 is reached for any number
    of items (Shani and Gunawardana, "Evaluating Recommendation Systems", 2011). 0 where nothing is shown.
    """
    items, total = len(exposure), int(exposure.sum())
    if items < 2 or total == 0:
        return 0.0
    ranks = np.arange(1, items + 1)
    return float(((2 * ranks - items - 1) * np.sort(exposure)).sum() / ((items - 1) * total))


def novelty(exposure: Counts, item_users: Counts, users: int) -> float:
    """Mean self-information of the shown items, in bits: -log2 of the share of `users` who have the item.

    `item_users` (items,) counts the users who have each item; one that nobody has counts as one that a single
    user has, since its information would have no bound. 0 where nothing is shown. (Zhou et al., "Solving the
    apparent diversity-accuracy dilemma of recommender systems", 2010.)
    """
    if exposure.sum() == 0:
        return 0.0
    information = np.log2(users / np.maximum(item_users, 1))
    return float((exposure * information).sum() / exposure.sum())


def exposure_curve(exposure: Counts, points: int) -> Values:
    """Share of all places that the most shown items take, at `points` even steps from 0 to all items."""
    shares = np.append(0, np.sort(exposure)[::-1].cumsum()) / max(1, int(exposure.sum()))
    return np.interp(np.linspace(0, len(exposure), points), np.arange(len(exposure) + 1), shares)
