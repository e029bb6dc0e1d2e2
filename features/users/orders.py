"""User orders: recency, frequency, value, trend, regularity, deals and returns, all net of what was returned."""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import (
    MAX_AMOUNT,
    ORDER_KEY,
    WINDOW_DAYS,
    days,
    days_since,
    exact_sum,
    in_last,
    purchases,
    units,
)
from features.feature import Feature, columns
from features.pairs import RECENT, USUAL
from features.returns import RETURNED_UNITS
from features.users.shop_purchases import (
    MEAN_PRICE,
    RECENT_SPEND_DAYS,
    USUAL_SPEND_DAYS,
    ShopPurchases,
    decay_amounts,
)
from recsys.growth import growth, growth_error
from recsys.schema import (
    EVENT,
    ITEM_ID,
    PRICE,
    PURCHASE,
    RETURNED_PURCHASE,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
)

ORDERS: Final = "orders"
RECENCY_DAYS: Final = "recency_days"
SPENT: Final = "spent"
ORDER_GAP_DAYS_MEAN: Final = "order_gap_days_mean"
LAST_GAP_DAYS: Final = "last_gap_days"
PRIOR_ORDERS: Final = 1.0
"""Prior of the growth of spend: customers have fewer orders than items have events."""

_AT: Final = TIMESTAMP  # of the order, which begins with its first line
_AGE: Final = "age_days"
_ITEMS: Final = "items"
_AMOUNT: Final = "amount"
_SHOP_SHARE: Final = "shop_share"

_SPENT: Final = pl.col(_AMOUNT).sum().cast(pl.Float64)
_PRICED: Final = pl.col(_AMOUNT).count()
_GAPS: Final = pl.len() - 1
_ORDER_GAPS: Final = days(pl.col(_AT).sort().diff())

# Spend in orders of the user's mean value, so that the trend's counts are of orders, not of coins.
_RECENT_ORDERS: Final = pl.col(RECENT).sum().cast(pl.Float64) / (_SPENT / _PRICED)
_USUAL_ORDERS: Final = pl.col(USUAL).sum().cast(pl.Float64) / (_SPENT / _PRICED)
_SHARE: Final = pl.col(_SHOP_SHARE).first()


def orders_column(window_days: int) -> str:
    """Return the name of the column that counts the orders in the last `window_days`."""
    return f"{ORDERS}_{window_days}d"


ORDER_COUNTS: Final = (
    Feature(ORDERS, pl.UInt32(), "orders", "Number of orders of which something was kept", pl.len()),
    *(
        Feature(
            orders_column(window),
            pl.UInt32(),
            "orders",
            f"Number of these orders in the last {window} x 24 hours",
            pl.col(f"{window}").sum(),
        )
        for window in WINDOW_DAYS
    ),
)

_ORDERS: Final = (
    *ORDER_COUNTS,
    Feature(
        "first_order_at", TIMESTAMP_DTYPE, "UTC", "Time of the first order; null without orders", pl.col(_AT).min()
    ),
    Feature(
        "last_order_at", TIMESTAMP_DTYPE, "UTC", "Time of the last order; null without orders", pl.col(_AT).max()
    ),
    Feature(
        "tenure_days",
        pl.Float64(),
        "days",
        "Time since the first order; null without orders",
        pl.col(_AGE).max(),
    ),
    Feature(
        RECENCY_DAYS,
        pl.Float64(),
        "days",
        "Time since the last order; null without orders",
        pl.col(_AGE).min(),
    ),
    Feature(
        SPENT,
        pl.Float64(),
        "currency",
        "Sum of price * quantity over all purchases, less what was returned, where a missing quantity counts as 1; "
        "null if no purchase that was kept has a price",
        pl.when(_PRICED > 0).then(_SPENT),
    ),
    Feature(
        "spend_growth",
        pl.Float64(),
        "log ratio",
        f"Growth of the user's spend decayed with a half-life of {RECENT_SPEND_DAYS:.0f} days against that with "
        f"{USUAL_SPEND_DAYS:.0f} days, relative to the shop's, in orders of the user's mean value, shrunk to 0 by "
        f"a prior of {PRIOR_ORDERS:.0f} order; null without spend",
        pl.when(_SPENT > 0).then(growth(_RECENT_ORDERS, _USUAL_ORDERS, _SHARE, PRIOR_ORDERS)),
    ),
    Feature(
        "spend_growth_error",
        pl.Float64(),
        "log ratio",
        "Standard error of spend_growth; null without spend",
        pl.when(_SPENT > 0).then(growth_error(_RECENT_ORDERS, PRIOR_ORDERS)),
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
        ORDER_GAP_DAYS_MEAN,
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
        _ORDER_GAPS.std(),
    ),
    Feature(
        LAST_GAP_DAYS,
        pl.Float64(),
        "days",
        "Time between the last two orders; null with fewer than two orders",
        _ORDER_GAPS.last(),
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

_EXPECTED: Final = "expected"
_PAID: Final = "paid"
_TOTAL_EXPECTED: Final = exact_sum(pl.col(_EXPECTED)).cast(pl.Float64)

_DEALS: Final = (
    Feature(
        "deal_affinity",
        pl.Float64(),
        "ratio",
        "Share that the user saved on the mean prices at which the same items were bought, each purchase counted "
        "once: 0.1 for 10 % cheaper, below 0 for dearer; null if no purchase has a price",
        pl.when(_TOTAL_EXPECTED > 0).then(1 - exact_sum(pl.col(_PAID)).cast(pl.Float64) / _TOTAL_EXPECTED),
    ),
)

_KEPT: Final = "kept"
_RETURNED: Final = "returned"
_UNITS_RETURNED: Final = exact_sum(pl.col(_RETURNED)).cast(pl.Float64)
_UNITS_BOUGHT: Final = _UNITS_RETURNED + exact_sum(pl.col(_KEPT)).cast(pl.Float64)

_RETURNS: Final = (
    Feature(
        "return_rate",
        pl.Float64(),
        "share",
        "Share of the units bought that were returned; null if the user never bought anything",
        pl.when(_UNITS_BOUGHT > 0).then(_UNITS_RETURNED / _UNITS_BOUGHT),
    ),
)

USER_ORDERS: Final = _ORDERS + _LINES + _DEALS + _RETURNS


def user_orders(events: pl.LazyFrame, as_of: datetime, shop: ShopPurchases) -> pl.LazyFrame:
    """Compute one row per user who ever bought in `events`, all before `as_of`, in the columns of `USER_ORDERS`.

    An order is the user's purchases in one session; purchases without a session are one order if they have the same
    timestamp. Who returned everything has no order, and null in most columns.
    """
    lines = purchases(events)
    amount = pl.col(PRICE) * units()
    orders = (
        lines.group_by(ORDER_KEY)
        .agg(
            pl.col(TIMESTAMP).min().alias(_AT),
            pl.col(ITEM_ID).n_unique().alias(_ITEMS),
            pl.when(pl.col(PRICE).count() > 0).then(exact_sum(amount)).alias(_AMOUNT),
        )
        .with_columns(days_since(pl.col(_AT), as_of).alias(_AGE))
        .with_columns(
            *decay_amounts(pl.col(_AGE), pl.col(_AMOUNT).cast(pl.Float64)),
            *(in_last(window, as_of).alias(f"{window}") for window in WINDOW_DAYS),
            pl.lit(shop.recent_share, pl.Float64).alias(_SHOP_SHARE),
        )
    )
    return (
        _returns(events)
        .join(orders.group_by(USER_ID).agg(columns(_ORDERS)), on=USER_ID, how="left")
        .join(lines.group_by(USER_ID).agg(columns(_LINES)), on=USER_ID, how="left")
        .join(_deals(lines, shop.mean_prices), on=USER_ID, how="left")
        .with_columns(pl.col(feature.name for feature in ORDER_COUNTS).fill_null(0))
        .select(USER_ID, *(feature.name for feature in USER_ORDERS))
    )


def _deals(lines: pl.LazyFrame, mean_prices: pl.DataFrame) -> pl.LazyFrame:
    item_ids = lines.collect_schema()[ITEM_ID]
    prices = mean_prices.lazy().with_columns(pl.col(ITEM_ID).cast(item_ids, strict=False)).drop_nulls()
    return (
        lines.filter(pl.col(PRICE) <= MAX_AMOUNT)
        .join(prices, on=ITEM_ID)
        .select(USER_ID, pl.col(PRICE).alias(_PAID), pl.col(MEAN_PRICE).alias(_EXPECTED))
        .group_by(USER_ID)
        .agg(columns(_DEALS))
    )


def _returns(events: pl.LazyFrame) -> pl.LazyFrame:
    is_matched = RETURNED_UNITS in events.collect_schema().names()
    returned = pl.col(RETURNED_UNITS).fill_null(0.0) if is_matched else pl.lit(0.0)
    return (
        events.filter(pl.col(EVENT).is_in([PURCHASE, RETURNED_PURCHASE]))
        .with_columns(
            pl.when(pl.col(EVENT) == PURCHASE).then(units()).otherwise(0.0).alias(_KEPT), returned.alias(_RETURNED)
        )
        .group_by(USER_ID)
        .agg(columns(_RETURNS))
    )
