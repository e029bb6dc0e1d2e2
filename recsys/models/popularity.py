"""Popularity: what most people want, the same for everyone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recsys.data.interactions import Interactions
from recsys.data.trust import trusted_item_counts
from recsys.ids import Rows
from recsys.models.artifacts import check_finite, load_model, save_model
from recsys.models.base import NOTHING, Model
from recsys.models.config import ZeroOrMore
from recsys.ranking.top_k import Exclude, Scores, rank_entries


@dataclass(frozen=True)
class PopularityConfig:
    """How much one user can add to an item's popularity."""

    saturation: ZeroOrMore = 5.0
    """Confidence at which a user's say is half of its most; small values count heads, large ones events."""


class Popularity(Model):
    """An item's score is the sum over users of confidence / (confidence + saturation), as far as it is backed.

    `recsys.data.trust` says how far known users have to stand behind what new ones want.
    """

    def __init__(self, config: PopularityConfig = PopularityConfig()) -> None:
        self.config = config

    def fit(self, interactions: Interactions) -> Self:
        """Add up what each user says of each item."""
        wanted = interactions.wanted
        say = wanted.data / (wanted.data + self.config.saturation)
        trust = np.repeat(interactions.trust, np.diff(wanted.indptr))
        self.item_popularity = trusted_item_counts(wanted.indices, say, trust, wanted.shape[1]).astype(np.float32)
        check_finite("popularity", scores=self.item_popularity)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """The same row for every user."""
        return np.tile(self.item_popularity, (len(user_rows), 1))

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """`Model.recommend` without a score for every user."""
        return rank_entries(None, self.item_popularity, user_rows, n, exclude)

    def save(self, directory: Path) -> None:
        """Write the popularity of the items."""
        save_model(directory, "popularity", self.config, {"item_popularity": self.item_popularity})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the popularity of the items."""
        config, arrays = load_model(directory, "popularity", PopularityConfig)
        model = cls(config)
        model.item_popularity = arrays["item_popularity"]
        return model
