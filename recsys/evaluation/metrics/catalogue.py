"""Metrics of item exposure: coverage, Gini index, novelty."""

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.metrics.ranking import Counts, Values
from recsys.ids import Rows


def count_exposure(recommended: Rows, items: int) -> NDArray[np.int64]:
    """Count the lists (U, n) that hold each item, (items,); -1 marks an empty position."""
    listed = recommended[recommended >= 0]
    return np.bincount(listed, minlength=items).astype(np.int64)


def coverage(exposure: Counts) -> float:
    """Return the share of the items that are in at least one list."""
    return float(np.count_nonzero(exposure) / len(exposure))


def gini(exposure: Counts) -> float:
    """Compute the Gini index of exposure: 0 for equal exposure, 1 where one item takes all positions.

    It is divided by items - 1, so that the maximum is 1 for any number of items (Shani and Gunawardana, "Evaluating
    Recommendation Systems", 2011). 0 for empty lists.
    """
    items, total = len(exposure), int(exposure.sum())
    if items < 2 or total == 0:
        return 0.0
    ranks = np.arange(1, items + 1)
    return float(((2 * ranks - items - 1) * np.sort(exposure)).sum() / ((items - 1) * total))


def novelty(exposure: Counts, item_users: Counts, users: int) -> float:
    """Compute the mean self-information of recommended items in bits: -log2 of the share of `users` with the item.

    `item_users` (items,) counts the users who have each item; an item without users counts as one with a single
    user, because its self-information would be infinite. 0 for empty lists.
    Source: Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems" (2010).
    """
    if exposure.sum() == 0:
        return 0.0
    information = np.log2(users / np.maximum(item_users, 1))
    return float((exposure * information).sum() / exposure.sum())


def exposure_curve(exposure: Counts, points: int) -> Values:
    """Return the share of positions taken by the most recommended items, at `points` even steps from 0 to all."""
    shares = np.append(0, np.sort(exposure)[::-1].cumsum()) / max(1, int(exposure.sum()))
    return np.interp(np.linspace(0, len(exposure), points), np.arange(len(exposure) + 1), shares)
