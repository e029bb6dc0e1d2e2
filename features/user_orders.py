"""User orders: recency, frequency, value and regularity of purchases."""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import ORDER_KEY, days, days_since, exact_sum, purchases
from features.feature import Feature, columns
from recsys.schema import ITEM_ID, PRICE, QUANTITY, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID

_AT: Final = "at"
_ITEMS: Final = "items"
_AMOUNT: Final = "amount"

_SPENT: Final = pl.col(_AMOUNT).sum().cast(pl.Float64)
_PRICED: Final = pl.col(_AMOUNT).count()
_GAPS: Final = pl.len() - 1
_MEAN_GAP: Final = (pl.col(_AT).max() - pl.col(_AT).min()).dt.total_microseconds() / _GAPS

_ORDERS: Final = (
    Feature("orders", pl.UInt32(), "orders", "Number of orders", pl.len()),
    Feature(
        "last_order_at", TIMESTAMP_DTYPE, "UTC", "Time of the last order; null without orders", pl.col(_AT).max()
    ),
    Feature(
        "recency_days",
        pl.Float64(),
        "days",
        "Time since the last order; null without orders",
        pl.col("age_days").min(),
    ),
    Feature(
        "spent",
        pl.Float64(),
        "currency",
        "Sum of price * quantity over all purchases, less what was returned, where a missing quantity counts as 1; "
        "null if no purchase that was kept has a price",
        pl.when(_PRICED > 0).then(_SPENT),
    ),
    Feature(
        "order_value_mean",
        pl.Float64(),
        "currency",
        "Mean value (sum of price * quantity) of the orders with a price; null without such orders",
        pl.when(_PRICED > 0).then(_SPENT / _PRICED),
    ),
    Feature(
        "order_items_mean",
        pl.Float64(),
        "items",
        "Mean number of distinct items per order; null without orders",
        pl.col(_ITEMS).sum() / pl.len(),
    ),
    Feature(
        "order_gap_days_mean",
        pl.Float64(),
        "days",
        "Mean time between successive orders; null with fewer than two orders",
        pl.when(_GAPS > 0).then(days(pl.col(_AT).max() - pl.col(_AT).min()) / _GAPS),
    ),
    Feature(
        "order_gap_days_deviation",
        pl.Float64(),
        "days",
        "Sample standard deviation of the time between successive orders; null with fewer than three orders",
        days(pl.col(_AT).sort().diff()).std(),
    ),
    Feature(
        "next_order_at",
        TIMESTAMP_DTYPE,
        "UTC",
        "Expected time of the next order: the last order plus the mean gap; null with fewer than two orders",
        pl.when(_GAPS > 0).then(pl.col(_AT).max() + pl.duration(microseconds=_MEAN_GAP)),
    ),
)

_LINES: Final = (
    Feature(
        "price_median",
        pl.Float64(),
        "currency",
        "Median unit price over the purchases; null if no purchase has a price",
        pl.col(PRICE).median(),
    ),
)

USER_ORDERS: Final = _ORDERS + _LINES


def user_orders(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Compute one row per user with a purchase in `events`, all before `as_of`, in the columns of `USER_ORDERS`.

    An order is the user's purchases in one session; purchases without a session are one order if they have the same
    timestamp.
    """
    lines = purchases(events)
    amount = pl.col(PRICE) * pl.col(QUANTITY).fill_null(1)
    orders = (
        lines.group_by(ORDER_KEY)
        .agg(
            pl.col(TIMESTAMP).min().alias(_AT),
            pl.col(ITEM_ID).n_unique().alias(_ITEMS),
            pl.when(pl.col(PRICE).count() > 0).then(exact_sum(amount)).alias(_AMOUNT),
        )
        .with_columns(days_since(pl.col(_AT), as_of).alias("age_days"))
    )
    return (
        orders.group_by(USER_ID)
        .agg(columns(_ORDERS))
        .join(lines.group_by(USER_ID).agg(columns(_LINES)), on=USER_ID)
    )
