"""What models of item-item weights share: an item's score is the sum of what the user's items say of it."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import once_each
from recsys.ids import UNKNOWN, Rows
from recsys.models.artifacts import Array, check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NOTHING, ItemModel
from recsys.ranking.top_k import Exclude, Scores, rank_entries, top_k_of_entries

Dense = NDArray[np.float32]


class ItemWeightModel(ItemModel):
    """Scores by `user_items` (users x items, ones) times `weights` (items x items, a row what an item says).

    The weights are sparse, or an array where most are not 0.
    Items of which the user's say nothing good, a sum that is not above 0, come after all others, scored by their
    share of the users less 1.
    """

    name: str
    config: Any
    config_type: type[Any]
    weights: csr_matrix | Dense
    user_items: csr_matrix
    item_share: NDArray[np.float32]

    def __init__(self, config: Any) -> None:
        self.config = config

    def take(self, interactions: Interactions, weights: csr_matrix | Dense) -> Self:
        """Take the fitted weights over; raises `ModelError` when they are not finite."""
        wanted = interactions.wanted
        check_finite(self.name, weights=weights if isinstance(weights, np.ndarray) else weights.data)
        if not isinstance(weights, np.ndarray):
            weights = csr_matrix(weights, dtype=np.float32)
            weights.sort_indices()
        self.weights = weights
        self.user_items = csr_matrix(once_each(wanted), dtype=np.float32)
        item_users = np.bincount(wanted.indices, minlength=wanted.shape[1])
        self.item_share = (item_users / wanted.shape[0]).astype(np.float32)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Sums of what the items of each user say, below them the share of users less 1."""
        return over_share(self._entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """`Model.recommend` from what the user's items speak for, and the others by their share."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """The scores above 0, users x items."""
        return above_zero(self.user_items[user_rows] @ self.weights)

    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """The items that an item's neighbours are, by their weight; none of weight 0 or less."""
        known = np.flatnonzero(item_rows != UNKNOWN)
        neighbors = self.neighbors_of(item_rows[known]).tocoo()
        shown = (neighbors.col != item_rows[known][neighbors.row]) & (neighbors.data > 0)
        if exclude.items is not None:
            shown &= ~exclude.items[neighbors.col]
        entries = (known[neighbors.row[shown]], neighbors.col[shown], neighbors.data[shown])
        return top_k_of_entries(*entries, len(item_rows), n)

    def neighbors_of(self, item_rows: Rows) -> csr_matrix:
        """The weights by which items are alike, (len(item_rows), items)."""
        return csr_matrix(self.weights[item_rows])

    def save(self, directory: Path) -> None:
        """Write the weights, the items of every user and the share of users of every item."""
        found = self.weights
        arrays: dict[str, Array] = (
            {"weights": found} if isinstance(found, np.ndarray) else sparse_arrays("weights", found)
        )
        arrays |= sparse_arrays("user_items", self.user_items) | {"item_share": self.item_share}
        save_model(directory, self.name, self.config, arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the weights, the items of every user and the share of users of every item."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.weights = arrays["weights"] if "weights" in arrays else sparse_matrix("weights", arrays)
        model.user_items = sparse_matrix("user_items", arrays)
        model.item_share = arrays["item_share"]
        return model


def above_zero(sums: csr_matrix | Dense) -> csr_matrix:
    """The entries above 0; a sparse matrix may change in place."""
    if isinstance(sums, np.ndarray):
        return csr_matrix(np.maximum(sums, 0), dtype=np.float32)
    sums = csr_matrix(sums, dtype=np.float32)
    if not (sums.data > 0).all():
        sums.data[sums.data < 0] = 0
        sums.eliminate_zeros()
    return sums


def over_share(entries: csr_matrix, item_share: NDArray[np.float32]) -> Scores:
    """Entries above 0 as scores for every item, below them the share of users less 1."""
    scores = entries.toarray()
    np.copyto(scores, item_share - 1, where=scores <= 0)
    return scores
