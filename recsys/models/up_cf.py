"""UP-CF: the recent item frequencies of similar users."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.ids import Rows
from recsys.models._item_item.item_weight_model import fill_with_popularity, keep_positive
from recsys.models._item_item.similarity import find_similar_users
from recsys.models._purchases.baskets import group_into_baskets
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, Model
from recsys.models.config import AboveZero, Range, SearchSpace, Share
from recsys.ranking.top_k import Exclusion, Scores, rank_entries
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


class UpCf(Model):
    """UP-CF: a score is the sum over similar users of similarity ** locality x recent frequency of the item.

    Source: Faggioli, Polato, Aiolli, "Recency Aware Collaborative Filtering for Next Basket Recommendation" (UMAP
    2020). A basket is what a user bought on one day; the recent frequency is the share of the user's latest
    `recent_baskets` that hold the item. The similarity of a user with n distinct items to one with m is

        common items / (n ** (1 - asymmetry) m ** asymmetry)

    over the whole history. A user is the most similar one to itself, which is how repeats come in. One thing
    differs: only the `neighbors` most similar users count. Items without a score come after all others, scored by
    their share of the users less 1.
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
        config, baskets = self.config, group_into_baskets(purchase_days(interactions))
        in_window = np.minimum(baskets.counts, config.recent_baskets)[baskets.user_rows]
        self.frequencies = baskets.sum_entries((baskets.positions < config.recent_baskets) / in_window)
        sizes = np.diff(baskets.user_items.indptr)
        self.closest = find_similar_users(baskets.user_items, sizes, config.neighbors, config.asymmetry)
        self.closest.data **= np.float32(config.locality)
        self.item_share = baskets.item_share
        check_finite(self.name, similarity=self.closest.data, frequencies=self.frequencies.data)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Sum the frequencies of neighbors; other items score their share of users less 1."""
        return fill_with_popularity(self._entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, from the items of neighbors alone, then by the share of users."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """Compute the scores above 0, (len(user_rows), items)."""
        return keep_positive(self.closest[user_rows] @ self.frequencies)

    def save(self, directory: Path) -> None:
        """Write the neighbors, the frequencies and the share of users of every item."""
        arrays = sparse_arrays("closest", self.closest) | sparse_arrays("frequencies", self.frequencies)
        save_model(directory, self.name, self.config, arrays | {"item_share": self.item_share})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the neighbors, the frequencies and the share of users of every item."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.closest = sparse_matrix("closest", arrays)
        model.frequencies, model.item_share = sparse_matrix("frequencies", arrays), arrays["item_share"]
        return model
