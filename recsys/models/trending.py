"""Trending: the same ranking for everyone, by the growth of an item's event rate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.trust import one_event_per_day, trusted_item_counts
from recsys.growth import PRIOR_EVENTS, RECENT_DAYS, USUAL_DAYS, trend
from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, load_model, save_model
from recsys.models.base import NO_EXCLUSION, Model
from recsys.models.config import AboveZero
from recsys.models.work import row_work, sort_work
from recsys.ranking.top_k import Exclusion, Scores, rank_entries


@dataclass(frozen=True)
class TrendingConfig:
    """Half-lives of the two rates that are compared, and their smoothing."""

    recent_days: AboveZero = RECENT_DAYS
    """Half-life of the recent rate, in days."""
    usual_days: AboveZero = USUAL_DAYS
    """Half-life of the usual rate, in days."""
    prior_events: AboveZero = PRIOR_EVENTS
    """Events added to both rates, so that a handful of events does not make a trend."""


class Trending(Model):
    """Trending items: the growth of an item's event rate less one standard error, on a log scale.

    `recent` and `usual` are sums of 0.5 ** (age / half-life) over the item's events of positive weight, the latest
    of each user and day, limited by trust (`recsys.data.trust`). The expected value of `recent` is `usual` times
    the ratio of the two over the whole shop, so that a busy week is not a trend. The score is the trend of
    `recsys.growth`.
    """

    name = "trending"
    config_type = TrendingConfig
    config: TrendingConfig

    def __init__(self, config: TrendingConfig = TrendingConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the events of each item and day."""
        return sort_work(2.0 * interactions)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the users, as most items have the same score for all."""
        return row_work(users)

    def fit(self, interactions: Interactions) -> Self:
        """Compute and compare the two decayed sums of every item."""
        config = self.config
        latest = _latest_by_day(interactions)
        items, trust = interactions.item_rows[latest], interactions.trust[interactions.user_rows[latest]]
        recent, usual = (
            trusted_item_counts(
                items, 0.5 ** (interactions.age_days[latest] / half_life), trust, interactions.shape[1]
            )
            for half_life in (config.recent_days, config.usual_days)
        )
        return self.fit_rates(recent, usual)

    def fit_rates(self, recent: Array, usual: Array) -> Self:
        """Compare two decayed sums of every item that were computed elsewhere, both (items,)."""
        config = self.config
        recent_share = float(recent.sum() / max(usual.sum(), np.finfo(np.float64).tiny))
        result = trend(pl.Series(recent), pl.Series(usual), recent_share, config.prior_events)
        self.item_trend = result.to_numpy().astype(np.float32)
        check_finite(self.name, scores=self.item_trend)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Repeat the same row for every user."""
        return np.tile(self.item_trend, (len(user_rows), 1))

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, without a score for every user."""
        return rank_entries(None, self.item_trend, user_rows, n, exclude)

    def save(self, directory: Path) -> None:
        """Write the trend of the items."""
        save_model(directory, self.name, self.config, {"item_trend": self.item_trend})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the trend of the items."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.item_trend = arrays["item_trend"]
        return model


def _latest_by_day(interactions: Interactions) -> NDArray[np.intp]:
    """Select the events that count: of positive weight, and the latest of each user, item and day."""
    positive = np.flatnonzero(interactions.weights > 0)
    users, items = interactions.user_rows[positive], interactions.item_rows[positive]
    return positive[one_event_per_day(users, items, interactions.age_days[positive])]
