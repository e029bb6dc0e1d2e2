"""Popularity: the same ranking for everyone, by the number of users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.trust import trusted_item_counts
from recsys.ids import Rows
from recsys.models.artifacts import check_finite, load_model, save_model
from recsys.models.base import NO_EXCLUSION, Model
from recsys.models.config import ZeroOrMore
from recsys.models.work import row_work, sort_work
from recsys.ranking.top_k import Exclusion, Scores, rank_entries


@dataclass(frozen=True)
class PopularityConfig:
    """Contribution of one user to an item's popularity."""

    saturation: ZeroOrMore = 5.0
    """Confidence at which a user contributes 1/2; small values count users, large values count events."""


def recent_popularity(interactions: Interactions, days: float, saturation: float) -> Scores:
    """Compute the popularity of items, (items,), by their events of the last days alone, all of equal weight.

    A user with the sum c of positive weights of an item's events contributes c / (c + saturation), limited by trust
    as in `Popularity`.
    """
    is_recent = (interactions.age_days <= days) & (interactions.weights > 0)
    shape, weights = interactions.user_items.shape, interactions.weights[is_recent].astype(np.float64)
    events = (weights, (interactions.user_rows[is_recent], interactions.item_rows[is_recent]))
    return _popularity(csr_matrix(events, shape), interactions, saturation)


def _popularity(user_items: csr_matrix, interactions: Interactions, saturation: float) -> Scores:
    """Sum the contributions of users to each item, (items,), from positive entries (users, items)."""
    contributions = user_items.data / (user_items.data + saturation)
    trust = np.repeat(interactions.trust, np.diff(user_items.indptr))
    return trusted_item_counts(user_items.indices, contributions, trust, user_items.shape[1]).astype(np.float32)


class Popularity(Model):
    """Popularity: the sum over an item's users of confidence / (confidence + saturation), limited by trust.

    `recsys.data.trust` limits what new users can add to an item that established users do not want.
    """

    name = "popularity"
    config_type = PopularityConfig
    config: PopularityConfig

    def __init__(self, config: PopularityConfig = PopularityConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the contributions of users."""
        return sort_work(0.3 * interactions)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the users, as most items have the same score for all."""
        return row_work(users)

    def fit(self, interactions: Interactions) -> Self:
        """Sum the contributions of users to each item."""
        self.item_popularity = _popularity(interactions.positives, interactions, self.config.saturation)
        check_finite(self.name, scores=self.item_popularity)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Repeat the same row for every user."""
        return np.tile(self.item_popularity, (len(user_rows), 1))

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, without a score for every user."""
        return rank_entries(None, self.item_popularity, user_rows, n, exclude)

    def save(self, directory: Path) -> None:
        """Write the popularity of the items."""
        save_model(directory, self.name, self.config, {"item_popularity": self.item_popularity})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the popularity of the items."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.item_popularity = arrays["item_popularity"]
        return model
