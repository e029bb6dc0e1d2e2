"""Base class of models whose scores are a product of two sparse matrices learned from baskets."""

from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys.ids import Rows
from recsys.models._item_item.item_weight_model import fill_with_popularity, keep_positive
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, Model
from recsys.ranking.top_k import Exclusion, Scores, rank_entries


class BasketModel(Model):
    """Scores by the product of `user_weights` (users x n) and `item_weights` (n x items), n users or items.

    Items whose sum is not above 0 come after all others, scored by their share of the users less 1.
    """

    user_weights: csr_matrix
    item_weights: csr_matrix
    item_share: Scores

    def set_weights(self, user_weights: csr_matrix, item_weights: csr_matrix, item_share: Scores) -> Self:
        """Set what was fitted, in float32; raise `ModelError` when it is not finite."""
        check_finite(self.name, user_weights=user_weights.data, item_weights=item_weights.data)
        self.user_weights = csr_matrix(user_weights, dtype=np.float32)
        self.item_weights = csr_matrix(item_weights, dtype=np.float32)
        self.user_weights.sort_indices()
        self.item_weights.sort_indices()
        self.item_share = item_share
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Multiply the weights; other items score their share of users less 1."""
        return fill_with_popularity(self.entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, from the sums above 0 alone, then by the share of users."""
        return rank_entries(self.entries, self.item_share - 1, user_rows, n, exclude)

    def entries(self, user_rows: Rows) -> csr_matrix:
        """Compute the scores above 0, (len(user_rows), items)."""
        return keep_positive(self.user_weights[user_rows] @ self.item_weights)

    def save(self, directory: Path) -> None:
        """Write the weights and the share of users of every item."""
        arrays = sparse_arrays("user_weights", self.user_weights) | sparse_arrays("item_weights", self.item_weights)
        save_model(directory, self.name, self.config, arrays | {"item_share": self.item_share})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the weights and the share of users of every item."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        weights = sparse_matrix("user_weights", arrays), sparse_matrix("item_weights", arrays)
        return cls(config).set_weights(*weights, arrays["item_share"])
