"""User-based nearest neighbors, found by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize, scale
from recsys.ids import Rows
from recsys.models._item_item.item_weight_model import fill_with_popularity, keep_positive
from recsys.models._item_item.similarity import find_similar_users
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, Model
from recsys.models.config import AboveZero, Share, ZeroOrMore
from recsys.models.work import common_pairs, row_work, sparse_work
from recsys.ranking.top_k import Exclusion, Scores, rank_entries
from recsys.settings.types import Positive

POPULAR_ITEMS = 4  # pairs of users of one item, relative to those of one item of users of uneven length


@dataclass(frozen=True)
class UserKnnConfig:
    """Similarity measure and number of neighbors."""

    neighbors: Positive = 200
    """Number of most similar users kept for each user."""
    asymmetry: Share = 0.5
    """Power of the neighbor's number of items in the denominator of the similarity; 0.5 is the cosine."""
    shrinkage: ZeroOrMore = 5.0
    """Items added to each user's own, so that few common items do not make users similar."""
    item_exponent: ZeroOrMore = 0.5
    """A common item counts 1 / (item's users) ** item_exponent; with 0 all items count the same."""
    locality: AboveZero = 2.0
    """Power of a similarity; larger values give less weight to less similar neighbors."""


class UserNeighborModel(Model):
    """A model that finds each user's `config.neighbors` nearest users among those with common items."""

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the pairs of users of each item, whose numbers of users are uneven."""
        return sparse_work(POPULAR_ITEMS * common_pairs(items, interactions))

    def ranking_work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the items of each user's neighbors."""
        return row_work(users) + sparse_work(float(interactions) * self.config.neighbors)


class UserKnn(UserNeighborModel):
    """User-based nearest neighbors: a score is the sum of similarity ** locality over neighbors with the item.

    Source: Aiolli, "Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets" (RecSys 2013), for
    users: the similarity of a user with n items to a neighbor with m is

        common items / ((n + shrinkage) ** (1 - asymmetry) (m + shrinkage) ** asymmetry)

    Three things differ: the shrinkage, that only the `neighbors` most similar users count, and that a common item
    counts less the more users it has. A user is among its own neighbors, so that repeats rank high where they are
    allowed. Items that no neighbor has come after all others, scored by their share of the users less 1.
    """

    name = "user_knn"
    config_type = UserKnnConfig
    config: UserKnnConfig

    def __init__(self, config: UserKnnConfig = UserKnnConfig()) -> None:
        super().__init__(config)

    def fit(self, interactions: Interactions) -> Self:
        """Find each user's neighbors."""
        config, binary = self.config, binarize(interactions.positives)
        users, items = binary.shape
        item_users = np.bincount(binary.indices, minlength=items)
        sizes = np.diff(binary.indptr) + config.shrinkage
        # The product of two users' rows has both powers.
        weighted = scale(binary, np.ones(users), np.maximum(item_users, 1.0) ** (-config.item_exponent / 2))
        self.closest = find_similar_users(weighted, sizes, config.neighbors, config.asymmetry)
        self.closest.data **= np.float32(config.locality)
        self.user_items = csr_matrix(binary, dtype=np.float32)
        self.item_share = (item_users / users).astype(np.float32)
        check_finite(self.name, similarity=self.closest.data)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Sum the similarities of neighbors; other items score their share of users less 1."""
        return fill_with_popularity(self._entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, from the items of neighbors alone, then by the share of users."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """Compute the scores above 0, (len(user_rows), items)."""
        return keep_positive(self.closest[user_rows] @ self.user_items)

    def save(self, directory: Path) -> None:
        """Write the neighbors, the items of every user and the share of users of every item."""
        arrays = sparse_arrays("closest", self.closest) | sparse_arrays("user_items", self.user_items)
        save_model(directory, self.name, self.config, arrays | {"item_share": self.item_share})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the neighbors, the items of every user and the share of users of every item."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.closest = sparse_matrix("closest", arrays)
        model.user_items, model.item_share = sparse_matrix("user_items", arrays), arrays["item_share"]
        return model
