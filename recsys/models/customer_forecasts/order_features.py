"""What the past orders of a customer say about the next ones: recency, frequency, regularity, spend."""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.models.customer_forecasts.cuts import AGE, WEEK
from recsys.schema import USER_ID

AMOUNT: Final = "amount"
ITEMS: Final = "items"
WINDOWS: Final = (7, 14, 28, 56, 90, 182)
HALF_LIVES: Final = (7, 28, 90)
SPEND_WINDOWS: Final = (28, 90, 182)

RECENCY: Final = "recency"
TENURE: Final = "tenure"
ORDERS: Final = "orders"
GAP_MEDIAN: Final = "gap_median"
GAP_MEAN: Final = "gap_mean"
SPENT: Final = "spent"

Table = NDArray[np.float32]

_GAP: Final = "gap"


def orders_in(days: int) -> str:
    """Return the name of the number of orders in the last `days` days."""
    return f"orders_{days}d"


def spent_in(days: int) -> str:
    """Return the name of the amount of the orders in the last `days` days."""
    return f"spent_{days}d"


def weekday_share(day: int) -> str:
    """Return the name of the share of orders on the weekday of day `day` after the cut, 0 to 6."""
    return f"weekday_share_{day}"


def order_features(orders: pl.DataFrame) -> pl.DataFrame:
    """Compute one row per user with an order, sorted by user, from orders that are all before the cut.

    `orders` has `user_id`, `AGE` (days before the cut), `AMOUNT` (null without a price) and `ITEMS`.
    """
    age, gap = pl.col(AGE), pl.col(_GAP)
    # The weekday of an order is that of the day after the cut with which it is whole weeks apart.
    day = (WEEK - 1) - (age.ceil().cast(pl.Int32) - 1) % WEEK
    ordered = orders.sort(USER_ID, AGE, descending=[False, True])
    gaps = ordered.with_columns((-age.diff()).over(USER_ID).alias(_GAP))
    features = (
        gaps.lazy()
        .group_by(USER_ID, maintain_order=True)
        .agg(
            age.min().alias(RECENCY),
            age.max().alias(TENURE),
            pl.len().alias(ORDERS),
            *((age <= days).sum().alias(orders_in(days)) for days in WINDOWS),
            *((0.5 ** (age / days)).sum().alias(f"orders_decayed_{days}d") for days in HALF_LIVES),
            gap.mean().alias(GAP_MEAN),
            gap.median().alias(GAP_MEDIAN),
            gap.std().alias("gap_deviation"),
            gap.quantile(0.9).alias("gap_high"),
            gap.last().alias("gap_last"),
            gap.tail(4).mean().alias("gap_mean_of_last_4"),
            *((day == number).mean().alias(weekday_share(number)) for number in range(WEEK)),
            pl.col(ITEMS).mean().alias("order_items"),
            pl.col(ITEMS).last().alias("last_order_items"),
            pl.col(AMOUNT).sum().alias(SPENT),
            pl.col(AMOUNT).mean().alias("order_amount"),
            pl.col(AMOUNT).std().alias("order_amount_deviation"),
            pl.col(AMOUNT).last().alias("last_order_amount"),
            *(pl.col(AMOUNT).filter(age <= days).sum().alias(spent_in(days)) for days in SPEND_WINDOWS),
        )
        .with_columns(
            (pl.col(RECENCY) / pl.col(GAP_MEDIAN).clip(lower_bound=1)).alias("recency_by_gap_median"),
            (pl.col(RECENCY) / pl.col(GAP_MEAN).clip(lower_bound=1)).alias("recency_by_gap_mean"),
            (pl.col(RECENCY) / pl.col("gap_high").clip(lower_bound=1)).alias("recency_by_gap_high"),
            (pl.col(ORDERS) / pl.col(TENURE).clip(lower_bound=WEEK)).alias("orders_per_day"),
            (pl.col(orders_in(28)) / pl.col(orders_in(56)).clip(lower_bound=1)).alias("orders_trend"),
        )
    )
    return features.with_columns(pl.all().exclude(USER_ID).cast(pl.Float32)).collect()


def as_table(features: pl.DataFrame) -> Table:
    """Return the features as numbers, (users, features), NaN where null."""
    return features.drop(USER_ID).fill_null(float("nan")).to_numpy(order="c").astype(np.float32)
