"""Prices and sales of items: the latest price, the price rank, and orders, units and revenue net of returns."""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import ORDER_KEY, WINDOW_DAYS, exact_sum, in_last, purchases, units
from features.feature import Feature
from recsys.schema import CATEGORY, ITEM_ID, PRICE, TIMESTAMP

LAST_PRICE: Final = "last_price"
LAST_PRICE_AT: Final = "last_price_at"
ORDERS: Final = "orders"
LINES: Final = "lines"
UNITS: Final = "units"
REVENUE: Final = "revenue"
PRICED_LINES: Final = "priced_lines"

_HAS_CATEGORY: Final = pl.col(CATEGORY).list.len() > 0

PRICE_RANK: Final = pl.when(_HAS_CATEGORY).then(
    (pl.col(PRICE).rank("average").over(CATEGORY) - 0.5) / pl.col(PRICE).count().over(CATEGORY)
)
"""Share of the priced items of the category that are cheaper, with equal prices counted half.

0.125 for the cheapest of four items, 0.5 for a single item. Null without a price or a category.
"""


def revenue_column(days: int) -> str:
    """Return the name of the column of the revenue in the last `days`."""
    return f"{REVENUE}_{days}d"


_REVENUES: Final = (REVENUE, *(revenue_column(days) for days in WINDOW_DAYS))
SALES: Final = (ORDERS, LINES, UNITS, PRICED_LINES, *_REVENUES)
"""Columns of `item_sales` that add up over buckets of users."""


def _revenue(name: str) -> pl.Expr:
    return pl.when(pl.col(PRICED_LINES) > 0).then(pl.col(name).cast(pl.Float64))


ITEM_SALES: Final = (
    Feature(ORDERS, pl.UInt32(), "orders", "Number of orders with the item", pl.col(ORDERS)),
    Feature(
        LINES,
        pl.UInt32(),
        "lines",
        "Number of purchases (order lines) of the item of which a unit was kept",
        pl.col(LINES),
    ),
    Feature(
        UNITS,
        pl.Float64(),
        "units",
        "Sum of the quantities of the purchases, less what was returned; a missing quantity counts as 1",
        pl.col(UNITS).cast(pl.Float64),
    ),
    Feature(
        REVENUE,
        pl.Float64(),
        "currency",
        "Sum of price * quantity over the purchases, less what was returned; null if no purchase has a price",
        _revenue(REVENUE),
    ),
    *(
        Feature(
            revenue_column(days),
            pl.Float64(),
            "currency",
            f"Revenue of the last {days} x 24 hours; null if no purchase has a price",
            _revenue(revenue_column(days)),
        )
        for days in WINDOW_DAYS
    ),
)


def item_sales(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Compute one row per item with a purchase in `events`, in the columns `SALES`; of one bucket of users."""
    amount = pl.col(PRICE) * units()
    by_order = (
        purchases(events)
        .group_by(*ORDER_KEY, ITEM_ID)
        .agg(
            pl.len().alias(LINES),
            pl.col(PRICE).count().alias(PRICED_LINES),
            exact_sum(units()).alias(UNITS),
            exact_sum(amount).alias(REVENUE),
            *(exact_sum(amount.filter(in_last(days, as_of))).alias(revenue_column(days)) for days in WINDOW_DAYS),
        )
    )
    return by_order.group_by(ITEM_ID).agg(pl.len().alias(ORDERS), pl.col(*SALES[1:]).sum())


def last_prices(events: pl.LazyFrame) -> pl.LazyFrame:
    """Find the latest price of each item with a price in `events`, and its time; of several, the highest price."""
    priced = priced_events(events)
    return merge_last_prices(
        priced.select(ITEM_ID, pl.col(PRICE).alias(LAST_PRICE), pl.col(TIMESTAMP).alias(LAST_PRICE_AT))
    )


def merge_last_prices(prices: pl.LazyFrame) -> pl.LazyFrame:
    """Merge concatenated rows of `last_prices` of any number of buckets to one row per item."""
    latest = prices.group_by(ITEM_ID).agg(pl.col(LAST_PRICE_AT).max())
    latest_prices = prices.join(latest, on=[ITEM_ID, LAST_PRICE_AT])
    return latest_prices.group_by(ITEM_ID, LAST_PRICE_AT).agg(pl.col(LAST_PRICE).max())


def priced_events(events: pl.LazyFrame) -> pl.LazyFrame:
    """Select the events with a price."""
    return events.filter(pl.col(PRICE).is_not_null())
