"""Time to the next order: hazards of intervals by gradient boosted trees, learned as of several earlier cuts."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.models.customer_forecasts.cuts import AGE, WEEK, after, before
from recsys.models.customer_forecasts.order_features import (
    GAP_MEDIAN,
    RECENCY,
    Table,
    as_table,
    order_features,
    weekday_share,
)
from recsys.models.customer_forecasts.survival import (
    EDGES,
    Rows,
    Values,
    known_intervals,
    person_periods,
    survival,
)
from recsys.models.customer_forecasts.trees import Trees, TreeSettings, train_trees
from recsys.schema import USER_ID

BLOCK_USERS = 10_000


@dataclass(frozen=True)
class NextOrderModel:
    """Hazards of the intervals between the first `intervals` edges."""

    trees: Trees
    intervals: int

    def survival(self, features: pl.DataFrame) -> Values:
        """Return the probability of no order by each edge, (users, intervals + 1), from `order_features`."""
        blocks = [
            self._survival(features.slice(start, BLOCK_USERS)) for start in range(0, len(features), BLOCK_USERS)
        ]
        return np.concatenate([np.ones((0, self.intervals + 1)), *blocks])

    def _survival(self, features: pl.DataFrame) -> Values:
        users = np.repeat(np.arange(len(features)), self.intervals)
        intervals = np.tile(np.arange(self.intervals), len(features))
        hazards = self.trees.predict(_interval_features(features, users, intervals))
        return survival(hazards.reshape(len(features), self.intervals))


def train_next_order(orders: pl.DataFrame, cuts: tuple[int, ...], settings: TreeSettings) -> NextOrderModel | None:
    """Learn what followed the cuts; None if in all intervals or in none an order came."""
    tables: list[Table] = []
    ordered = [np.zeros(0, bool)]
    for cut in cuts:
        features = order_features(before(orders, cut))
        periods = person_periods(days_to_order(orders, features[USER_ID], cut), cut)
        tables.append(_interval_features(features, periods.users, periods.intervals))
        ordered.append(periods.ordered)
    target = np.concatenate(ordered)
    if target.all() or not target.any():
        return None
    return NextOrderModel(train_trees(np.concatenate(tables), target, settings), known_intervals(max(cuts)))


def days_to_order(orders: pl.DataFrame, users: pl.Series, cut: float) -> Values:
    """Return the days from a cut to each user's first order after it, (users,); infinite without one."""
    first = after(orders, cut).group_by(USER_ID).agg(pl.col(AGE).min())
    joined = users.to_frame().join(first, on=USER_ID, how="left", maintain_order="left")
    return joined[AGE].fill_null(float("inf")).to_numpy()


def _interval_features(features: pl.DataFrame, users: Rows, intervals: Rows) -> Table:
    """Return the features of users with those of an interval, (N, features), for N pairs of both."""
    table = as_table(features)[users]
    starts, ends = EDGES[:-1][intervals], EDGES[1:][intervals]
    waited = features[RECENCY].to_numpy()[users] + starts
    gap = features[GAP_MEDIAN].fill_null(float("nan")).to_numpy()[users]
    shares = features.select(weekday_share(day) for day in range(WEEK)).to_numpy()
    first_week = ends <= WEEK
    share = np.where(first_week, shares[users, np.where(first_week, starts, 0).astype(np.int64)], np.nan)
    own = np.stack([starts, ends - starts, waited, waited / np.maximum(gap, 1), share], axis=1)
    return np.concatenate([table, own.astype(np.float32)], axis=1)
