"""UP-CF: the recent item frequencies of similar users."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from recsys.data.interactions import Interactions
from recsys.models._item_item.similarity import find_similar_users
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.config import AboveZero, Range, SearchSpace, Share
from recsys.models.next_basket.basket_model import BasketModel
from recsys.models.next_basket.baskets import Baskets, group_into_baskets
from recsys.models.user_knn import UserNeighborModel
from recsys.settings.types import Positive


@dataclass(frozen=True)
class UpCfConfig:
    """Window of baskets, similarity measure and number of neighbors."""

    neighbors: Positive = 300
    """Number of most similar users kept for each user."""
    recent_baskets: Positive = 25
    """Number of a user's latest baskets in which items are counted."""
    asymmetry: Share = 0.5
    """Power of the neighbor's number of items in the denominator of the similarity; 0.5 is the cosine."""
    locality: AboveZero = 3.0
    """Power of a similarity; larger values give less weight to less similar neighbors."""


class UpCf(UserNeighborModel, BasketModel):
    """UP-CF: a score is the sum over similar users of similarity ** locality x recent frequency of the item.

    Source: Faggioli, Polato, Aiolli, "Recency Aware Collaborative Filtering for Next Basket Recommendation" (UMAP
    2020). A basket is what a user bought on one day; the recent frequency is the share of the user's latest
    `recent_baskets` that hold the item. The similarity of a user with n distinct items to one with m is

        common items / (n ** (1 - asymmetry) m ** asymmetry)

    over the whole history. A user is the most similar one to itself, which is how repeats come in. One thing
    differs: only the `neighbors` most similar users count. Items without a score follow.
    """

    name = "up_cf"
    config_type = UpCfConfig
    search_space: ClassVar[SearchSpace] = {
        "asymmetry": Range(0.0, 1.0),
        "locality": Range(0.5, 10.0, logarithmic=True),
    }
    config: UpCfConfig

    def __init__(self, config: UpCfConfig = UpCfConfig()) -> None:
        super().__init__(config)

    def fit(self, interactions: Interactions) -> Self:
        """Count the items of recent baskets and find each user's neighbors."""
        return self.fit_baskets(group_into_baskets(purchase_days(interactions)))

    def fit_baskets(self, baskets: Baskets) -> Self:
        """Fit to baskets that were grouped already."""
        config = self.config
        in_window = np.minimum(baskets.counts, config.recent_baskets)[baskets.user_rows]
        frequencies = baskets.sum_entries((baskets.positions < config.recent_baskets) / in_window)
        sizes = np.diff(baskets.user_items.indptr)
        closest = find_similar_users(baskets.user_items, sizes, config.neighbors, config.asymmetry)
        closest.data **= np.float32(config.locality)
        return self.set_weights(closest, frequencies, baskets.item_share)
