"""User neighbours: what users who want the same items want, found by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import once_each, scaled
from recsys.ids import Rows
from recsys.models._item_item.item_weights import above_zero, over_share
from recsys.models._item_item.neighbors import closest_columns
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NOTHING, Model
from recsys.models.config import AboveZero, Share, ZeroOrMore
from recsys.ranking.top_k import Exclude, Scores, rank_entries
from recsys.settings.types import Positive


@dataclass(frozen=True)
class UserKnnConfig:
    """What makes users neighbours, and how many count."""

    neighbors: Positive = 200
    """Most similar users kept for each user."""
    asymmetry: Share = 0.5
    """Power of the neighbour's number of items that a likeness is divided by; 0.5 is the cosine."""
    shrinkage: ZeroOrMore = 5.0
    """Items added to each user's own, so that few shared items make no likeness."""
    item_exponent: ZeroOrMore = 0.5
    """A shared item counts 1 / (its users) ** item_exponent; 0 counts all alike."""
    locality: AboveZero = 2.0
    """Power of a likeness; the more, the less the less similar neighbours count."""


class UserKnn(Model):
    """A user's score for an item is the sum over neighbours who want it of likeness ** locality.

    Aiolli, "Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets" (RecSys 2013), for users:
    the likeness of a user with n items to a neighbour with m is the number of items they share, over (n +
    shrinkage) ** (1 - asymmetry) (m + shrinkage) ** asymmetry. Three things differ: the shrinkage, that only the
    `neighbors` most similar users count, and that a shared item counts less the more users it has. A user is
    among the own neighbours, so that repeats rank high where they are allowed. Items that no neighbour wants come
    after all others, scored by their share of the users less 1.
    """

    def __init__(self, config: UserKnnConfig = UserKnnConfig()) -> None:
        self.config = config

    def fit(self, interactions: Interactions) -> Self:
        """Find each user's neighbours."""
        config, once = self.config, once_each(interactions.wanted)
        users, items = once.shape
        item_users = np.bincount(once.indices, minlength=items)
        lengths = np.maximum(np.diff(once.indptr) + config.shrinkage, 1) ** config.asymmetry
        shared = scaled(once, 1 / lengths, np.maximum(item_users, 1.0) ** (-config.item_exponent / 2))
        # What a user's row is multiplied by does not change who is closest: a symmetric product finds them.
        closest = closest_columns(csr_matrix(shared.T), config.neighbors)
        own = lengths / np.maximum(np.diff(once.indptr) + config.shrinkage, 1) ** (1 - config.asymmetry)
        self.closest = csr_matrix(scaled(closest, own, np.ones(users)), dtype=np.float32)
        self.closest.data **= np.float32(config.locality)
        self.closest.sort_indices()
        self.user_items = csr_matrix(once, dtype=np.float32)
        self.item_share = (item_users / users).astype(np.float32)
        check_finite("user_knn", likeness=self.closest.data)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Sums of the likeness of neighbours, below them the share of users less 1."""
        return over_share(self._entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """`Model.recommend` from the items of the neighbours, and the others by their share."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """The scores above 0, users x items."""
        return above_zero(self.closest[user_rows] @ self.user_items)

    def save(self, directory: Path) -> None:
        """Write the neighbours, the items of every user and the share of users of every item."""
        arrays = sparse_arrays("closest", self.closest) | sparse_arrays("user_items", self.user_items)
        save_model(directory, "user_knn", self.config, arrays | {"item_share": self.item_share})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the neighbours, the items of every user and the share of users of every item."""
        config, arrays = load_model(directory, "user_knn", UserKnnConfig)
        model = cls(config)
        model.closest = sparse_matrix("closest", arrays)
        model.user_items, model.item_share = sparse_matrix("user_items", arrays), arrays["item_share"]
        return model
