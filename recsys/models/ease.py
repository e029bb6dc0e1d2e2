"""EASE: ridge regression of each item on a user's other items, in closed form."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_matrix, diags_array

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize
from recsys.ids import Rows
from recsys.memory import require_bytes
from recsys.models._item_item.item_regression import (
    item_penalties,
    regress_on_neighbors,
    regression_work,
    set_diagonal,
    user_weights,
)
from recsys.models._item_item.item_weight_model import ItemWeightModel
from recsys.models.artifacts import not_finite_error
from recsys.models.config import AboveZero, Range, SearchSpace, ZeroOrMore
from recsys.models.work import common_pairs, dense_work, row_work, sparse_work, vector_work
from recsys.settings.types import Positive

BLOCK_ITEMS = 512
PAIR_BYTES = 8 + 8 + 4  # the Gram matrix, its inverse, and the weights


@dataclass(frozen=True)
class EaseConfig:
    """Regularization of the regressions and the number of items in each."""

    regularization: AboveZero = 6.0
    """Penalty on squared weights, relative to the number of users of an average item."""
    item_exponent: ZeroOrMore = 0.5
    """Power by which an item's penalty grows with its number of users; 0 penalizes all items the same."""
    user_exponent: ZeroOrMore = 0.25
    """Power of a user's number of items that divides the user's row, so that long histories do not dominate."""
    neighbors: Positive = 150
    """Number of most similar items that each item is regressed on, in catalogues of more than `dense_items`."""
    dense_items: Positive = 8000
    """Size of the largest catalogue in which each item is regressed on all others."""
    repeat_weight: ZeroOrMore = 1.0
    """Weight of an item on itself; matters only where items that a user already has may be recommended."""


class Ease(ItemWeightModel):
    """Embarrassingly shallow autoencoder (EASE): item-item weights by ridge regression in closed form.

    X is users x items, 1 for a positive interaction. The weights B minimize

        |X - X B|^2 + sum over i and j of penalty_i B_ij^2    with a diagonal of 0

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019): with G = X'X and P the inverse
    of G + diagonal of penalties, B_ij = -P_ij / P_jj. In catalogues of more than `dense_items`, column j of B is 0
    except at the items most similar to j, as in Steck, "Markov Random Fields for Collaborative Filtering" (NeurIPS
    2019), but found by cosine where the paper thresholds correlations, and each column is solved by itself. Two
    things differ: with n_i the users of item i and m their mean, penalty_i is regularization m (n_i / m) **
    item_exponent, and a user's row is divided by (user's items) ** user_exponent (then all rows are scaled so that
    interactions weigh 1 on average). With both exponents 0 it is the paper's model with lambda = regularization x
    m. After the fit the diagonal becomes `repeat_weight`, so that repeats rank high where they are allowed. Items
    are similar to those that predict them, by column.
    """

    name = "ease"
    config_type = EaseConfig
    search_space: ClassVar[SearchSpace] = {
        "regularization": Range(0.5, 50.0, logarithmic=True),
        "item_exponent": Range(0.0, 1.0),
        "user_exponent": Range(0.0, 0.5),
    }
    config: EaseConfig

    def __init__(self, config: EaseConfig = EaseConfig()) -> None:
        super().__init__(config)

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002 (an interface)
        """Count the matrices of all pairs of items, where the regressions are solved at once."""
        return PAIR_BYTES * items**2 if items <= self.config.dense_items else 0

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the inverse of the matrix of all items, in double precision, or the regressions of each item."""
        if items > self.config.dense_items:
            return regression_work(users, items, interactions, self.config.neighbors)
        return sparse_work(common_pairs(users, interactions)) + 2 * dense_work(float(items) ** 3)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:
        """Count the weights of the items of each user: of all items, if the regressions are solved at once."""
        if items > self.config.dense_items:
            return super().ranking_work(users, items, interactions)
        return row_work(users) + vector_work(float(interactions) * items)

    def fit(self, interactions: Interactions) -> Self:
        """Solve the regressions, all at once or one by one."""
        binary = binarize(interactions.positives)
        penalties = item_penalties(binary, self.config.regularization, self.config.item_exponent)
        row_weights = user_weights(binary, self.config.user_exponent)
        if len(penalties) <= self.config.dense_items:
            weights = self._solve_dense(binary, row_weights, penalties)
            np.fill_diagonal(weights, self.config.repeat_weight)
        else:
            weights = set_diagonal(self._solve_sparse(binary, row_weights, penalties), self.config.repeat_weight)
        return self.set_weights(interactions, weights)

    def _solve_dense(
        self, binary: csr_matrix, row_weights: NDArray[np.float64], penalties: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return the weights (items, items) from the inverse of the Gram matrix of all items."""
        items = binary.shape[1]
        require_bytes(f"{self.name} of all {items:,} items", PAIR_BYTES * items**2)
        gram = np.empty((items, items), order="F")
        item_users = csr_matrix(binary.T)
        weighted = csr_matrix(diags_array(row_weights) @ binary)
        for start in range(0, items, BLOCK_ITEMS):  # symmetric: rows are columns
            gram[:, start : start + BLOCK_ITEMS] = (item_users[start : start + BLOCK_ITEMS] @ weighted).toarray().T
        gram[np.diag_indices(items)] += penalties
        factor, failed = dpotrf(gram, lower=1, overwrite_a=1)
        inverse, failed_again = (factor, 1) if failed else dpotri(factor, lower=1, overwrite_c=1)
        if failed or failed_again:
            raise not_finite_error(self.name, "weights")
        weights = np.empty((items, items), np.float32)
        own = inverse.diagonal().copy()
        for start in range(0, items, BLOCK_ITEMS):  # only the lower triangle of the inverse is filled
            stop = min(start + BLOCK_ITEMS, items)
            block = inverse[start:stop, :stop].copy()
            block[:, start:] = np.tril(block[:, start:]) + np.tril(block[:, start:], -1).T
            weights[start:stop, :stop] = -block / own[:stop]
            weights[:start, start:stop] = -block[:, :start].T / own[start:stop]
        return weights

    def _solve_sparse(
        self, binary: csr_matrix, row_weights: NDArray[np.float64], penalties: NDArray[np.float64]
    ) -> csr_matrix:
        """Return the weights (items, items) from a regression of each item on its neighbors."""
        from recsys.models._item_item.regression_kernels import regress_ridge  # numba takes long to import

        neighbors = self.config.neighbors
        return regress_on_neighbors(self.name, binary, neighbors, row_weights, regress_ridge, penalties)

    def neighbor_weights(self, item_rows: Rows) -> csr_matrix:
        """Return the weights of the items that predict each item, (len(item_rows), items)."""
        return csr_matrix(self.weights[:, item_rows].T)
