"""Expected spend in a number of days after a cut, by gradient boosted trees of a Tweedie loss.

Source: Jørgensen, Paes de Souza, "Fitting Tweedie's compound Poisson model to insurance claims data" (Scandinavian
Actuarial Journal, 1994): the sum of a random number of orders of random amounts, often exactly 0.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.models.customer_forecasts.cuts import after, before
from recsys.models.customer_forecasts.order_features import AMOUNT, SPENT, TENURE, Table, as_table, order_features
from recsys.models.customer_forecasts.survival import Values
from recsys.models.customer_forecasts.trees import Trees, TreeSettings, train_trees
from recsys.schema import USER_ID

MIN_TENURE = 28
"""Days that a shorter tenure counts as in the mean of the past."""


@dataclass(frozen=True)
class SpendModel:
    """The expected sum of the amounts of a user's orders in the days after a cut."""

    trees: Trees

    def predict(self, features: pl.DataFrame) -> Values:
        """Return the expected spend of each user, (users,), from `order_features`."""
        return np.maximum(self.trees.predict(as_table(features)), 0)


def train_spend(
    orders: pl.DataFrame, cuts: tuple[int, ...], horizon_days: float, settings: TreeSettings
) -> SpendModel | None:
    """Learn what users spent after the cuts; None if nobody spent anything."""
    tables: list[Table] = []
    amounts: list[NDArray[np.float64]] = [np.zeros(0)]
    for cut in cuts:
        features = order_features(before(orders, cut))
        tables.append(as_table(features))
        amounts.append(spend_after(orders, features[USER_ID], cut, horizon_days))
    target = np.concatenate(amounts)
    if not target.any():
        return None
    return SpendModel(train_trees(np.concatenate(tables), target, settings))


def spend_after(orders: pl.DataFrame, users: pl.Series, cut: float, days: float) -> Values:
    """Return the sum of the amounts of each user's orders in the `days` days after a cut, (users,)."""
    spent = after(orders, cut, days).group_by(USER_ID, maintain_order=True).agg(pl.col(AMOUNT).sum())
    joined = users.to_frame().join(spent, on=USER_ID, how="left", maintain_order="left")
    return joined[AMOUNT].fill_null(0).to_numpy()


def mean_spend(features: pl.DataFrame, days: float) -> Values:
    """Return what users would spend in `days` days as in their past, (users,): the baseline of the model."""
    rate = pl.col(SPENT).cast(pl.Float64) / pl.col(TENURE).clip(lower_bound=MIN_TENURE)
    return features.select(rate * days).to_series().to_numpy()
