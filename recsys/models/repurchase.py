"""Repurchase: expected repeat purchases, by frequency, recency and purchase cycle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.ids import Rows
from recsys.models._purchases.purchase_days import PurchaseDays, purchase_days
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, Model
from recsys.models.config import AboveZero, ZeroOrMore
from recsys.models.work import row_work, sort_work
from recsys.ranking.top_k import Exclusion, Scores, rank_entries


@dataclass(frozen=True)
class RepurchaseConfig:
    """Decay of past purchases and strength of the prior."""

    half_life_days: AboveZero = 90.0
    """Age in days at which a purchase of an item with the mean cycle counts half."""
    prior_users: ZeroOrMore = 2.5
    """Number of average users whose purchases are added to each user's own."""
    prior_gaps: AboveZero = 5.0
    """Number of mean gaps added to each item's own when its cycle is estimated."""


class Repurchase(Model):
    """Expected repurchases: personal frequency x recency x the item's purchase cycle, over a popularity prior.

    Purchases are the events of the largest weight, counted once a day. An item's cycle is the mean number of days
    between purchases of it by the same user, with `prior_gaps` mean gaps added. With s = sqrt(cycle / mean cycle),
    a purchase of age a adds

        0.5 ** (a / (half-life x s)) / s

    so an item with a short cycle is due again soon and forgotten soon. The prior adds `prior_users` times the
    average user's sum, of which no user contributes more than 1, as in a gamma-Poisson model; it also ranks items
    that the user never bought. A refund cancels the user's latest purchase of the item before it.
    """

    name = "repurchase"
    config_type = RepurchaseConfig
    config: RepurchaseConfig

    def __init__(self, config: RepurchaseConfig = RepurchaseConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the sorted purchases, more than one for each pair."""
        return sort_work(4.0 * interactions)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the users, as most items have the same score for all."""
        return row_work(users) + sort_work(interactions)

    def fit(self, interactions: Interactions) -> Self:
        """Estimate cycles, and every user's rates."""
        return self.fit_purchases(purchase_days(interactions))

    def fit_purchases(self, purchases: PurchaseDays) -> Self:
        """Fit to purchases that were extracted already."""
        (users, items), pairs, ages = purchases.shape, purchases.pairs, purchases.ages
        pair, first_of_pair, counts = np.unique(pairs, return_index=True, return_counts=True)
        item_rows = (pair % items).astype(np.int32)
        spans = ages[first_of_pair] - ages[first_of_pair + counts - 1]
        stretch = np.sqrt(self._relative_cycle(item_rows, spans, counts - 1, items))
        event_stretch = np.repeat(stretch[item_rows], counts)
        decayed = 0.5 ** (ages / (self.config.half_life_days * event_stretch)) / event_stretch
        rates = np.bincount(np.repeat(np.arange(len(pair)), counts), decayed, len(pair))
        self.rates = csr_matrix(
            (rates.astype(np.float32), ((pair // items).astype(np.int32), item_rows)), shape=(users, items)
        )
        total = np.bincount(item_rows, np.minimum(rates, 1), items)
        self.prior = (self.config.prior_users * total / users).astype(np.float32)
        check_finite(self.name, rates=self.rates.data, prior=self.prior)
        return self

    def _relative_cycle(
        self, item_rows: Rows, spans: NDArray[np.floating], gaps: NDArray[np.integer], items: int
    ) -> NDArray[np.float64]:
        """Estimate each item's cycle relative to the mean cycle, (items,); 1 when nothing was bought twice."""
        days, number = np.bincount(item_rows, spans, items), np.bincount(item_rows, gaps, items)
        if number.sum() == 0:
            return np.ones(items)
        mean = days.sum() / number.sum()
        prior = self.config.prior_gaps
        return (days + prior * mean) / (number + prior) / mean

    def scores(self, user_rows: Rows) -> Scores:
        """Add each user's rates to the prior."""
        scores = self.rates[user_rows].toarray()
        scores += self.prior
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, from what the user bought, and other items by the prior."""
        return rank_entries(self._entries, self.prior, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """Compute the scores of the items that each user bought, (len(user_rows), items)."""
        rates = csr_matrix(self.rates[user_rows])
        rates.data += self.prior[rates.indices]
        return rates

    def save(self, directory: Path) -> None:
        """Write the rates and the prior."""
        arrays = sparse_arrays("rates", self.rates) | {"prior": self.prior}
        save_model(directory, self.name, self.config, arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the rates and the prior."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.rates, model.prior = sparse_matrix("rates", arrays), arrays["prior"]
        return model
