"""SLIM: each item is predicted from a user's other items by few weights, none of them negative."""

from dataclasses import dataclass
from typing import Self

from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import once_each
from recsys.ids import Rows
from recsys.models._item_item.item_regressions import (
    item_penalties,
    regress_on_neighbors,
    user_weights,
    with_repeats,
)
from recsys.models._item_item.item_weights import ItemWeightModel
from recsys.models.config import AboveZero, ZeroOrMore
from recsys.settings.types import Positive

TOLERANCE = 1e-4


@dataclass(frozen=True)
class SlimConfig:
    """How strongly the regressions are held back, and on how many items each stands."""

    l1_regularization: ZeroOrMore = 0.02
    """Penalty on weights, in users of an average item; more of it makes more of them 0."""
    l2_regularization: AboveZero = 4.0
    """Penalty on squared weights, in users of an average item."""
    item_exponent: ZeroOrMore = 0.5
    """Squared weights of an item with twice the users are penalised 2 ** item_exponent times as much."""
    user_exponent: ZeroOrMore = 0.25
    """Rows are divided by (user's items) ** user_exponent, so that long histories do not rule; 0 leaves them."""
    neighbors: Positive = 100
    """Most similar items that each item is predicted from."""
    epochs: Positive = 50
    """Most sweeps over the weights of an item; it ends before where they stand still."""
    repeat_weight: ZeroOrMore = 1.0
    """Weight of an item on itself; counts only where a user may be shown what the user has."""


class Slim(ItemWeightModel):
    """The weights W >= 0 with a diagonal of 0 that make |X - X W|^2 / 2 + l2 |W|^2 / 2 + l1 sum(W) least.

    Ning, Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems" (ICDM 2011), each item regressed on
    its `neighbors` most similar items alone (their fsSLIM, by cosine), by cyclic coordinate descent on the Gram
    matrix of these. X is users x items, 1 where the user wants the item. As in `Ease`, penalties are in users of an
    average item so that they suit small shops and large ones, l2 grows with the item's users, and rows are divided
    by a power of their length; with both exponents 0 it is the paper's. After the fit the diagonal becomes
    `repeat_weight`. Items are alike as far as one predicts the other, by column.
    """

    name = "slim"
    config_type = SlimConfig

    def __init__(self, config: SlimConfig = SlimConfig()) -> None:
        super().__init__(config)

    def fit(self, interactions: Interactions) -> Self:
        """Solve the regressions, one by one."""
        from recsys.models._item_item.local_regressions import regress_non_negative  # numba takes long to import

        config, once = self.config, once_each(interactions.wanted)
        l2 = item_penalties(once, config.l2_regularization, config.item_exponent)
        l1 = config.l1_regularization * once.nnz / once.shape[1]
        weights = regress_on_neighbors(
            *(self.name, once, config.neighbors, user_weights(once, config.user_exponent)),
            *(regress_non_negative, l2, l1, config.epochs, TOLERANCE),
        )
        weights.eliminate_zeros()
        return self.take(interactions, with_repeats(weights, config.repeat_weight))

    def neighbors_of(self, item_rows: Rows) -> csr_matrix:
        """What predicts each item."""
        return csr_matrix(self.weights[:, item_rows].T)
