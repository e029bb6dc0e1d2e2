"""What models of user and item factors share: a score is a dot product, likeness is the cosine."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, save_model
from recsys.models.base import NOTHING, ItemModel
from recsys.models.top_k import Exclude, Scores, rank_blocks

Factors = NDArray[np.float32]


class FactorModel(ItemModel):
    """Scores by the dot product of `user_factors` (users x factors) and `item_factors` (items x factors)."""

    name: str
    config: Any
    user_factors: Factors
    item_factors: Factors

    def scores(self, user_rows: Rows) -> Scores:
        """Dot products with every item."""
        return self.user_factors[user_rows] @ self.item_factors.T

    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Items by the cosine of their factors."""
        return rank_blocks(self._cosines, item_rows, n, Exclude(items=exclude.items))

    def _cosines(self, item_rows: Rows) -> Scores:
        scores = self._directions[item_rows] @ self._directions.T
        scores[np.arange(len(item_rows)), item_rows] = -np.inf
        return scores

    @cached_property
    def _directions(self) -> Factors:
        lengths = np.linalg.norm(self.item_factors, axis=1, keepdims=True)
        return self.item_factors / np.maximum(lengths, np.finfo(np.float32).tiny)

    def save(self, directory: Path) -> None:
        """Write both factor matrices."""
        arrays: dict[str, Array] = {"user_factors": self.user_factors, "item_factors": self.item_factors}
        save_model(directory, self.name, self.config, arrays)

    def take(self, arrays: dict[str, Array]) -> None:
        """Take the factors over; raises `ModelError` when they are not finite."""
        check_finite(self.name, user_factors=arrays["user_factors"], item_factors=arrays["item_factors"])
        self.user_factors, self.item_factors = arrays["user_factors"], arrays["item_factors"]
