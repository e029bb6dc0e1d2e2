"""Base class of models of user and item factors: scores are dot products, item similarity is the cosine."""

from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, load_model, save_model
from recsys.models.base import NO_EXCLUSION, ItemModel
from recsys.models.work import dense_work, row_work, vector_work
from recsys.ranking.factor_index import FactorIndex, Factors, row_norms
from recsys.ranking.factors import rank_factors
from recsys.ranking.top_k import Exclusion, Scores


class FactorModel(ItemModel):
    """Scores by the dot product of `user_factors` (users x factors) and `item_factors` (items x factors).

    `item_bias` (items,) is added. A user about whom the fit learned nothing, a row of zeros, has no list: the
    caller falls back as for an unknown user.
    """

    user_factors: Factors
    item_factors: Factors
    item_bias: Factors

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002 (an interface)
        """Count the factors during training and the copies in the index."""
        return 12 * self.config.factors * (users + items)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the dot products of users and items."""
        pairs = float(users) * items
        return row_work(users) + dense_work(pairs * self._size()) + vector_work(pairs)

    def _size(self) -> int:
        """Return the length of the vectors."""
        return self.config.factors

    def scores(self, user_rows: Rows) -> Scores:
        """Compute dot products with every item, plus the item's bias."""
        vectors = self.user_factors[user_rows]
        scores = vectors @ self.item_factors.T
        scores += self.item_bias
        scores[~vectors.any(axis=1)] = -np.inf
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, without scoring every item."""
        return rank_factors(self.user_factors, self._index, user_rows, n, exclude, self.config.device)

    def similar(self, item_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank items by the cosine of their factors, without the bias.

        An item about which the fit learned nothing, a row of zeros, has no similar items.
        """
        norms = row_norms(self.item_factors)
        directions = (self.item_factors / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
        index = FactorIndex.build(directions, np.zeros_like(self.item_bias), 1)
        items = len(directions)
        itself = csr_matrix((np.ones(items), np.arange(items), np.arange(items + 1)), shape=(items, items))
        return rank_factors(directions, index, item_rows, n, Exclusion(itself, exclude.items), self.config.device)

    def save(self, directory: Path) -> None:
        """Write the factors and the bias."""
        arrays: dict[str, Array] = {
            "user_factors": self.user_factors,
            "item_factors": self.item_factors,
            "item_bias": self.item_bias,
        }
        save_model(directory, self.name, self.config, arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the factors and the bias."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.set_factors(arrays["user_factors"], arrays["item_factors"], arrays["item_bias"])
        return model

    def set_factors(self, user_factors: Factors, item_factors: Factors, item_bias: Factors) -> None:
        """Set the fitted arrays and index the items; raise `ModelError` when an array is not finite."""
        check_finite(self.name, user_factors=user_factors, item_factors=item_factors, item_bias=item_bias)
        self.user_factors, self.item_factors, self.item_bias = user_factors, item_factors, item_bias
        self._index = FactorIndex.build(item_factors, item_bias, float(row_norms(user_factors).mean()))
