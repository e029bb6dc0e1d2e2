"""Base class of graph filters: a user's items are a signal on the graph of items, which is smoothed."""

from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize, normalize_by_degree
from recsys.data.truncated_svd import OVERSAMPLING, truncated_svd
from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION, ItemModel
from recsys.models.work import dense_work, row_work, sparse_work, vector_work
from recsys.ranking.top_k import Exclusion, Scores, rank_blocks, run_in_threads, split_into_blocks

# Rows of every matrix product, so that a user's scores do not depend on who else is in the batch.
SLAB: Final = 256
SIMILAR_USERS: Final = 100  # users who share one item

Factors = NDArray[np.float32]


class GraphFilter(ItemModel):
    """Scores a user's items r, a row of ones, by r (P + w |P| D^-1/2 V V' D^1/2), optionally sharpened.

    A is users x items, 1 for a positive interaction, divided by the number of the user's items to the power of
    `user_exponent` and of the item's users to the power of `item_exponent`. P = A'A is the linear filter, which
    smooths over items with common users. V are the first right singular vectors of A (the ideal low-pass filter),
    D is the diagonal of the items' numbers of users, w is `low_pass`. Sharpening subtracts `sharpening` (P / |P|)
    times the result. A user without items has no list.
    """

    weights: csr_matrix  # A, users x items
    user_items: csr_matrix
    singular_values: Factors
    vectors: Factors  # V, items x singular values
    lengths: Factors  # the diagonal of D^1/2, (items,)
    sharpening: float = 0.0

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002 (an interface)
        """Count the vectors of users and items during the SVD and the arrays kept for the items."""
        return 4 * (self.config.factors + OVERSAMPLING) * (2 * users + 5 * items)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the products and orthogonal bases of the SVD's iterations."""
        vectors, passes = min(self.config.factors + OVERSAMPLING, users, items), 2 * self.config.power_steps + 1
        bases = dense_work(6.0 * passes * (users + items) / 2 * vectors**2)  # three passes of two products
        return bases + vector_work(float(passes) * interactions * vectors)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:
        """Count the filters of each user, and the items of all users who share an item with the user."""
        size = max(interactions / max(users, 1), 1.0)
        similar_users = min(size * SIMILAR_USERS, users)
        filters = 2 if self.sharpening else 1
        low_pass = dense_work(float(filters) * users * items * self.config.factors)
        return (
            row_work(users) + low_pass + sparse_work(users * similar_users * size / 2) + vector_work(users * items)
        )

    def fit(self, interactions: Interactions) -> Self:
        """Normalize the matrix and compute its singular vectors."""
        config = self.config
        binary = csr_matrix(binarize(interactions.positives), dtype=np.float32)
        self.user_items = binary
        self.weights = normalize_by_degree(binary, config.user_exponent, config.item_exponent)
        self.singular_values, self.vectors = truncated_svd(
            self.weights, config.factors, config.seed, config.power_steps
        )
        item_users = np.maximum(np.bincount(binary.indices, minlength=binary.shape[1]), 1)
        self.lengths = np.sqrt(item_users).astype(np.float32)
        check_finite(self.name, singular_values=self.singular_values, vectors=self.vectors)
        return self._prepare()

    def _prepare(self) -> Self:
        """Compute the factors of the filter that are the same for every user."""
        low_pass = self.vectors.T * self.lengths * np.float32(self.config.low_pass * self.singular_values[0] ** 2)
        self._transposed = csr_matrix(self.weights.T)
        self._scaled_vectors = self.vectors / self.lengths[:, None]
        if not self.sharpening:
            self._directions = np.ascontiguousarray(low_pass)
            return self
        strength = np.float32(self.sharpening / self.singular_values[0] ** 2)
        low_pass -= strength * (self._transposed @ (self.weights @ low_pass.T)).T
        smoothed_twice = self.vectors.T * (self.singular_values**4)[:, None]
        self._directions = np.concatenate([low_pass, -strength * smoothed_twice])
        return self

    def _filter(self, signals: csr_matrix) -> Scores:
        """Filter signals, (rows, items)."""
        scores = np.empty(signals.shape, np.float32)

        def fill(rows: NDArray[np.intp]) -> None:
            scores[rows[0] : rows[-1] + 1] = self._filter_slab(csr_matrix(signals[rows[0] : rows[-1] + 1]))

        run_in_threads(fill, split_into_blocks(np.arange(signals.shape[0]), SLAB))
        return scores

    def _filter_slab(self, signals: csr_matrix) -> Scores:
        """Filter at most `SLAB` signals."""
        projected = signals @ (self._scaled_vectors)
        if self.sharpening:
            projected = np.concatenate([projected, signals @ self.vectors], axis=1)
        slab = np.zeros((SLAB, projected.shape[1]), np.float32)
        slab[: len(projected)] = projected
        scores = (slab @ self._directions)[: len(projected)]
        scores += ((signals @ self._transposed) @ self.weights).toarray()
        return scores.astype(np.float32, copy=False)

    def scores(self, user_rows: Rows) -> Scores:
        """Filter the items of each user; a user without items scores -inf."""
        signals = csr_matrix(self.user_items[user_rows])
        scores = self._filter(signals)
        scores[np.diff(signals.indptr) == 0] = -np.inf
        return scores

    def similar(self, item_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank the items for a user who has only the one item; an item without users has no list."""
        items = len(self.lengths)
        itself = csr_matrix(
            (np.ones(items, np.float32), np.arange(items), np.arange(items + 1)), shape=(items, items)
        )
        has_users = np.bincount(self.user_items.indices, minlength=items) > 0

        def score(rows: Rows) -> Scores:
            scores = self._filter(csr_matrix(itself[rows]))
            scores[~has_users[rows]] = -np.inf
            return scores

        return rank_blocks(score, item_rows, n, Exclusion(itself, exclude.items))

    def save(self, directory: Path) -> None:
        """Write the normalized matrix and its singular vectors."""
        arrays: dict[str, Array] = sparse_arrays("weights", self.weights) | {
            "singular_values": self.singular_values,
            "vectors": self.vectors,
            "lengths": self.lengths,
        }
        save_model(directory, self.name, self.config, arrays)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the normalized matrix and its singular vectors."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.weights = sparse_matrix("weights", arrays)
        model.user_items = csr_matrix(binarize(model.weights), dtype=np.float32)
        model.singular_values, model.vectors = arrays["singular_values"], arrays["vectors"]
        model.lengths = arrays["lengths"]
        return model._prepare()
