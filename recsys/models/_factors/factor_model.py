"""What models of user and item factors share: a score is a dot product, likeness is the cosine."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, save_model
from recsys.models.base import NOTHING, ItemModel
from recsys.ranking.factors import FactorIndex, lengths_of, rank_factors
from recsys.ranking.top_k import Exclude, Scores

Factors = NDArray[np.float32]


class FactorModel(ItemModel):
    """Scores by the dot product of `user_factors` (users x factors) and `item_factors` (items x factors).

    `item_bias` (items,) is added. A user of whom the fit learned nothing, all zeros, has no list: the caller falls
    back as for an unknown one.
    """

    name: str
    config: Any
    user_factors: Factors
    item_factors: Factors
    item_bias: Factors

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002
        """The factors, as they are learned and as they are ranked by."""
        return 12 * self.config.factors * (users + items)

    def scores(self, user_rows: Rows) -> Scores:
        """Dot products with every item, and the item's bias."""
        vectors = self.user_factors[user_rows]
        scores = vectors @ self.item_factors.T
        scores += self.item_bias
        scores[~vectors.any(axis=1)] = -np.inf
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """`Model.recommend` without a score for every item."""
        return rank_factors(self.user_factors, self._index, user_rows, n, exclude, self.config.device)

    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Items by the cosine of their factors, the bias left out.

        An item of which the fit learned nothing, all zeros, has none.
        """
        lengths = lengths_of(self.item_factors)
        directions = (self.item_factors / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
        index = FactorIndex.of(directions, np.zeros_like(self.item_bias), 1)
        items = len(directions)
        itself = csr_matrix((np.ones(items), np.arange(items), np.arange(items + 1)), shape=(items, items))
        return rank_factors(directions, index, item_rows, n, Exclude(itself, exclude.items), self.config.device)

    def save(self, directory: Path) -> None:
        """Write the factors."""
        arrays: dict[str, Array] = {
            "user_factors": self.user_factors,
            "item_factors": self.item_factors,
            "item_bias": self.item_bias,
        }
        save_model(directory, self.name, self.config, arrays)

    def take(self, arrays: dict[str, Array]) -> None:
        """Take the fitted arrays over; raises `ModelError` when they are not finite."""
        check_finite(self.name, **arrays)
        self.user_factors, self.item_factors = arrays["user_factors"], arrays["item_factors"]
        self.item_bias = arrays["item_bias"]
        self._index = FactorIndex.of(self.item_factors, self.item_bias, float(lengths_of(self.user_factors).mean()))
