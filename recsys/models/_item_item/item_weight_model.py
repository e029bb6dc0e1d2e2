"""Base class of models of item-item weights: a score is the sum of the weights of a user's items."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize
from recsys.ids import UNKNOWN, Rows
from recsys.models.artifacts import Array, check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, ItemModel
from recsys.models.work import row_work, sparse_work
from recsys.ranking.top_k import Exclusion, Scores, rank_entries, top_k_of_entries

Dense = NDArray[np.float32]


class ItemWeightModel(ItemModel):
    """Scores by the product of `user_items` (users x items) and `weights` (items x items).

    `user_items` is 1 for a positive interaction and -1 for an item that the user dislikes, whose neighbors score
    less. Row i of the weights is the contribution of a user's item i to the scores. The weights are a sparse
    matrix, or an array when most are not 0. Items whose sum is not above 0 come after all others, scored by their
    share of the users less 1.
    """

    weights: csr_matrix | Dense
    user_items: csr_matrix
    item_share: NDArray[np.float32]

    def set_weights(self, interactions: Interactions, weights: csr_matrix | Dense) -> Self:
        """Set the fitted weights and what scoring takes of the interactions; raise `ModelError` when not finite."""
        positives = interactions.positives
        check_finite(self.name, weights=weights if isinstance(weights, np.ndarray) else weights.data)
        if not isinstance(weights, np.ndarray):
            weights = csr_matrix(weights, dtype=np.float32)
            weights.sort_indices()
        self.weights = weights
        self.user_items = signed_items(interactions)
        item_users = np.bincount(positives.indices, minlength=positives.shape[1])
        self.item_share = (item_users / positives.shape[0]).astype(np.float32)
        return self

    def ranking_work(self, users: int, items: int, interactions: int) -> float:
        """Count the weights of the items of each user."""
        return row_work(users) + sparse_work(interactions * min(self.config.neighbors, items))

    def scores(self, user_rows: Rows) -> Scores:
        """Sum the weights of the items of each user; other items score their share of users less 1."""
        return fill_with_popularity(self._entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, from the sums above 0 alone, then by the share of users."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """Compute the scores above 0, (len(user_rows), items)."""
        return keep_positive(self.user_items[user_rows] @ self.weights)

    def similar(self, item_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank the neighbors of items by their weight; only weights above 0 count."""
        places = np.flatnonzero(item_rows != UNKNOWN)
        neighbors = self.neighbor_weights(item_rows[places]).tocoo()
        shown = (neighbors.col != item_rows[places][neighbors.row]) & (neighbors.data > 0)
        if exclude.items is not None:
            shown &= ~exclude.items[neighbors.col]
        entries = (places[neighbors.row[shown]], neighbors.col[shown], neighbors.data[shown])
        return top_k_of_entries(*entries, len(item_rows), n)

    def neighbor_weights(self, item_rows: Rows) -> csr_matrix:
        """Return the weights that rank similar items, (len(item_rows), items)."""
        return csr_matrix(self.weights[item_rows])

    def arrays(self) -> dict[str, Array]:
        """Return the weights, the items of every user and the share of users of every item, by name."""
        weights = self.weights
        arrays: dict[str, Array] = (
            {"weights": weights} if isinstance(weights, np.ndarray) else sparse_arrays("weights", weights)
        )
        return arrays | sparse_arrays("user_items", self.user_items) | {"item_share": self.item_share}

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        """Set what `arrays` returned."""
        self.weights = arrays["weights"] if "weights" in arrays else sparse_matrix("weights", arrays)
        self.user_items = sparse_matrix("user_items", arrays)
        self.item_share = arrays["item_share"]

    def save(self, directory: Path) -> None:
        """Write `arrays`."""
        save_model(directory, self.name, self.config, self.arrays())

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read `arrays`."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.set_arrays(arrays)
        return model


def signed_items(interactions: Interactions) -> csr_matrix:
    """Return 1 for positive interactions and -1 for disliked items, (users, items), float32."""
    items = csr_matrix(binarize(interactions.positives), dtype=np.float32)
    if interactions.is_disliked.any():
        items = csr_matrix(items - binarize(interactions.disliked), dtype=np.float32)
        items.sort_indices()
    return items


def keep_positive(sums: csr_matrix | Dense) -> csr_matrix:
    """Return the entries above 0 as a sparse matrix; a sparse argument may be changed in place."""
    if isinstance(sums, np.ndarray):
        return csr_matrix(np.maximum(sums, 0), dtype=np.float32)
    sums = csr_matrix(sums, dtype=np.float32)
    if not (sums.data > 0).all():
        sums.data[sums.data < 0] = 0
        sums.eliminate_zeros()
    return sums


def fill_with_popularity(entries: csr_matrix, item_share: NDArray[np.float32]) -> Scores:
    """Return entries above 0 as scores of every item, and the share of users less 1 for all other items."""
    scores = entries.toarray()
    np.copyto(scores, item_share - 1, where=scores <= 0)
    return scores
