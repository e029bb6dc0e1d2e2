"""What graph filters share: a user's items seen as a signal on the graph of items, and smoothed."""

from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import once_each, scaled_by_counts
from recsys.data.truncated_svd import OVERSAMPLING, truncated_svd
from recsys.ids import Rows
from recsys.models.artifacts import Array, check_finite, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NOTHING, ItemModel
from recsys.ranking.top_k import Exclude, Scores, blocks_of, in_threads, rank_blocks

# Rows of every matrix product, so that a user's scores do not depend on who else is asked for.
SLAB: Final = 256

Factors = NDArray[np.float32]


class GraphFilter(ItemModel):
    """Scores r P + w |P| r D^-1/2 V V' D^1/2 for a user's items r; and less so much of the same, smoothed again.

    With A the users x items matrix of ones, users and items divided by their number of entries to the power of
    `user_exponent` and `item_exponent`, P = A' A smooths over items that share users, V are the first right
    singular vectors of A, and D is the number of users of an item. w is `low_pass`, and `sharpening` takes
    (P / |P|) off once more. A user of no items has no list.
    """

    name: str
    config: Any
    weights: csr_matrix  # A, users x items
    user_items: csr_matrix
    singular_values: Factors
    vectors: Factors  # items x singular values
    lengths: Factors  # D^c, (items,)
    sharpening: float = 0.0

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002
        """Vectors of users and items while they are searched for, and what is kept of the items'."""
        return 4 * (self.config.factors + OVERSAMPLING) * (2 * users + 5 * items)

    def fit(self, interactions: Interactions) -> Self:
        """Count, scale, and find the singular vectors."""
        wanted, config = interactions.wanted, self.config
        once = csr_matrix(once_each(wanted), dtype=np.float32)
        self.user_items = once
        self.weights = scaled_by_counts(once, config.user_exponent, config.item_exponent)
        self.singular_values, self.vectors = truncated_svd(
            self.weights, config.factors, config.seed, config.power_steps
        )
        item_users = np.maximum(np.bincount(once.indices, minlength=once.shape[1]), 1)
        self.lengths = np.sqrt(item_users).astype(np.float32)
        check_finite(self.name, singular_values=self.singular_values, vectors=self.vectors)
        return self._prepared()

    def _prepared(self) -> Self:
        """Work out the product that is the same for every user: how much of which item each direction gives."""
        low_pass = self.vectors.T * self.lengths * np.float32(self.config.low_pass * self.singular_values[0] ** 2)
        self._turned = csr_matrix(self.weights.T)
        self._of_lengths = self.vectors / self.lengths[:, None]
        if not self.sharpening:
            self._of_directions = np.ascontiguousarray(low_pass)
            return self
        strength = np.float32(self.sharpening / self.singular_values[0] ** 2)
        low_pass -= strength * (self._turned @ (self.weights @ low_pass.T)).T
        smoothed_twice = self.vectors.T * (self.singular_values**4)[:, None]
        self._of_directions = np.concatenate([low_pass, -strength * smoothed_twice])
        return self

    def _filtered(self, signals: csr_matrix) -> Scores:
        """The signals (rows, items), filtered."""
        scores = np.empty(signals.shape, np.float32)

        def fill(rows: NDArray[np.intp]) -> None:
            scores[rows[0] : rows[-1] + 1] = self._filtered_slab(csr_matrix(signals[rows[0] : rows[-1] + 1]))

        in_threads(fill, blocks_of(np.arange(signals.shape[0]), SLAB))
        return scores

    def _filtered_slab(self, signals: csr_matrix) -> Scores:
        """`_filtered` for at most `SLAB` rows."""
        spread = signals @ (self._of_lengths)
        if self.sharpening:
            spread = np.concatenate([spread, signals @ self.vectors], axis=1)
        slab = np.zeros((SLAB, spread.shape[1]), np.float32)
        slab[: len(spread)] = spread
        scores = (slab @ self._of_directions)[: len(spread)]
        scores += ((signals @ self._turned) @ self.weights).toarray()
        return scores.astype(np.float32, copy=False)

    def scores(self, user_rows: Rows) -> Scores:
        """The items of each user, filtered; -inf for a user of none."""
        signals = csr_matrix(self.user_items[user_rows])
        scores = self._filtered(signals)
        scores[np.diff(signals.indptr) == 0] = -np.inf
        return scores

    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """What a user of that one item would be recommended; none for an item of no users."""
        items = len(self.lengths)
        itself = csr_matrix(
            (np.ones(items, np.float32), np.arange(items), np.arange(items + 1)), shape=(items, items)
        )
        known = np.bincount(self.user_items.indices, minlength=items) > 0

        def score(rows: Rows) -> Scores:
            scores = self._filtered(csr_matrix(itself[rows]))
            scores[~known[rows]] = -np.inf
            return scores

        return rank_blocks(score, item_rows, n, Exclude(itself, exclude.items))

    def save(self, directory: Path) -> None:
        """Write the scaled matrix and its singular vectors."""
        arrays: dict[str, Array] = sparse_arrays("weights", self.weights) | {
            "singular_values": self.singular_values,
            "vectors": self.vectors,
            "lengths": self.lengths,
        }
        save_model(directory, self.name, self.config, arrays)

    def take(self, arrays: dict[str, Array]) -> Self:
        """Take over what was saved."""
        self.weights = sparse_matrix("weights", arrays)
        self.user_items = csr_matrix(once_each(self.weights), dtype=np.float32)
        self.singular_values, self.vectors = arrays["singular_values"], arrays["vectors"]
        self.lengths = arrays["lengths"]
        return self._prepared()
