"""Trending: what is wanted more than it used to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.trust import one_event_per_day, trusted_item_counts
from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, load_model, save_model
from recsys.models.base import NOTHING, Model
from recsys.models.config import AboveZero
from recsys.ranking.top_k import Exclude, Scores, rank_entries


@dataclass(frozen=True)
class TrendingConfig:
    """What counts as now, and as before."""

    recent_days: AboveZero = 7.0
    """Half-life of the recent rate."""
    usual_days: AboveZero = 60.0
    """Half-life of the usual rate."""
    prior_events: AboveZero = 10.0
    """Events added to both rates, so that a handful of events is no trend."""


class Trending(Model):
    """An item's score is the growth of its event rate less one standard error, on a log scale.

    `recent` and `usual` are sums of 0.5 ** (age / half-life) over the item's events of positive weight, the latest
    of each user and day, as far as known users back them (`recsys.data.trust`). What is expected of `recent` is
    `usual` times the shop's own ratio of the two, so that a busy week is no trend. The score is
    log((recent + prior) / (expected + prior)) - 1 / sqrt(recent + prior), the second term being the standard error
    of the logarithm of a Poisson count.
    """

    def __init__(self, config: TrendingConfig = TrendingConfig()) -> None:
        self.config = config

    def fit(self, interactions: Interactions) -> Self:
        """Compare the decayed sums of every item."""
        config = self.config
        latest = _latest_of_days(interactions)
        items, trust = interactions.item_rows[latest], interactions.trust[interactions.user_rows[latest]]
        recent, usual = (
            trusted_item_counts(
                items, 0.5 ** (interactions.age_days[latest] / half_life), trust, interactions.shape[1]
            )
            for half_life in (config.recent_days, config.usual_days)
        )
        return self.fit_rates(recent, usual)

    def fit_rates(self, recent: Array, usual: Array) -> Self:
        """Compare the two decayed sums of every item, where they are known already, (items,) both."""
        config = self.config
        expected = usual * recent.sum() / max(usual.sum(), np.finfo(np.float64).tiny)
        growth = np.log((recent + config.prior_events) / (expected + config.prior_events))
        error = 1 / np.sqrt(recent + config.prior_events)
        self.item_trend = (growth - error).astype(np.float32)
        check_finite("trending", scores=self.item_trend)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """The same row for every user."""
        return np.tile(self.item_trend, (len(user_rows), 1))

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """`Model.recommend` without a score for every user."""
        return rank_entries(None, self.item_trend, user_rows, n, exclude)

    def save(self, directory: Path) -> None:
        """Write the trend of the items."""
        save_model(directory, "trending", self.config, {"item_trend": self.item_trend})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the trend of the items."""
        config, arrays = load_model(directory, "trending", TrendingConfig)
        model = cls(config)
        model.item_trend = arrays["item_trend"]
        return model


def _latest_of_days(interactions: Interactions) -> NDArray[np.intp]:
    """The events that count: of positive weight, and of each user, item and day the latest."""
    positive = np.flatnonzero(interactions.weights > 0)
    users, items = interactions.user_rows[positive], interactions.item_rows[positive]
    return positive[one_event_per_day(users, items, interactions.age_days[positive])]
