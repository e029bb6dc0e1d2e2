"""EASE: each item is predicted from a user's other items by ridge regression, in closed form."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_matrix, diags_array

from recsys.data.interactions import Interactions
from recsys.data.scaling import once_each
from recsys.ids import Rows
from recsys.memory import require_bytes
from recsys.models._item_item.item_regressions import (
    item_penalties,
    regress_on_neighbors,
    user_weights,
    with_repeats,
)
from recsys.models._item_item.item_weights import ItemWeightModel
from recsys.models.artifacts import not_finite
from recsys.models.config import AboveZero, ZeroOrMore
from recsys.settings.types import Positive

BLOCK_ITEMS = 512
BYTES_OF_PAIR = 8 + 8 + 4  # the Gram matrix and its inverse, then the weights


@dataclass(frozen=True)
class EaseConfig:
    """How strongly the regressions are held back, and on how many items each stands."""

    regularization: AboveZero = 6.0
    """Penalty on squared weights, in users of an average item."""
    item_exponent: ZeroOrMore = 0.5
    """An item with twice the users is penalised 2 ** item_exponent times as much; 0 is the same for all."""
    user_exponent: ZeroOrMore = 0.25
    """Rows are divided by (user's items) ** user_exponent, so that long histories do not rule; 0 leaves them."""
    neighbors: Positive = 150
    """Most similar items that each item is predicted from, where there are more than `dense_items`."""
    dense_items: Positive = 8000
    """Up to so many items, each is predicted from all others."""
    repeat_weight: ZeroOrMore = 1.0
    """Weight of an item on itself; counts only where a user may be shown what the user has."""


class Ease(ItemWeightModel):
    """The weights B that make |X - X B|^2 + sum of penalty_i B_ij^2 least while B has a diagonal of 0.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019): with G = X'X and P the inverse of G +
    diagonal of penalties, B_ij = -P_ij / P_jj. X is users x items, 1 where the user wants the item. Beyond
    `dense_items` column j of B is 0 but at the items most like j, as in Steck, "Markov Random Fields for
    Collaborative Filtering" (NeurIPS 2019), but found by cosine where the paper thresholds correlations, and each
    column solved for itself. Two things differ: with n_i the users of item i and m their mean, penalty_i is
    regularization m (n_i / m) ** item_exponent, and a user's row is divided by length ** user_exponent (then
    all are scaled so that an average interaction counts 1). With both exponents 0 it is the paper's, whose lambda
    is regularization x m. After the fit the diagonal becomes `repeat_weight`, so that repeats rank high where they
    are allowed. Items are alike as far as one predicts the other, by column.
    """

    name = "ease"
    config_type = EaseConfig

    def __init__(self, config: EaseConfig = EaseConfig()) -> None:
        super().__init__(config)

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002
        """The matrices of all pairs of items, where they are solved at once."""
        return BYTES_OF_PAIR * items**2 if items <= self.config.dense_items else 0

    def fit(self, interactions: Interactions) -> Self:
        """Solve the regressions, all at once or one by one."""
        once = once_each(interactions.wanted)
        penalties = item_penalties(once, self.config.regularization, self.config.item_exponent)
        row_weights = user_weights(once, self.config.user_exponent)
        if len(penalties) <= self.config.dense_items:
            weights = self._dense(once, row_weights, penalties)
            np.fill_diagonal(weights, self.config.repeat_weight)
        else:
            weights = with_repeats(self._sparse(once, row_weights, penalties), self.config.repeat_weight)
        return self.take(interactions, weights)

    def _dense(
        self, once: csr_matrix, row_weights: NDArray[np.float64], penalties: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        items = once.shape[1]
        require_bytes(f"{self.name} of all {items:,} items", BYTES_OF_PAIR * items**2)
        gram = np.empty((items, items), order="F")
        of_items = csr_matrix(once.T)
        weighted = csr_matrix(diags_array(row_weights) @ once)
        for start in range(0, items, BLOCK_ITEMS):  # symmetric: columns as well as rows
            gram[:, start : start + BLOCK_ITEMS] = (of_items[start : start + BLOCK_ITEMS] @ weighted).toarray().T
        gram[np.diag_indices(items)] += penalties
        factor, failed = dpotrf(gram, lower=1, overwrite_a=1)
        inverse, failed_again = (factor, 1) if failed else dpotri(factor, lower=1, overwrite_c=1)
        if failed or failed_again:
            raise not_finite(self.name, "weights")
        weights = np.empty((items, items), np.float32)
        own = inverse.diagonal().copy()
        for start in range(0, items, BLOCK_ITEMS):  # the inverse's lower triangle, read as rows and as columns
            stop = min(start + BLOCK_ITEMS, items)
            block = inverse[start:stop, :stop].copy()
            block[:, start:] = np.tril(block[:, start:]) + np.tril(block[:, start:], -1).T
            weights[start:stop, :stop] = -block / own[:stop]
            weights[:start, start:stop] = -block[:, :start].T / own[start:stop]
        return weights

    def _sparse(
        self, once: csr_matrix, row_weights: NDArray[np.float64], penalties: NDArray[np.float64]
    ) -> csr_matrix:
        from recsys.models._item_item.local_regressions import regress_ridge  # numba takes long to import

        return regress_on_neighbors(self.name, once, self.config.neighbors, row_weights, regress_ridge, penalties)

    def neighbors_of(self, item_rows: Rows) -> csr_matrix:
        """What predicts each item."""
        return csr_matrix(self.weights[:, item_rows].T)
