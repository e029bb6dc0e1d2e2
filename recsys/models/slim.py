"""SLIM: sparse non-negative regression of each item on a user's other items."""

from dataclasses import dataclass
from typing import Self

from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize
from recsys.ids import Rows
from recsys.models._item_item.item_regression import (
    item_penalties,
    regress_on_neighbors,
    regression_work,
    set_diagonal,
    user_weights,
)
from recsys.models._item_item.item_weight_model import ItemWeightModel
from recsys.models.config import AboveZero, ZeroOrMore
from recsys.models.work import vector_work
from recsys.settings.types import Positive

TOLERANCE = 1e-4


@dataclass(frozen=True)
class SlimConfig:
    """Regularization of the regressions and the number of items in each."""

    l1_regularization: ZeroOrMore = 0.02
    """Penalty on weights, relative to the number of users of an average item; it makes weights sparse."""
    l2_regularization: AboveZero = 4.0
    """Penalty on squared weights, relative to the number of users of an average item."""
    item_exponent: ZeroOrMore = 0.5
    """Power by which an item's penalty on squared weights grows with its number of users."""
    user_exponent: ZeroOrMore = 0.25
    """Power of a user's number of items that divides the user's row, so that long histories do not dominate."""
    neighbors: Positive = 100
    """Number of most similar items that each item is regressed on."""
    epochs: Positive = 50
    """Maximum number of sweeps over the weights of an item; the solver stops earlier when they converge."""
    repeat_weight: ZeroOrMore = 1.0
    """Weight of an item on itself; matters only where items that a user already has may be recommended."""


class Slim(ItemWeightModel):
    """Sparse linear method (SLIM): non-negative item-item weights by elastic-net regression.

    X is users x items, 1 for a positive interaction. The weights W >= 0 with a diagonal of 0 minimize

        |X - X W|^2 / 2 + l2 |W|^2 / 2 + l1 sum(W)

    Source: Ning, Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems" (ICDM 2011), each item
    regressed on its `neighbors` most similar items (their fsSLIM, by cosine), by cyclic coordinate descent on the
    Gram matrix of these. As in `Ease`, penalties are relative to the users of an average item, so that one setting
    suits small and large shops, l2 grows with the item's users, and rows are divided by a power of their length;
    with both exponents 0 it is the paper's model. After the fit the diagonal becomes `repeat_weight`. Items are
    similar to those that predict them, by column.
    """

    name = "slim"
    config_type = SlimConfig
    config: SlimConfig

    def __init__(self, config: SlimConfig = SlimConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the matrices of each item's neighbors, and sweeps over them."""
        neighbors, epochs = min(self.config.neighbors, items), self.config.epochs
        return regression_work(users, items, interactions, neighbors) + vector_work(
            float(items) * neighbors**2 * epochs
        )

    def fit(self, interactions: Interactions) -> Self:
        """Solve the regressions one by one."""
        from recsys.models._item_item.regression_kernels import regress_elastic_net  # numba takes long to import

        config, binary = self.config, binarize(interactions.positives)
        l2 = item_penalties(binary, config.l2_regularization, config.item_exponent)
        l1 = config.l1_regularization * binary.nnz / binary.shape[1]
        weights = regress_on_neighbors(
            *(self.name, binary, config.neighbors, user_weights(binary, config.user_exponent)),
            *(regress_elastic_net, l2, l1, config.epochs, TOLERANCE),
        )
        weights.eliminate_zeros()
        return self.set_weights(interactions, set_diagonal(weights, config.repeat_weight))

    def neighbor_weights(self, item_rows: Rows) -> csr_matrix:
        """Return the weights of the items that predict each item, (len(item_rows), items)."""
        return csr_matrix(self.weights[:, item_rows].T)
