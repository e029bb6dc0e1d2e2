"""Interactions as they were at an earlier moment, for models that learn from earlier windows."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions


def interactions_before(interactions: Interactions, days: float, half_life_days: float) -> Interactions:
    """Return the interactions as of `days` days earlier, with the same rows of users and items.

    Confidence is the sum of the weights of a pair's events, each halved every `half_life_days`, but at least 0.
    """
    earlier = interactions.age_days > days
    user_rows, item_rows = interactions.user_rows[earlier], interactions.item_rows[earlier]
    age_days, weights = interactions.age_days[earlier] - days, interactions.weights[earlier]
    decayed = (weights * 0.5 ** (age_days / half_life_days)).astype(np.float32)
    user_items = csr_matrix((decayed, (user_rows, item_rows)), shape=interactions.shape)
    user_items.sum_duplicates()
    user_items.data = np.maximum(user_items.data, 0)
    return replace(
        interactions,
        user_items=user_items,
        user_rows=user_rows,
        item_rows=item_rows,
        age_days=age_days,
        weights=weights,
        is_owning=interactions.is_owning[earlier],
        is_disliked=interactions.is_disliked[earlier],
    )
